//! Cases of the working directory and the root directory.

use crate::place::User;
use crate::world::{Case, Ops};

// The chdir reaches the shared file system, but does not count as an operation.
#[test]
fn relative_names_in_the_prefix_are_read_without_an_operation() {
    Case::c("cwd", "relative_reading").says("one directory 1").run();
}

#[test]
fn relative_names_in_the_prefix_are_written_on_the_shared_file_system() {
    Case::c("cwd", "relative_writing").says("  reads: made").ops(Ops::AtMost(40)).run();
}

#[test]
fn a_working_directory_by_descriptor_has_its_original_name() {
    Case::c("cwd", "by_descriptor").ops(Ops::AtMost(30)).run();
}

#[test]
fn a_child_that_changes_its_directory_does_not_affect_its_parent() {
    Case::c("cwd", "of_a_child").run();
    Case::python("python", "working_directory").run();
}

// In the trace, names below the new root look like names of the prefix. So some of root's calls there count as
// operations. An ordinary user may not call chroot.
#[test]
fn after_chroot_nothing_is_redirected() {
    Case::c("cwd", "other_root").only(User::Root).says("  reads: inner").ops(Ops::AtMost(3)).run();
    Case::c("cwd", "other_root").only(User::Ordinary).run();
}
