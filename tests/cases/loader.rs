//! Cases of the dynamic loader: libraries come from the stage and appear under their original names.

use crate::exec::programs;
use crate::objects::{self, put};
use crate::tree::Tree;
use crate::world::{Case, Ops};

fn libraries(t: &Tree) {
    programs(t);
    put(t, "libmarker.so", "lib/libmarker.so");
    put(t, "libother.so", "lib/libother.so");
    put(t, "libother.so", "lib/plugins/libmarker.so");
    for name in ["runpath", "rpath", "origin", "none"] {
        put(t, &format!("libcaller-{name}.so"), &format!("lib/libcaller-{name}.so"));
    }
    for name in [
        "libneeds-runpath.so",
        "libneeds-rpath.so",
        "libneeds-gone.so",
        "libundefined.so",
        "libtls.so",
    ] {
        put(t, name, &format!("lib/{name}"));
    }
    put(t, "libgcc_s.so.1", "lib/newer/libgcc_s.so.1");
    put(t, "libextension.so", "lib/libextension.so");
    put(t, "libthrows.so", "lib/libthrows.so");
    put(t, "libthrows.so", "lib/libthrows-too.so");
    put(t, "catches", "bin/catches");
    put(t, "tls", "bin/tls");
    t.file("lib/cut.so", "\u{7f}ELF");
    // These copies outside the prefix are compared with the staged libraries.
    for name in ["libneeds-runpath.so", "libneeds-rpath.so", "libcaller-runpath.so", "catches"] {
        put(t, name, &format!("../out/{name}"));
    }
}

/// Makes the tree of [`libraries`], and adds a C++ run-time library to the prefix.
fn with_runtime(t: &Tree) {
    libraries(t);
    for name in ["libstdc++.so.6", "libgcc_s.so.1"] {
        objects::copy(t, &objects::compiler_library(name), &format!("lib/c++/{name}"));
    }
}

#[test]
fn every_function_of_the_loader_shows_original_names() {
    Case::c("loader", "every_function").tree(libraries).says("  marker says of_the_prefix").run();
}

#[test]
fn a_plain_name_is_found_through_the_search_path_of_its_caller() {
    Case::c("loader", "by_the_callers_path")
        .tree(libraries)
        .says("  marker says of_another_place")
        .run();
}

#[test]
fn a_library_that_cannot_be_loaded_is_named_by_its_original_path() {
    Case::c("loader", "failures").tree(libraries).run();
}

#[test]
fn a_path_that_is_not_a_library_fails_with_the_message_of_the_loader() {
    Case::c("loader", "odd_failures").tree(libraries).ops(Ops::AtMost(5)).run();
}

#[test]
fn a_library_by_a_relative_name_comes_from_the_stage() {
    Case::c("loader", "relative").tree(libraries).run();
}

#[test]
fn the_search_path_of_a_library_is_the_original_one() {
    Case::c("loader", "search_path").tree(libraries).run();
}

#[test]
fn exceptions_are_caught_across_staged_libraries() {
    Case::sh("$E/bin/catches $E/lib/libthrows.so $E/lib/libthrows-too.so")
        .tree(libraries)
        .says("caught from a loaded library, destroyed 1")
        .says("within 1")
        .run();
}

#[test]
fn an_extension_gets_the_newer_runtime_of_its_environment() {
    Case::c("loader", "newer_runtime")
        .tree(libraries)
        .says("  needed says newer_than_the_system_s")
        .run();
    Case::sh(
        "python3 -ISc 'import ctypes, sys; f = ctypes.CDLL(sys.argv[1]).needed; f.restype = ctypes.c_char_p; \
         print(f().decode())' $E/lib/libextension.so",
    )
    .tree(libraries)
    .says("newer_than_the_system_s")
    .run();
    Case::sh("$E/bin/catches $E/lib/libthrows-too.so").tree(with_runtime).says("within 1").run();
}

#[test]
fn a_program_with_much_thread_local_storage_starts() {
    Case::sh("$E/bin/tls; env -i $E/bin/tls").tree(libraries).says("a a").run();
    Case::c("loader", "initial_tls").tree(libraries).run();
}

#[test]
fn libraries_with_absolute_search_paths_are_read_as_they_were_written() {
    Case::sh(
        "for n in libneeds-runpath.so libneeds-rpath.so libcaller-runpath.so; do \
           cmp $E/lib/$n $M/out/$n && readelf -d $E/lib/$n | grep -E 'R(UN)?PATH'; done; \
         cmp $E/bin/catches $M/out/catches && cp $E/bin/catches $M/out/copy && cmp $M/out/copy $E/bin/catches && echo equal",
    )
    .tree(libraries)
    .says("equal")
    .run();
}
