//! Cases of stat and access: attributes and permissions are those of the original.

use crate::place::User;
use crate::tree::{self, Tree};
use crate::world::{Case, Ops};

#[test]
fn every_stat_by_path_gives_the_original_s_attributes() {
    Case::c("stat", "by_path").says("a link 1").run();
}

#[test]
fn every_stat_by_descriptor_gives_the_original_s_attributes() {
    Case::c("stat", "by_descriptor").says("  the device of what lies beside it 1").run();
}

#[test]
fn stat_and_fstat_agree_after_open() {
    Case::c("stat", "after_open").says("a: dev 1 ino 1 mtime 1.1 all 1").run();
}

#[test]
fn only_a_prefix_that_is_a_mount_point_looks_like_one() {
    Case::c("stat", "mount_point").says("a mount point 0; one device inside 1").ops(Ops::Any).run();
    Case::python("python", "is_mount").says("False").run();
    Case::python("python", "is_mount").prefix(".").says("True").run();
}

// The probe calls access under all its names.
#[test]
fn every_access_is_answered_from_the_original_s_mode() {
    Case::c("stat", "access_names").run();
}

// The kernel refuses an invalid mode before it looks at the path. The shim passes such a call on to the kernel.
#[test]
fn access_with_an_invalid_mode_is_refused_before_the_path_is_looked_up() {
    Case::c("stat", "access_to_nonsense")
        .says("access(P(\"nope\"), 8): Invalid argument")
        .ops(Ops::AtMost(3))
        .run();
}

#[test]
fn a_tree_that_root_owns_is_not_writable_for_others() {
    Case::c("stat", "access_names").owned_by_root().run();
    Case::sh("test -w $E/a; echo $?; test -w $E; echo $?; echo x 2>&1 >>$E/a; rm -f $E/d/b 2>&1")
        .owned_by_root()
        .only(User::Ordinary)
        .ends(1)
        .ops(Ops::AtMost(5))
        .run();
}

fn closed(t: &Tree) {
    tree::standard(t);
    t.mode("read-only", 0o000);
    t.mode("bin/tool", 0o711);
    t.mode("d", 0o750);
}

// Only root runs this case, because pyshm does not bundle a file that its user may not read.
#[test]
fn modes_are_those_of_the_original() {
    Case::c("stat", "access_names").tree(closed).only(User::Root).run();
    Case::c("stat", "by_path").tree(closed).only(User::Root).run();
}

#[test]
fn flags_that_the_kernel_refuses_for_any_path_are_refused() {
    let line = "fstatat(AT_FDCWD, P(\"a\"), &s, unknown): Invalid argument";
    Case::c("stat", "unknown_flags").says(line).ops(Ops::AtMost(8)).run();
}

#[test]
fn files_of_one_size_and_time_are_told_apart() {
    Case::c("stat", "alike").says("one number 1").says("the second 1").run();
}
