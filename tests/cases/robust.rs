//! Cases of disturbances: a stage that is missing, damaged or removed, another user, threads, forks, signals, and a
//! root mounted noexec.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::exec::programs;
use crate::objects::{built, put};
use crate::place::{Place, User};
use crate::tree::Tree;
use crate::world::{Case, Ops, Start};

fn with_library(t: &Tree) {
    programs(t);
    put(t, "libmarker.so", "lib/libmarker.so");
}

// tests/stress does this for longer.
#[test]
fn forks_among_reading_threads_neither_hang_nor_fail() {
    Case::c("robust", "forks_among_threads").says("wrong in threads 0, in children 0").run();
}

// tests/stress does this for longer.
#[test]
fn a_signal_in_the_middle_of_a_hook_may_use_the_same_hook() {
    Case::c("robust", "signals").says("wrong 0, in the handler 0").run();
}

#[test]
fn programs_continue_when_their_stage_is_removed() {
    Case::c("stage", "removed_at_once").tree(with_library).ops(Ops::AtMost(26)).run();
}

#[test]
fn programs_continue_when_the_files_of_their_stage_are_removed_one_by_one() {
    Case::c("stage", "removed_file_by_file").tree(with_library).ops(Ops::AtMost(199)).run();
}

#[test]
fn a_shim_that_is_disabled_or_has_no_stage_is_inert_and_silent() {
    Case::c("stage", "configuration")
        .says("the shim is at work where nothing is wrong: 1")
        .tree(programs)
        .ops(Ops::AtMost(25))
        .run();
    for start in [Start::Preload, Start::Trampoline] {
        Case::sh("cat $E/a; $E/bin/show")
            .tree(programs)
            .ends(5)
            .variable("PYSHM_DISABLE", "1")
            .start(start)
            .ops(Ops::AtMost(3))
            .inert()
            .run();
    }
}

#[test]
fn a_damaged_stage_is_not_used_and_no_message_is_printed() {
    Case::c("stage", "damaged").says("and again: 1").tree(programs).ops(Ops::AtMost(41)).run();
}

#[test]
fn a_program_that_becomes_another_user_works_on_the_shared_file_system() {
    // The new user has no permission to enter the stage.
    Case::sh(
        "su -s /bin/sh nobody -c 'id -un; cat $E/a; $E/bin/show'; setpriv --reuid 12346 --clear-groups sh -c 'cat $E/a; $E/bin/show'; cat $E/a",
    )
    .tree(programs)
    .only(User::Root)
    .ops(Ops::AtMost(7))
    .run();
}

// This case does not run under strace, which would take the setuid program's privileges away.
#[test]
fn a_setuid_program_works_on_the_shared_file_system() {
    if !User::all().any(|user| user == User::Root) {
        return;
    }
    std::thread::scope(|scope| scope.spawn(run_setuid).join()).unwrap();
}

fn run_setuid() {
    let mut place = Place::new(User::Ordinary);
    let tree = Tree::new(place.backing("shared"), place.mount_point());
    programs(&tree);
    tree.finish(User::Ordinary.id(), User::Ordinary.id());
    place.mount("shared");
    let prefix = place.below_mount("env");
    let bundle = place.bundle(&prefix, "snapshot");
    // After this only the stage has the bundled text: the second mount starts with an empty cache.
    tree.file("a", "changed\n");
    place.unmount();
    place.mount("shared");
    let stage = place.stage(&[bundle]);
    let shim = stage.join("lib/libpyshm.so");

    let program = place.file("secure");
    fs::copy(built("setuid"), &program).unwrap();
    let say = |mode: u32, words: &[&str], preloaded: bool| {
        fs::set_permissions(&program, PermissionsExt::from_mode(mode)).unwrap();
        let mut command = place.command(words[0]);
        command.args(&words[1..]).env("P", &program).env("A", prefix.join("a"));
        if preloaded {
            command.env("LD_PRELOAD", &shim);
        }
        let output = command.output().unwrap();
        assert!(output.status.success());
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "standard error");
        String::from_utf8(output.stdout).unwrap()
    };
    let name = prefix.join("a").display().to_string();
    let line = |secure, shim, content| {
        format!("secure {secure}, shim {shim}, LD_PRELOAD unset\n{name}: {content}\n")
    };
    let [direct, by_shell] =
        [&[program.to_str().unwrap(), &name][..], &["sh", "-c", "\"$P\" \"$A\""]];
    for words in [direct, by_shell] {
        assert_eq!(say(0o4755, words, false), line(1, 0, "changed"), "bare");
        assert_eq!(say(0o4755, words, true), line(1, 0, "changed"), "with the shim preloaded");
        let ordinary = say(0o755, words, true);
        assert!(
            !ordinary.contains("shim 0"),
            "the shim enters the same program without the bit: {ordinary}"
        );
        assert!(ordinary.ends_with(&format!("{name}: hello\n")), "{ordinary}");
    }
}

#[test]
fn on_a_noexec_root_files_are_read_from_the_stage() {
    Case::sh("cat $E/a; ls -la --time-style=+%s $E/full; test -x $E/bin/show && echo executable")
        .tree(programs)
        .noexec()
        .says("executable")
        .run();
}

#[test]
fn on_a_noexec_root_programs_and_libraries_are_the_originals() {
    let most = Ops::AtMost(120);
    Case::c("exec", "functions").tree(programs).noexec().ops(most).run();
    Case::c("spawn", "functions").tree(programs).noexec().ops(most).run();
    Case::c("stage", "works_at_all").tree(with_library).noexec().ops(most).run();
}
