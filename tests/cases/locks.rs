//! Locks, by descriptors that read and that write.

use crate::world::{Case, Ops};

#[test]
fn every_lock_keeps_out_whom_it_keeps_out_bare() {
    Case::c("locks", "matrix").ops(Ops::Any).run();
}

#[test]
fn a_lock_is_that_of_duplicates_and_children_and_ends_with_the_last() {
    Case::c("locks", "descriptions").says("  a child has it: ok").ops(Ops::Any).run();
}

#[test]
fn who_waits_for_a_lock_gets_it() {
    Case::c("locks", "waiting").says("the waiter has it: 0").ops(Ops::Any).run();
}

#[test]
fn a_wait_for_a_lock_is_ended_by_a_signal() {
    Case::c("locks", "interrupted")
        .says("flock(open(P(\"a\"), O_RDWR), LOCK_EX): Interrupted system call")
        .ops(Ops::Any)
        .run();
}

#[test]
fn a_lock_stays_on_its_file_when_its_name_changes() {
    Case::c("locks", "moved").ops(Ops::Any).run();
}

#[test]
fn locks_take_no_descriptors() {
    Case::c("locks", "many").ops(Ops::Any).run();
}

// The idiom of scripts: a shell opens a file, and flock(1) locks it for the shell.
#[test]
fn the_lock_of_a_shell_s_descriptor_is_held_until_the_shell_closes_it() {
    let script = "exec 9<$E/a; flock -n 9 && echo first; flock -n $E/a echo second || echo held;
        (flock -n 9 && echo the same lock); exec 8<&9 9<&-; flock -n $E/a echo third || echo held;
        exec 8<&-; flock -n $E/a echo fourth";
    Case::sh(script).says("held").says("fourth").ops(Ops::Any).run();
}

// A tar that another tool made records no inode numbers.
#[test]
fn locks_of_files_without_known_inodes_keep_out_whom_they_keep_out_bare() {
    for name in ["matrix", "descriptions", "waiting", "moved", "same_file"] {
        Case::c("locks", name).foreign().ops(Ops::Any).run();
    }
}

#[test]
fn a_locked_file_is_the_one_that_its_name_leads_to() {
    Case::c("locks", "same_file").says("a: one file 1").ops(Ops::Any).run();
}

#[test]
fn who_is_refused_a_lock_keeps_the_one_that_it_had() {
    Case::c("locks", "refused_conversion")
        .says("    description 1 by one that opened it to write: Resource temporarily unavailable")
        .ops(Ops::Any)
        .run();
}

#[test]
fn forks_of_a_process_that_has_ended_share_its_locks() {
    Case::c("locks", "orphans").says("flock(fd, LOCK_EX | LOCK_NB): 0").ops(Ops::Any).run();
}
