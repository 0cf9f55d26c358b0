//! Cases that start programs of a prefix: by every exec and spawn function, and by the shell of `system` and `popen`.

use crate::objects;
use crate::tree::{self, Tree};
use crate::world::{Case, Ops, Start};

/// Makes the standard tree, a program that prints its arguments and environment, scripts, and files that cannot be
/// started.
pub fn programs(t: &Tree) {
    tree::standard(t);
    objects::put_probe(t, "show", "bin/show");
    t.link("bin/to-show", "show");
    let says = "echo \"$0: $#: $@\"; cat \"$(dirname \"$0\")/../a\"";
    t.program("bin/script", &format!("#!/bin/sh\n{says}\n"));
    t.program("bin/text", &format!("{says}\n"));
    t.program("bin/empty", "");
    t.file("bin/no-mode", "#!/bin/sh\necho never\n");
    t.program("bin/garbage", "\u{7f}ELF, but no more than that\n");
    t.program("bin/no-interp", "#!/nonexistent/interpreter\n");
    t.program("bin/text-interp", &t.fill("#!{E}/a\n"));
    t.program("bin/dir-interp", &t.fill("#!{E}/bin\n"));
    t.program("bin/staged-interp", &t.fill("#!{E}/nope\n"));
    t.program("bin/blank", "#! \t\necho blank\n");
    t.program("bin/long", &format!("#!/{}\n", "x".repeat(300)));
    t.program("bin/crlf", "#!/bin/sh\r\necho never\r\n");
}

#[test]
fn every_exec_function_starts_the_staged_program() {
    Case::c("exec", "functions").tree(programs).says("  argv[9] 9").says("  reads hello").run();
}

#[test]
fn a_program_by_a_relative_name_is_started_from_the_stage() {
    Case::c("exec", "relative").tree(programs).says("by the default PATH").run();
}

#[test]
fn a_program_by_descriptor_is_started_from_the_stage() {
    Case::c("exec", "by_descriptor").tree(programs).says("  reads hello").run();
}

// The shim passes on the opening of a file with O_PATH, so each descriptor costs an operation.
#[test]
fn a_program_by_an_o_path_descriptor_is_started_from_the_shared_file_system() {
    let case = Case::c("exec", "by_path_descriptor").tree(programs).says("  reads hello");
    case.ops(Ops::AtMost(2)).run();
}

#[test]
fn a_program_that_cannot_be_started_fails_as_without_the_shim() {
    Case::c("exec", "failures").tree(programs).says("  fails: Permission denied").run();
}

#[test]
fn a_child_of_vfork_that_fails_to_start_a_program_leaves_its_parent_intact() {
    Case::c("exec", "vfork_child")
        .tree(programs)
        .says("access(P(\"nope\"), F_OK): No such file or directory")
        .run();
}

#[test]
fn a_program_with_an_emptied_environment_sees_original_names_and_no_trace_of_the_shim() {
    Case::c("exec", "emptied_environment").tree(programs).says("  argv[0] the same again").run();
    Case::sh("env -i $E/bin/show again; env -i $E/bin/script; env -i sh -c 'cat $0/a; $0/bin/show again' $E")
        .tree(programs)
        .ends(5)
        .says("  argv[1] last")
        .run();
}

#[test]
fn every_spawn_function_starts_the_staged_program() {
    Case::c("spawn", "functions").tree(programs).says("  reads hello").run();
}

#[test]
fn a_relative_program_is_spawned_from_the_stage() {
    Case::c("spawn", "relative").tree(programs).says("  argv[0] another name").run();
}

#[test]
fn attributes_of_a_spawned_program_are_kept() {
    Case::c("spawn", "attributes")
        .tree(programs)
        .says("  SIGUSR1 blocked, SIGUSR2 ignored, own group")
        .run();
}

#[test]
fn files_opened_for_a_spawned_program_are_the_staged_ones() {
    Case::c("spawn", "file_actions").tree(programs).says("world").run();
}

#[test]
fn files_opened_for_a_spawned_program_have_their_original_names() {
    Case::c("spawn", "names_of_files_opened_for_a_child").tree(programs).says("same").run();
}

#[test]
fn files_that_a_spawned_program_writes_are_on_the_shared_file_system() {
    Case::c("spawn", "file_actions_on_the_shared_file_system")
        .tree(programs)
        .says("  reads: made")
        .ops(Ops::AtMost(11))
        .run();
}

#[test]
fn a_program_that_cannot_be_spawned_fails_as_without_the_shim() {
    Case::c("spawn", "failures").tree(programs).run();
}

#[test]
fn the_shell_of_system_has_the_shim() {
    Case::c("spawn", "system").tree(programs).says("not ended").run();
}

#[test]
fn the_shell_of_popen_has_the_shim() {
    Case::c("spawn", "popen").tree(programs).says("given").run();
}

#[test]
fn a_program_sees_the_writes_of_the_shells_that_it_started() {
    Case::c("spawn", "shells_write").tree(programs).says("appended").ops(Ops::AtMost(8)).run();
}

#[test]
fn programs_start_from_the_stage_where_the_shim_was_preloaded_by_hand() {
    Case::c("exec", "functions").tree(programs).start(Start::Preload).run();
}
