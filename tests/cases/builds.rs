//! Cases of programs that were built in other ways: statically, for another libc, for an old libc, fortified, or with a
//! runtime that makes its system calls by number.

use crate::exec::programs;
use crate::objects::{built, put, refers_to};
use crate::tree::Tree;
use crate::world::{Case, Ops};

fn builds(t: &Tree) {
    programs(t);
    for name in ["static", "musl", "old", "fortified"] {
        put(t, name, &format!("bin/{name}"));
    }
}

// The loader cannot put the shim into a static program, so every operation reaches the shared file system.
#[test]
fn a_static_program_works_on_the_shared_file_system() {
    Case::sh("$E/bin/static; cd $E/bin; ./static; $E/bin/show")
        .tree(builds)
        .ends(5)
        .ops(Ops::AtMost(8))
        .run();
}

// The loader of musl loads the shim, and the hooks pass every call on to musl's own C library.
#[test]
fn a_program_of_another_c_library_works_on_the_shared_file_system() {
    Case::sh("$E/bin/musl; cd $E/bin; ./musl; /lib/ld-musl-x86_64.so.1 ./musl; $E/bin/show")
        .tree(builds)
        .ends(5)
        .ops(Ops::AtMost(20))
        .run();
}

#[test]
fn a_program_built_for_an_old_libc_is_redirected() {
    assert!(refers_to(&built("old"), "__xstat64@GLIBC_2.2.5"));
    Case::sh("$E/bin/old").tree(builds).run();
}

#[test]
fn a_fortified_program_is_redirected() {
    assert!(refers_to(&built("fortified"), "__openat_2@GLIBC_2.7"));
    assert!(refers_to("/usr/bin/tar".as_ref(), "__openat_2@GLIBC_2.7"));
    Case::sh("$E/bin/fortified; tar c -C $E . | tar tv | sort; tar cf $M/out/env.tar $E 2>/dev/null; tar df $M/out/env.tar -C / && echo no difference; rm $M/out/env.tar")
        .tree(builds)
        .says("no difference")
        .run();
}

#[test]
fn the_promise_functions_of_node_are_redirected() {
    Case::sh(
        "node -e 'const fs = require(\"fs\"), E = process.env.E; (async () => { \
           const p = fs.promises; \
           for (const n of [\"a\", \"d\", \"to-a\", \"nope\", \"dangling\"]) for (const f of [\"stat\", \"lstat\", \"access\", \"realpath\", \"readFile\", \"readlink\", \"readdir\"]) \
             try { const r = await p[f](E + \"/\" + n); console.log(f, n, Buffer.isBuffer(r) ? r.toString() : r?.mode ?? r) } \
             catch (e) { console.log(f, n, e.code, e.path) } \
           console.log(fs.statSync(E + \"/a\").size, fs.readdirSync(E + \"/full\"), fs.existsSync(E + \"/nope\")) })()'",
    )
    .tree(builds)
    .run();
}
