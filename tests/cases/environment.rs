//! Cases of the loader's variables: LD_LIBRARY_PATH, and other libraries in LD_PRELOAD beside the shim.

use crate::exec::programs;
use crate::objects::put;
use crate::tree::Tree;
use crate::world::{Case, Ops};

fn libraries(t: &Tree) {
    programs(t);
    put(t, "libmarker.so", "lib/libmarker.so");
    put(t, "libother.so", "lib/other/libmarker.so");
    put(t, "uses", "bin/uses");
    put(t, "uses", "../out/uses");
    put(t, "libearly.so", "lib/libearly.so");
    put(t, "libearly.so", "../out/libearly.so");
    put(t, "early", "bin/early");
}

#[test]
fn a_library_path_under_the_prefix_costs_children_nothing() {
    Case::command(&[
        "bash",
        "-c",
        "export LD_LIBRARY_PATH=$E/lib; $E/bin/uses; $M/out/uses; true; /bin/true; env | grep LD_; \
         sh -c 'echo $LD_LIBRARY_PATH; $0/bin/uses' $E; bash -c 'ls $E; (exec $E/bin/uses)'; \
         LD_LIBRARY_PATH=$E/nope:$E/lib64/other:/nonexistent $E/bin/uses; LD_LIBRARY_PATH=/nonexistent:$E/lib: $E/bin/uses; \
         python3 -ISc 'import os, subprocess; print(os.environ[\"LD_LIBRARY_PATH\"]); subprocess.run([os.environ[\"E\"] + \"/bin/uses\"])'; \
         env -u LD_LIBRARY_PATH $E/bin/uses 2>&1; env -i E=$E LD_LIBRARY_PATH=$E/lib $E/bin/uses; $E/bin/show",
    ])
    .tree(libraries)
    .ends(5)
    .run();
}

// The loader looks for two libraries in the working directory. This is the original directory, so each library costs an
// operation.
#[test]
fn a_relative_library_path_keeps_its_meaning() {
    Case::sh("cat $E/a; cd $E/lib; LD_LIBRARY_PATH=. $M/out/uses")
        .tree(libraries)
        .says("of_the_prefix; LD_LIBRARY_PATH is .")
        .ops(Ops::AtMost(2))
        .run();
}

#[test]
fn a_constructor_of_another_library_gets_the_right_answers() {
    let seen = "constructor: stat 0, read 6 hello, missing -1 No such file or directory";
    Case::c("stage", "neighbours")
        .tree(libraries)
        .variable("LIBRARIES", "{M}/out/libearly.so")
        .says(seen)
        .run();
    Case::sh("$E/bin/early; LD_PRELOAD=$M/out/libearly.so $E/bin/show; export LD_PRELOAD=$E/lib/libearly.so:$M/out/libearly.so; \
         sh -c '$E/bin/show; echo $LD_PRELOAD'")
        .tree(libraries)
        .says(seen)
        .run();
}

#[test]
fn other_allocators_work_on_both_sides_of_the_shim() {
    Case::c("stage", "neighbours")
        .tree(libraries)
        .variable("LIBRARIES", "libjemalloc.so.2 libtcmalloc_minimal.so.4")
        .says("  reads: hello")
        .run();
    Case::sh(
        "for l in libjemalloc.so.2 libtcmalloc_minimal.so.4; do LD_PRELOAD=$l python3 -ISc 'import os, threading; E = os.environ[\"E\"]; \
         f = lambda: [open(E + \"/a\").read() + str(sorted(os.listdir(E))) for _ in range(50)]; t = [threading.Thread(target=f) for _ in range(4)]; \
         [x.start() for x in t]; [x.join() for x in t]; print(f()[0], os.environ[\"LD_PRELOAD\"])'; LD_PRELOAD=$l bash -c '$E/bin/show; (cat $E/a)'; done",
    )
    .tree(libraries)
    .run();
}

// Environment modules make such long paths. The path of this case has more directories than a fixed buffer holds.
#[test]
fn children_keep_the_shim_beside_a_library_path_of_two_hundred_directories() {
    Case::sh(
        "export LD_LIBRARY_PATH=$E/lib$(printf ':/nonexistent/%s' $(seq 200)); \
         sh -c '$E/bin/uses; echo new > $E/made; cat $E/a'; cat $E/made; echo ${#LD_LIBRARY_PATH}",
    )
    .tree(libraries)
    .ops(Ops::AtMost(30))
    .run();
}
