//! Cases of system calls by number, through `syscall()`.

use crate::world::{Case, Ops};

#[test]
fn reading_by_system_call_number_takes_no_operation() {
    Case::c("raw", "reading").says("one file 1").run();
}

#[test]
fn calls_by_number_write_to_the_shared_file_system() {
    Case::c("raw", "writing").ops(Ops::AtMost(60)).run();
}

#[test]
fn openat2_with_resolve_rules_starts_from_the_original_directory() {
    Case::c("raw", "resolved").ops(Ops::AtMost(4)).run();
}

#[test]
fn programs_are_started_by_number_without_an_operation() {
    Case::c("raw", "programs").run();
}

#[test]
fn other_calls_by_number_go_straight_to_the_kernel() {
    Case::c("raw", "others").says("a child ends with 7").run();
}
