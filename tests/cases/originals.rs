//! Cases of descriptors, names and results that libc makes without a hooked call. Each of them must be that of the
//! original file.

use std::process::Command;

use crate::place::User;
use crate::tree::{Tree, standard};
use crate::world::{Case, Ops};

/// Makes the standard tree, and files that libc and the loader open internally: message catalogues, a mount table, a
/// library.
fn with_catalogues(t: &Tree) {
    standard(t);
    t.bytes("share/de/LC_MESSAGES/made.mo", &compiled_message("hello", "hallo"));
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    std::fs::write(&from, "$set 1\n1 from the catalogue\n").unwrap();
    assert!(Command::new("gencat").arg(&to).arg(&from).status().unwrap().success());
    t.bytes("made.cat", &std::fs::read(&to).unwrap());
    t.file("fstab", "/dev/x /mnt ext4 defaults 0 0\n");
    std::fs::write(dir.path().join("one.c"), "int one(void) { return 1; }\n").unwrap();
    let cc = Command::new("cc")
        .args(["-shared", "-o", "to", "one.c", "-Wl,-rpath,$ORIGIN/../d:$ORIGIN"])
        .current_dir(dir.path())
        .status();
    assert!(cc.unwrap().success());
    t.bytes("lib/libone.so", &std::fs::read(&to).unwrap());
}

/// Returns the bytes of a gettext catalogue with one message.
fn compiled_message(id: &str, text: &str) -> Vec<u8> {
    let strings = 44;
    let words = [
        0x9504_12de,
        0,
        1,
        28,
        36,
        0,
        strings,
        id.len(),
        strings,
        text.len(),
        strings + id.len() + 1,
    ];
    let mut bytes: Vec<u8> = words.iter().flat_map(|w| (*w as u32).to_ne_bytes()).collect();
    bytes.extend(format!("{id}\0{text}\0").bytes());
    bytes
}

#[test]
fn the_flags_that_mark_a_staged_descriptor_are_hidden() {
    Case::c("originals", "flags")
        .says("a file: mode 0 path 0 directory 0 append 0 nonblock 1 async 0 noatime 0")
        .run();
}

// The shim passes on the opening of a file with O_PATH, and the opening of the name of that descriptor.
#[test]
fn an_o_path_descriptor_behaves_as_without_the_shim() {
    Case::c("originals", "path_only").ops(Ops::AtMost(3)).run();
}

#[test]
fn an_unreadable_file_can_be_opened_with_o_path() {
    Case::c("originals", "path_of_unreadable")
        .tree(|t| {
            standard(t);
            t.file("closed", "secret\n");
            t.mode("closed", 0o000);
        })
        .ops(Ops::AtMost(1))
        .run();
}

// Each descriptor that is locked costs an operation.
#[test]
fn an_exchanged_descriptor_keeps_its_flags_and_offset() {
    Case::c("originals", "promoted").says("locked by the parent 1").ops(Ops::AtMost(10)).run();
}

#[test]
fn a_lock_is_tested_on_the_original() {
    let line = "lockf64(fd, F_TEST, 0): Permission denied";
    Case::c("originals", "tested").says(line).ops(Ops::AtMost(2)).run();
}

#[test]
fn a_removed_file_is_locked_and_read_as_it_was() {
    Case::c("originals", "removed").ops(Ops::AtMost(8)).run();
}

#[test]
fn file_handles_and_ioctls_reach_the_original() {
    Case::c("originals", "file_system_s_own").ops(Ops::AtMost(7)).run();
}

#[test]
fn changes_by_the_name_of_a_descriptor_reach_the_original() {
    Case::c("originals", "descriptor_alone").ops(Ops::AtMost(20)).run();
}

#[test]
fn names_through_descriptors_are_read_without_an_operation() {
    Case::c("originals", "through_names").says("one file 1").run();
}

#[test]
fn pathconf_answers_every_name_without_an_operation() {
    Case::c("originals", "limits").run();
}

#[test]
fn ftok_makes_the_key_of_the_original() {
    Case::c("originals", "keys").says("1").run();
}

#[test]
fn get_current_dir_name_gives_the_name_in_pwd() {
    Case::c("originals", "current").run();
}

#[test]
fn catalogues_and_tables_are_read_without_an_operation() {
    Case::c("originals", "messages")
        .tree(with_catalogues)
        .variable("LANGUAGE", "de")
        .says("hallo")
        .says("from the catalogue")
        .run();
}

#[test]
fn entries_of_a_descriptor_have_the_original_s_inode_numbers() {
    Case::c("originals", "entries").says("7").run();
}

// Only root may call fanotify_init. The probe opens a file for writing, which costs operations.
#[test]
fn a_file_is_watched_from_its_directory_s_descriptor() {
    let case = Case::c("originals", "watched_by_all").only(User::Root);
    case.says("read 1").ops(Ops::AtMost(2)).run();
}

// The probe makes a file, which costs operations.
#[test]
fn a_directory_is_watched_by_its_descriptor() {
    Case::c("originals", "watched").says("read 1: new").ops(Ops::AtMost(3)).run();
}

#[test]
fn shells_of_several_threads_have_the_shim() {
    Case::c("originals", "shells").says("handled 1").says("default 1").run();
}

#[test]
fn shells_of_forty_popen_streams_have_the_shim() {
    Case::c("originals", "many_streams").says("done").run();
}

// Each child makes a file, which costs operations.
#[test]
fn a_spawned_child_stands_in_the_original_directory() {
    Case::c("originals", "spawned_elsewhere").says("  reads: more").ops(Ops::AtMost(6)).run();
}

#[test]
fn a_spawned_child_gets_the_staged_file() {
    Case::c("originals", "spawned_with_a_file").says("hello").run();
}

#[test]
fn chroot_in_a_vfork_child_does_not_affect_the_parent() {
    Case::c("originals", "root_of_a_child").only(User::Root).says("the child ends with 0").run();
}

#[test]
fn search_paths_of_the_loader_have_original_names() {
    Case::c("originals", "search_path").tree(with_catalogues).run();
}

// The probe opens the file for writing by each name, and reads the changed file.
#[test]
fn every_spelling_of_a_descriptor_s_name_means_the_original() {
    Case::c("originals", "other_spellings").says("  reads: hello").ops(Ops::AtMost(60)).run();
}

#[test]
fn freopen_without_a_name_opens_the_original() {
    Case::c("originals", "reopened_stream").says("  reads: HELLO").ops(Ops::AtMost(10)).run();
}

#[test]
fn a_descriptor_of_a_replaced_file_stays_on_the_old_file() {
    Case::c("originals", "replaced").says("as it was 1 links 0 size 6").ops(Ops::AtMost(20)).run();
}
