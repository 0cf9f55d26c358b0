//! Cases that open files.

use crate::world::{Case, Ops};

#[test]
fn every_open_for_reading_is_answered_by_the_stage() {
    Case::c("open", "reading").says("  reads: hello").run();
}

#[test]
fn every_fopen_for_reading_is_answered_by_the_stage() {
    Case::c("open", "stdio").run();
}

// The probe calls open under all its names. For each file the open and the reads that follow it cost operations.
#[test]
fn every_open_for_writing_reaches_the_original_and_is_seen() {
    Case::c("open", "writing").says("  reads: written").ops(Ops::AtMost(42)).run();
}

#[test]
fn every_fopen_for_writing_reaches_the_original_and_is_seen() {
    Case::c("open", "stdio_writing").says("  reads: one").ops(Ops::AtMost(20)).run();
}

#[test]
fn a_file_without_a_name_is_made_on_the_shared_file_system() {
    Case::c("open", "unnamed").ops(Ops::AtMost(4)).run();
}

#[test]
fn a_raw_system_call_is_answered_by_the_stage() {
    Case::c("open", "raw").says("  reads: hello").run();
}
