//! Descriptors are of files, not of names, also where the names alone tell which files the index means.

use std::process::Command;

use crate::place::User;
use crate::tree::{Tree, standard};
use crate::world::{Case, Ops};

fn with_fifo(t: &Tree) {
    standard(t);
    assert!(Command::new("mkfifo").arg(t.path("fifo")).status().unwrap().success());
}

#[test]
fn a_descriptor_of_a_renamed_file_is_of_that_file() {
    Case::c("moved", "renamed").says("renamed: mode 100640 links 2 size 6").ops(Ops::Any).run();
}

#[test]
fn a_descriptor_of_a_replaced_or_removed_file_is_of_that_file() {
    Case::c("moved", "replaced").says("  /lib/os.py (deleted)").ops(Ops::Any).run();
}

#[test]
fn a_descriptor_of_what_was_renamed_by_another_name_is_of_that_file() {
    Case::c("moved", "by_other_names").ops(Ops::Any).run();
}

#[test]
fn descriptors_of_a_renamed_directory_and_below_it_stay_there() {
    Case::c("moved", "directory").says("  /moved/sub").ops(Ops::Any).run();
}

#[test]
fn a_descriptor_of_a_removed_directory_leads_nowhere() {
    Case::c("moved", "removed_directory").ops(Ops::Any).run();
}

#[test]
fn what_is_written_by_one_descriptor_is_read_by_those_opened_before() {
    Case::c("moved", "written").says("itten again").ops(Ops::Any).run();
}

#[test]
fn attributes_changed_by_a_descriptor_of_the_original_are_seen() {
    Case::c("moved", "attributes_of_originals").tree(with_fifo).ops(Ops::Any).run();
}

#[test]
fn a_descriptor_s_name_by_any_way_round_is_the_original_s() {
    Case::c("moved", "round_about").says("/d").ops(Ops::Any).run();
}

#[test]
fn a_socket_by_a_descriptor_s_name_is_the_original_s() {
    Case::c("moved", "sockets").says("its own name 1").ops(Ops::Any).run();
}

fn with_socket(t: &Tree) {
    standard(t);
    t.socket("d/there");
}

#[test]
fn a_socket_of_the_bundle_is_found_by_a_descriptor_s_name() {
    Case::c("moved", "old_socket").tree(with_socket).ops(Ops::Any).run();
}

#[test]
fn a_directory_that_is_entered_by_a_descriptor_s_name_is_the_original() {
    Case::c("moved", "entered").ops(Ops::Any).run();
}

#[test]
fn a_file_is_opened_by_its_handle() {
    Case::c("moved", "handles").only(User::Root).ops(Ops::Any).run();
}

#[test]
fn a_directory_s_descriptor_by_o_path_only_names_it() {
    Case::c("moved", "path_only").says("fchmod(d, 0700): Bad file descriptor").ops(Ops::Any).run();
}

#[test]
fn the_kernel_copies_out_of_a_staged_file() {
    Case::c("moved", "copied").ops(Ops::Any).run();
}

#[test]
fn a_stream_that_cannot_be_opened_again_is_closed() {
    Case::c("moved", "reopened").says("the same number 1").ops(Ops::Any).run();
}

#[test]
fn a_stream_shows_what_was_made_before_it_was_read() {
    Case::c("moved", "streams").says("found 1").ops(Ops::Any).run();
}

#[test]
fn a_descriptor_that_another_thread_uses_meanwhile_is_the_program_s() {
    Case::c("moved", "used_meanwhile")
        .says("  reads: hello")
        .says("  reads: ld")
        .ops(Ops::Any)
        .run();
}

// A tar that another tool made records no inode numbers.
#[test]
fn descriptors_of_files_without_known_inodes_are_of_their_files() {
    for name in [
        "renamed",
        "replaced",
        "directory",
        "removed_directory",
        "written",
        "path_only",
        "attributes_of_originals",
    ] {
        Case::c("moved", name).foreign().ops(Ops::Any).run();
    }
    Case::c("moved", "by_other_names").foreign().ops(Ops::Any).run();
}

fn with_library(t: &Tree) {
    standard(t);
    t.file("lib/libold.so", "old\n");
}

#[test]
fn a_replaced_library_is_read_as_it_was_by_its_descriptor_s_name() {
    Case::c("moved", "replaced_library")
        .tree(with_library)
        .says("  reads: old")
        .says("one file 1, links 0")
        .ops(Ops::Any)
        .run();
}

#[test]
fn a_descriptor_of_what_was_replaced_by_another_name_is_of_that_file() {
    let case = || Case::c("moved", "replaced_by_other_names").ops(Ops::Any);
    case().says("replaced: mode 100640 links 0 size 6").run();
    case().foreign().run();
}

#[test]
fn a_directory_is_emptied_while_it_is_listed() {
    Case::c("moved", "emptied").says("rmdir(P(\"full\")): 0").ops(Ops::Any).run();
}

#[test]
fn nobody_waits_for_a_fifo_that_took_an_open_file_s_name() {
    Case::c("moved", "replaced_by_fifo").says("  reads: hello").ops(Ops::Any).run();
}

#[test]
fn an_older_descriptor_shows_what_its_process_truncates_after_another_has_changed_the_file() {
    Case::c("moved", "truncated_again")
        .says("truncated: mode 100600 links 2 size 2")
        .ops(Ops::Any)
        .run();
}

#[test]
fn threads_know_their_descriptors_after_the_main_thread_has_ended() {
    Case::c("moved", "main_thread_ended").says("  reads: world").ops(Ops::Any).run();
}
