//! The working directory and the root.

use crate::place::User;
use crate::world::{Case, Ops};

// Nothing is counted except the chdir itself.
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
fn a_child_s_working_directory_is_not_its_parent_s() {
    Case::c("cwd", "of_a_child").run();
    Case::python("python", "working_directory").run();
}

// An ordinary user may not change the root. For strace the names behind another root look like those of the prefix.
#[test]
fn behind_another_root_nothing_is_redirected() {
    Case::c("cwd", "other_root").only(User::Root).says("  reads: inner").ops(Ops::AtMost(4)).run();
    Case::c("cwd", "other_root").only(User::Ordinary).run();
}
