//! Cases of search paths, which the loader follows before any code of the shim runs.

use crate::exec::programs;
use crate::objects::{self, put};
use crate::tree::Tree;
use crate::world::{Case, Ops};

/// The programs whose search paths stay in the prefix, and show the library under its own spelling.
const INSIDE: &str = "dots dot lib64 up token braces two own own-odd rpath";
/// Those that enter the prefix by another name of it.
const ENTERING: &str = "alias short around";
/// Those that leave it.
const LEAVING: &str = "out-origin out-link out-odd out-absolute out-through out-and-back";

fn tree(t: &Tree) {
    programs(t);
    for names in [INSIDE, ENTERING, LEAVING] {
        for name in names.split_whitespace() {
            put(t, &format!("where-{name}"), &format!("bin/where-{name}"));
        }
    }
    put(t, "where-path", "bin/where-path");
    put(t, "libbypath.so", "lib/libbypath.so");
    put(t, "libmarker.so", "lib/libmarker.so");
    put(t, "libmarker.so", "lib/x86_64-linux-gnu/libmarker.so");
    put(t, "libother.so", "../out/common/libmarker.so");
    t.link("../alias", "env");
    t.link("../short", "{M}/env/lib");
    t.link("../out/back", "../env");
    t.link("share", "../out/common");
    t.link("far", "lib/../../out");
    t.link("lib/libleaves.so", "../../out/common/libmarker.so");
    t.link("lib/libodd.so", "../lib/../../out/common/libmarker.so");
}

fn each(programs: &str, arguments: &str) -> String {
    format!("for p in {programs}; do $E/bin/where-$p {arguments}; done | sed \"s|$M||\"")
}

#[test]
fn search_paths_of_all_spellings_take_no_operation() {
    Case::sh(&each(INSIDE, "shown"))
        .tree(tree)
        .says("where-lib64: of_the_prefix in /env/lib64/libmarker.so")
        .says("where-dots: of_the_prefix in /env//lib/../lib/libmarker.so")
        .run();
}

#[test]
fn search_paths_that_enter_the_prefix_from_outside_take_no_operation() {
    Case::sh(&each(ENTERING, "")).tree(tree).says("where-around: of_the_prefix").run();
}

#[test]
fn search_paths_that_leave_the_prefix_lead_to_the_original() {
    // `share/..` is a directory outside, and leads back by a link that only the kernel follows.
    let (inside, back) = LEAVING.rsplit_once(' ').unwrap();
    Case::sh(&each(inside, "shown"))
        .tree(tree)
        .says("where-out-origin: of_another_place in /env/bin/../../out/common/libmarker.so")
        .run();
    Case::sh(&each(back, "shown")).tree(tree).ops(Ops::Any).run();
}

#[test]
fn links_of_libraries_that_leave_the_prefix_lead_to_the_original() {
    let load = "\
import ctypes, os
for n in ('lib/libleaves.so', 'lib/libodd.so', 'share/libmarker.so', 'far/common/libmarker.so', '../out/common/libmarker.so'):
    open(os.environ['E'] + '/a').close(); f = ctypes.CDLL(os.environ['E'] + '/' + n).marker; f.restype = ctypes.c_char_p; print(n, f())
";
    Case::command(&["python3", "-ISc", load])
        .tree(tree)
        .says("lib/libodd.so b'of_another_place'")
        .run();
}

#[test]
fn a_library_that_is_needed_by_its_path_is_loaded_from_the_stage() {
    Case::sh("$E/bin/where-path shown | sed \"s|$M||\"; cmp $E/bin/where-path $E/bin/where-path && readelf -d $E/bin/where-path | grep NEEDED")
        .tree(tree)
        .says("where-path: by_its_path in /env/lib/libbypath.so")
        .run();
}

#[test]
fn library_paths_of_all_spellings_take_no_operation() {
    let paths =
        "$E//lib/../lib/ $E/lib/. $E/lib64 $E/../env/lib /nonexistent:$E/lib: /$E/lib $E/lib//:/x";
    Case::sh(&format!(
        "for p in {paths} '{{E}}/$LIB'; do LD_LIBRARY_PATH=$p $E/bin/where-own-none shown; done"
    ))
    .tree(|t| {
        tree(t);
        put(t, "where-nowhere", "bin/where-own-none");
    })
    .run();
}

#[test]
fn the_loader_as_a_program_starts_the_staged_program() {
    let loader = r"$(readelf -lW /bin/true | sed -n 's/.*interpreter: \(.*\)]/\1/p')";
    Case::sh(&format!(
        "l={loader}; $l $E/bin/where-lib64 shown; $l --library-path $E/nope:$E/lib64 $E/bin/where-own-none shown; \
         $l --inhibit-cache --preload $E/lib/libmarker.so $E/bin/where-own shown; $l --argv0 other $E/bin/show; \
         cd $E/bin; $l ./where-own shown; $l $E/lib64/../bin/where-own shown; $l $E/bin/show a b | grep -c argv.0..$E/bin/show"
    ))
    .tree(|t| {
        tree(t);
        put(t, "where-nowhere", "bin/where-own-none");
    })
    .says("  argv[0] other")
    .says("1")
    .run();
}

/// Puts a loader into the prefix that does not know an option of newer ones.
fn with_older_loader(t: &Tree) {
    tree(t);
    let output = std::process::Command::new("sh")
        .args(["-c", r"readelf -lW /bin/true | sed -n 's/.*interpreter: \(.*\)]/\1/p'"])
        .output()
        .unwrap();
    let own = String::from_utf8(output.stdout).unwrap();
    objects::copy(t, std::path::Path::new(own.trim()), "lib/ld-linux-older.so.2");
    let path = t.path("lib/ld-linux-older.so.2");
    let mut bytes = std::fs::read(&path).unwrap();
    let option = b"--argv0";
    for at in 0..bytes.len() - option.len() {
        if bytes[at..].starts_with(option) {
            bytes[at + 2] = b'x';
        }
    }
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_loader_without_the_option_for_the_name_starts_the_staged_program() {
    Case::sh("for l in $E/lib/ld-linux-older.so.2 $E/lib64/ld-linux-older.so.2; do $l $E/bin/show a b; $l $E/bin/where-own shown; done")
        .tree(with_older_loader)
        .says("  argv[2] b")
        .run();
}

#[test]
fn the_loader_lists_original_names() {
    Case::sh("ldd $E/bin/where-own | sed 's/(.*//'; LD_TRACE_LOADED_OBJECTS=1 $E/bin/where-lib64 | sed 's/(.*//'")
        .tree(tree)
        .ops(Ops::Any)
        .run();
}

// What changes is the original's.
#[test]
fn directories_of_libraries_that_change_are_found_by_the_loader() {
    Case::sh(
        "all() { for n in two own dots lib64 rpath; do $E/bin/where-$n 2>&1 | sed \"s|$M||\"; done; }; all; \
         mv $E/lib $E/lib-away; all; mkdir $E/lib; cp $M/out/common/libmarker.so $E/lib; all; \
         rm $E/lib64; mkdir $E/lib64; cp $E/lib-away/libmarker.so $E/lib64/; all; \
         rm -r $E/lib; all; mkdir $E/lib; cp $E/lib-away/libmarker.so $E/lib; all; \
         rm -r $E/lib; ln -s lib-away $E/lib; all; mv $M/env $M/env-away; mkdir $M/env; mv $M/env-away/* $M/env; rmdir $M/env-away; all",
    )
    .tree(tree)
    .says("where-dots: of_another_place")
    .ops(Ops::Any)
    .run();
}

#[test]
fn directories_of_libraries_that_are_made_are_found_by_the_loader() {
    Case::sh(
        "all() { for n in own odd; do $E/bin/where-$n 2>&1 | sed \"s|$M||\"; done; }; all; \
         chmod 0700 $E; mkdir -p $E/first/more; all; cp $M/out/common/libmarker.so $E/first; all; rm -r $E/first; all; \
         mkdir $E/first; cp $E/lib/libmarker.so $E/first; all; mkdir $E/lib/more; cp $M/out/common/libmarker.so $E/lib/more; all",
    )
    .tree(|t| {
        tree(t);
        put(t, "where-first", "bin/where-own");
        put(t, "where-first-origin", "bin/where-odd");
    })
    .says("where-own: of_another_place")
    .ops(Ops::Any)
    .run();
}

// What changes is the original's.
#[test]
fn a_library_that_changed_is_found_by_the_loader() {
    Case::sh(
        "all() { for n in two own dots; do $E/bin/where-$n 2>&1 | sed \"s|$M||\"; done; }; all; \
         cp $M/out/common/libmarker.so $E/lib/new; mv $E/lib/new $E/lib/libmarker.so; all; \
         mv $E/lib/libmarker.so $E/lib/kept; all; cp $E/lib/x86_64-linux-gnu/libmarker.so $E/lib/libmarker.so; all; \
         cat $M/out/common/libmarker.so > $E/lib/libmarker.so; all; rm $E/lib/libmarker.so; ln -s kept $E/lib/libmarker.so; all; \
         LD_LIBRARY_PATH=$E/lib/plugins $E/bin/where-nowhere 2>&1; mkdir $E/lib/plugins; cp $E/lib/kept $E/lib/plugins/libmarker.so; \
         LD_LIBRARY_PATH=$E/lib/plugins $E/bin/where-nowhere",
    )
    .tree(|t| {
        tree(t);
        put(t, "where-nowhere", "bin/where-nowhere");
    })
    .says("where-own: of_another_place")
    .ops(Ops::Any)
    .run();
}
