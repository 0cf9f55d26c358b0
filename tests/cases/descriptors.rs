//! Cases of calls on descriptors of redirected files.

use crate::tree;
use crate::world::{Case, Ops};

#[test]
fn a_file_made_in_a_redirected_directory_lands_on_the_shared_file_system() {
    Case::c("descriptors", "create_in_directory").says("  reads: made").ops(Ops::AtMost(20)).run();
}

#[test]
fn a_diverged_directory_shows_its_current_entries() {
    Case::c("descriptors", "remove_in_directory").says("entries 6").ops(Ops::AtMost(40)).run();
}

#[test]
fn attributes_changed_through_a_descriptor_for_reading_reach_the_original() {
    Case::c("mutate", "attributes_by_descriptor").tree(tree::writable).ops(Ops::AtMost(40)).run();
}

#[test]
fn a_shared_writable_mapping_maps_the_original() {
    Case::c("descriptors", "shared_mapping").says("  reads: HELLO").ops(Ops::AtMost(6)).run();
}

#[test]
fn a_read_descriptor_opened_again_for_writing_is_the_original() {
    Case::c("descriptors", "reopen").says("fopen 1").ops(Ops::AtMost(40)).run();
}

#[test]
fn a_read_descriptor_opened_again_for_reading_shows_the_current_content() {
    Case::c("descriptors", "reopen_for_reading").says("  reads: changed").ops(Ops::AtMost(6)).run();
}

#[test]
fn a_name_below_a_directory_s_descriptor_is_the_original_s() {
    Case::c("descriptors", "through_the_kernel_s_link")
        .says("  reads: made")
        .ops(Ops::AtMost(5))
        .run();
}

#[test]
fn a_lock_on_a_read_descriptor_is_on_the_original() {
    Case::c("descriptors", "flocks")
        .says("flock(fd, LOCK_SH | LOCK_NB): Resource temporarily unavailable")
        .ops(Ops::AtMost(4))
        .run();
    Case::c("descriptors", "reader_locks").ops(Ops::AtMost(8)).run();
}

#[test]
fn a_record_lock_on_a_read_descriptor_is_on_the_original() {
    Case::c("descriptors", "record_locks")
        .says("fcntl(fd, F_SETLK, &whole): Resource temporarily unavailable")
        .ops(Ops::AtMost(4))
        .run();
    Case::c("descriptors", "description_locks").ops(Ops::AtMost(4)).run();
    Case::c("descriptors", "lockf_locks")
        .says("lockf(fd, F_TEST, 0): Permission denied")
        .ops(Ops::AtMost(4))
        .run();
}

#[test]
fn a_descriptor_s_flags_are_those_it_was_opened_with() {
    Case::c("descriptors", "flags").run();
}

#[test]
fn a_directory_that_took_the_name_of_an_open_one_is_not_changed() {
    let line = "faccessat(d, \"other\", F_OK, 0): No such file or directory";
    Case::c("descriptors", "moved_directory").says(line).ops(Ops::AtMost(20)).run();
}
