//! Cases of small stacks: a thread or a signal handler does whatever it can do without the shim.

use crate::tree::{self, Tree};
use crate::world::{Case, Ops};

/// The standard tree, and one beside the prefix.
fn both(t: &Tree) {
    tree::standard(t);
    for (name, text) in [("a", "hello\n"), ("d/b", "world\n")] {
        t.file(&format!("../out/tree/{name}"), text);
    }
    t.link("../out/tree/to-d", "d");
    t.program("../out/tree/bin/tool", "#!/bin/sh\necho tool\n");
    for i in 0..DIRECTORIES {
        t.dir(&format!("libraries/of/some/package/{i}"));
    }
}

const DIRECTORIES: usize = 131;

/// Runs a probe with all functions bound at its start, and with many directories in LD_LIBRARY_PATH.
fn run(name: &str) {
    let dirs: Vec<_> =
        (0..DIRECTORIES).map(|i| format!("{{E}}/libraries/of/some/package/{i}")).collect();
    for variable in [("LD_LIBRARY_PATH", dirs.join(":").leak() as &str), ("OTHER", "")] {
        Case::c("stacks", name)
            .tree(both)
            .variable("LD_BIND_NOW", "1")
            .variable(variable.0, variable.1)
            .says(
                "outside exec: RESULT"
                    .replace("RESULT", if name == "painted" { "fits" } else { "done" })
                    .leak(),
            )
            .ops(Ops::Any)
            .run();
    }
}

#[test]
fn the_smallest_threads_do_what_they_do_without_the_shim() {
    run("smallest_threads");
}

#[test]
fn handlers_on_small_alternate_stacks_do_what_they_do_without_the_shim() {
    run("alternate_stacks");
}

// Beside the prefix 2 KB more than libc itself, in it 6 KB.
#[test]
fn calls_take_little_of_the_stack() {
    run("painted");
}
