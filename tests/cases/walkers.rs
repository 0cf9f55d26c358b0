//! Cases of the libc functions that walk directories (glob, wordexp, ftw, fts), with many combinations of their flags.

use crate::tree::Tree;
use crate::world::{Case, Ops};

/// Makes a tree below `top`, with hidden and odd names, links of all kinds, and empty and nested directories.
fn rich_in(t: &Tree, top: &str, absolute: &str) {
    let file = |name: &str| t.file(&format!("{top}{name}"), name);
    let dir = |name: &str| t.dir(&format!("{top}{name}"));
    let link = |name: &str, text: &str| t.link(&format!("{top}{name}"), text);
    for name in ["a", "d/b", "d/sub/c", "lib/os.py", "full/1", "full/2", "full/3", "closed/in"] {
        file(name);
    }
    for name in ["w th space/in", "w x", "*star", "back\\slash", "new\nline", ".hidden", ".hdir/.h"]
    {
        file(name);
    }
    for name in ["[br", "ä", "äb", "good/f", "good/.h", "good/sub/g", "good/sub/x/z"] {
        file(name);
    }
    for name in ["empty", "full/sub", "good/hollow"] {
        dir(name);
    }
    // Each of these directories has one name, so a walk has only one possible order.
    file("chain/1/2/3/4/5/6/end");
    t.hard_link(&format!("{top}good/f"), &format!("{top}good/hard"));
    for (name, text) in [
        ("full/link", "1"),
        ("lib64", "lib"),
        ("to-a", "a"),
        ("to-d", "d"),
        ("dangling", "no/such"),
        ("outside", "{M}/out/real"),
        ("outside-dir", "{M}/out/directory"),
        ("loop1", "loop2"),
        ("loop2", "loop1"),
        ("loops/l1", "l2"),
        ("loops/l2", "l1"),
        ("good/to-f", "f"),
        ("good/gone", "nowhere"),
        ("good/sub/up", ".."),
        ("linked/to-d", "../d"),
        ("linked/to-sub", "../good/sub"),
        ("linked/to-chain", "../chain"),
        ("linked/gone", "nowhere"),
    ] {
        link(name, text);
    }
    link("abs-b", &format!("{absolute}/d/b"));
}

fn rich(t: &Tree) {
    rich_in(t, "", "{E}");
    t.file("../out/real", "outside\n");
    t.file("../out/directory/x", "x\n");
}

/// Makes an empty prefix, and the tree beside it.
fn rich_beside(t: &Tree) {
    rich_in(t, "../out/rich/", "{M}/out/rich");
}

/// Makes a chain of 70 directories, more than the shim's table of open streams holds.
fn deep(t: &Tree) {
    let names: Vec<_> = (0..70).map(|i| format!("n{i}")).collect();
    t.file(&format!("deep/{}/end", names.join("/")), "x");
}

fn patterns(probe: &str) -> Case {
    Case::c("patterns", probe).tree(rich)
}

fn walkers(probe: &str) -> Case {
    Case::c("walkers", probe).tree(rich)
}

#[test]
fn every_pattern_with_every_flag_finds_the_original_names() {
    patterns("patterns").run();
}

#[test]
fn patterns_report_directories_that_cannot_be_read() {
    patterns("unreadable_patterns").ops(Ops::Any).run();
}

#[test]
fn glob_appends_results_and_calls_the_program_s_directory_functions() {
    patterns("appended_patterns").says("own functions are called 1, kept 1").run();
}

// Without the hook, the program would get the newer glob, which calls `gl_lstat`. The program does not set `gl_lstat`.
#[test]
fn a_program_that_was_linked_with_the_older_glob_gets_the_older_glob() {
    Case::c("older_glob", "globbing")
        .tree(rich)
        .says("the program's own functions were called: 1")
        .run();
}

#[test]
fn make_finds_its_files_by_patterns() {
    Case::sh(
        "printf 'all:\\n\\t@echo $(sort $(wildcard %s/full/* %s/*/[a-c]))\\n' $E $E | make -s -f -",
    )
    .tree(rich)
    .run();
}

#[test]
fn words_with_patterns_are_expanded_without_an_operation() {
    patterns("plain_words").run();
}

// The shim passes words that it does not understand on to libc, which reads the shared file system.
#[test]
fn words_are_expanded_with_libc_s_rules() {
    patterns("words").ops(Ops::Any).run();
}

#[test]
fn words_with_other_separators_are_left_to_libc() {
    patterns("separated_words").ops(Ops::Any).run();
}

#[test]
fn every_walk_with_every_flag_shows_the_original_tree() {
    walkers("walking").run();
}

#[test]
fn every_walk_from_inside_a_prefix_shows_the_original_tree() {
    walkers("walking_from_inside").run();
}

#[test]
fn a_walk_ends_where_the_program_s_function_ends_it() {
    walkers("stopping").run();
}

#[test]
fn a_walk_continues_when_the_program_changes_its_directory() {
    walkers("wandering").run();
}

#[test]
fn a_deep_tree_is_walked_without_an_operation() {
    walkers("deep").tree(deep).run();
}

#[test]
fn every_traversal_with_every_option_shows_the_original_tree() {
    walkers("traversing").run();
}

#[test]
fn every_traversal_without_fts_nochdir_stands_in_the_original_directories() {
    walkers("traversing_in_the_directories").run();
}

#[test]
fn every_traversal_from_inside_a_prefix_shows_the_original_tree() {
    walkers("traversing_from_inside").run();
}

#[test]
fn the_fts64_functions_traverse_as_the_fts_functions_do() {
    walkers("traversing64").run();
}

#[test]
fn patterns_and_walks_show_changes_made_while_programs_run() {
    patterns("changed").ops(Ops::Any).run();
    walkers("changed").ops(Ops::Any).run();
}

#[test]
fn patterns_and_walks_show_the_current_tree_of_an_overlay() {
    for probe in ["appended_patterns", "plain_words", "unreadable_patterns", "changed"] {
        patterns(probe).overlay().ops(Ops::Any).run();
    }
    for probe in ["walking", "traversing64"] {
        walkers(probe).overlay().ops(Ops::Any).run();
    }
}

// The walk meets no staged directory, so even the order of the names must be the same.
#[test]
fn a_walk_that_meets_no_staged_directory_is_done_by_libc() {
    Case::c("walkers", "beside").tree(rich_beside).ops(Ops::Any).run();
}
