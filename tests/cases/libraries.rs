//! Cases of libraries that are loaded again, in scopes and namespaces of their own, and shown in backtraces.

use crate::objects::put;
use crate::tree::{self, Tree};
use crate::world::{Case, Ops};

fn counters(t: &Tree) {
    tree::standard(t);
    for name in "mode times linked renamed moved replaced removed made_again closed one two three hard counter".split_whitespace() {
        put(t, "libcounter.so", &format!("lib/lib{name}.so"));
    }
    put(t, "libcounter.so", "real/deep/libfour.so");
    put(t, "libcounter.so", "../out/libsix.so");
    t.link("plugins/libfour.so", "../real/deep/libfour.so");
    t.link("plugins/libone.so", "../lib/libone.so");
    t.link("out", "../out");
    t.link("far", "lib/../../out");
    put(t, "libcounter.so", "../out/libseven.so");
    std::fs::remove_file(t.path("lib/libhard.so")).unwrap();
    t.hard_link("lib/libone.so", "lib/libhard.so");
    t.hard_link("lib/libone.so", "../out/libone.so.2");
    t.link("../out/libone.so.1", "{E}/lib/libone.so");
    t.link("../alias", "env");
    put(t, "libedited.so", "lib/libedited.so");
    t.dir("lib/sub");
    t.hard_link("lib/libedited.so", "lib/sub/libedited.so");
    for name in ["counts", "counts-by-alias"] {
        put(t, name, &format!("../out/{name}"));
        put(t, name, &format!("bin/{name}"));
    }
    t.link("lib/libcounter.so.1", "libcounter.so");
}

fn plugins(t: &Tree) {
    tree::standard(t);
    for name in ["lib/libplugin.so", "lib/libsame.so", "../out/libplugin.so"] {
        put(t, "libplugin.so", name);
    }
}

// The changed files are the original's.
#[test]
fn a_library_whose_file_changed_is_still_the_one_that_is_loaded() {
    Case::c("libraries", "after_changes")
        .tree(counters)
        .says("mode: the same 1, count 2")
        .ops(Ops::Any)
        .run();
}

#[test]
fn a_library_by_another_name_is_the_one_that_is_loaded() {
    Case::c("libraries", "other_names")
        .tree(counters)
        .says("/env/lib/libhard.so: the same 1, count 5")
        .says("/out/libone.so.2: the same 1, count 9")
        .ops(Ops::Any)
        .run();
}

// The loader finds the first copy before the shim runs: outside the prefixes it reads the original.
#[test]
fn a_library_that_a_program_is_linked_with_is_the_one_that_dlopen_finds() {
    let names = "$E/lib/libcounter.so $E/lib64/libcounter.so $E/lib/libcounter.so.1 $E/lib//libcounter.so $M/alias/lib/libcounter.so";
    Case::sh(&format!(
        "for p in counts counts-by-alias; do $M/out/$p {names}; $E/bin/$p {names}; done"
    ))
    .tree(counters)
    .ops(Ops::Any)
    .run();
}

#[test]
fn a_library_keeps_the_spelling_by_which_it_was_loaded() {
    Case::c("libraries", "spellings").tree(counters).run();
}

// Files that are written are the original's.
#[test]
fn what_a_library_writes_that_binds_to_itself_first_is_seen() {
    Case::c("libraries", "deep")
        .tree(plugins)
        .says("  its own function 1")
        .ops(Ops::AtMost(60))
        .run();
}

#[test]
fn what_a_library_in_a_namespace_of_its_own_writes_is_seen() {
    Case::c("libraries", "spaces").tree(plugins).ops(Ops::AtMost(90)).run();
}

#[test]
fn backtraces_show_original_names() {
    Case::c("libraries", "backtraces").tree(plugins).run();
}
