//! Cases of paths: which file each spelling means.

use crate::links;
use crate::tree::{self, Tree};
use crate::world::{Case, Ops, Start};

#[test]
fn a_neighbour_whose_name_begins_like_the_prefix_is_not_in_it() {
    Case::c("paths", "neighbours").says("  reads: the neighbour's").run();
}

#[test]
fn all_spellings_of_a_path_are_one_file() {
    Case::c("paths", "spellings").says("doubled: one file 1").run();
}

// Only the kernel knows whether `out` is a symbolic link. If it is a link, `out/..` is not the directory that contains
// `out`.
#[test]
fn a_path_that_enters_the_prefix_from_outside_is_left_to_the_kernel() {
    Case::c("paths", "in_from_outside")
        .says("in from outside: one file 1")
        .ops(Ops::AtMost(5))
        .run();
}

#[test]
fn dot_dot_after_a_missing_name_is_enoent() {
    Case::c("paths", "back_from_nothing")
        .says("stat(P(\"nonexist/../bin\"), &s): No such file or directory")
        .run();
}

#[test]
fn a_path_through_a_linked_directory_is_found_without_an_operation() {
    Case::c("paths", "through_a_link").says("one file 1").run();
}

#[test]
fn a_file_used_as_a_directory_is_enotdir() {
    Case::c("paths", "file_as_directory")
        .says("stat(P(\"lib/os.py/\"), &s): Not a directory")
        .run();
}

// A chdir does not count as an operation.
#[test]
fn a_missing_name_is_enoent_without_an_operation() {
    Case::c("paths", "missing").says("stat(P(\"nope\"), &s): No such file or directory").run();
}

// The operations are those of the renames to a name of the prefix, and of the look-up of that name.
#[test]
fn a_bad_pointer_is_efault_and_an_empty_path_is_enoent() {
    Case::c("paths", "bad_pointers").says("stat(p, &s): Bad address").ops(Ops::AtMost(8)).run();
}

// The pointer leads to a page that was mapped before.
#[test]
fn a_pointer_to_unmapped_memory_is_efault() {
    Case::c("paths", "unmapped_pointer").says("stat(page, &s): Bad address").run();
}

// The kernel refuses these paths before it asks any file system.
#[test]
fn a_path_that_is_too_long_is_refused() {
    Case::c("paths", "too_long")
        .says("stat(path, &s): File name too long")
        .says("stat(P(name), &s): File name too long")
        .ops(Ops::AtMost(22))
        .run();
}

fn linked(t: &Tree) {
    tree::standard(t);
    t.link("../link", "env");
}

#[test]
fn a_prefix_that_is_a_symbolic_link_is_one_tree_under_both_names() {
    Case::c("paths", "both_names").tree(linked).prefix("link").ops(Ops::AtMost(20)).run();
}

// The shim asks the kernel about the link itself, because a mount or another link may have taken the link's place.
#[test]
fn a_prefix_that_is_a_symbolic_link_is_still_seen_as_a_link() {
    Case::c("paths", "the_link_itself").tree(linked).prefix("link").ops(Ops::AtMost(2)).run();
}

fn two(t: &Tree) {
    tree::standard(t);
    t.file("../other/x", "in the other\n");
    t.link("../other/to-env", "{E}");
    t.link("to-other", "../other");
}

#[test]
fn two_prefixes_are_staged_together() {
    Case::c("paths", "two_prefixes").tree(two).and_prefix("other").run();
}

#[test]
fn a_whole_file_system_may_be_the_prefix() {
    Case::sh("cat $E/env/a; ls $E/env; test -e $E/nope; echo $?").prefix(".").run();
}

fn later(t: &Tree) {
    t.file("later", "later\n");
    t.file("d/later", "later too\n");
    t.file("later-dir/x", "x\n");
}

#[test]
fn under_an_overlay_a_name_that_the_bundle_lacks_is_looked_up_on_the_shared_file_system() {
    Case::c("paths", "unknown_names").overlay().later(later).ops(Ops::AtMost(4)).run();
}

#[test]
fn under_an_overlay_a_name_that_the_bundle_has_takes_no_operation() {
    Case::c("stat", "by_path").overlay().run();
    Case::c("links", "absolute").tree(links::with_directory).overlay().run();
}

#[test]
fn a_program_with_the_shim_preloaded_by_hand_sees_the_same() {
    Case::c("paths", "spellings").start(Start::Preload).run();
    Case::c("paths", "missing").start(Start::Preload).run();
}

#[test]
fn a_call_that_succeeds_leaves_errno_alone() {
    Case::c("paths", "errno_is_kept").ops(Ops::AtMost(10)).run();
}

#[test]
fn a_shim_that_is_switched_off_does_nothing() {
    Case::c("paths", "spellings").variable("PYSHM_DISABLE", "1").inert().ops(Ops::Any).run();
}
