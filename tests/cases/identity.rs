//! Cases of who asks: what a user may not read or search is not served to that user, whoever packed it, and whoever the process
//! was before.

use std::fs;

use crate::exec::programs;
use crate::objects::put;
use crate::place::User;
use crate::tree::{self, Tree};
use crate::world::{Case, Ops};

/// Makes a tree with objects that are closed to somebody.
fn closed(t: &Tree) {
    tree::standard(t);
    for dir in ["priv", "mute", "blind", "group"] {
        t.file(&format!("{dir}/x"), dir);
    }
    t.link("priv/link", "../a");
    t.link("priv/out", "{M}/out/real");
    t.link("to-priv", "priv");
    t.link("through", "priv/link");
    t.file("secret", "secret\n");
    t.file("grouped", "grouped\n");
    t.program("bin/mine", "#!/bin/sh\necho mine\n");
    t.program("bin/shown", "#!/bin/sh\necho shown\n");
    for (name, mode) in [
        ("priv", 0o700),
        ("mute", 0o744),
        ("blind", 0o311),
        ("group", 0o750),
        ("secret", 0o600),
        ("grouped", 0o640),
        ("bin/mine", 0o700),
        ("bin/shown", 0o711),
    ] {
        t.mode(name, mode);
    }
}

/// [`closed`], as far as its owner can bundle it.
fn closed_to_others(t: &Tree) {
    closed(t);
    t.mode("blind", 0o711);
}

/// Closes all of the standard tree, as a umask of 077 does.
fn all_closed(t: &Tree) {
    tree::standard(t);
    for entry in walkdir::WalkDir::new(t.path(".")) {
        let entry = entry.unwrap();
        if !entry.path_is_symlink() {
            let mode = if entry.file_type().is_dir() { 0o700 } else { 0o600 };
            t.mode(entry.path().to_str().unwrap(), mode);
        }
    }
    t.mode("bin/tool", 0o700);
}

#[test]
fn what_the_packer_alone_may_read_is_refused_to_others() {
    Case::python("identity", "plain").tree(closed).packed_by_root().ops(Ops::Any).run();
}

#[test]
fn what_is_closed_to_others_is_served_to_its_owner_without_an_operation() {
    let script = "cat $E/a $E/d/b; ls -l $E/full; test -r $E/a; echo $?; cat $E/d/nothing; $E/bin/tool x; cat $E/to-d/b";
    Case::sh(script).tree(all_closed).run();
}

#[test]
fn a_process_that_becomes_another_user_may_do_what_that_user_may() {
    let run = |name| {
        Case::python("identity", name).tree(closed).only(User::Root).ops(Ops::Any).run();
    };
    for name in ["effective", "file_system_ids", "groups", "real"] {
        run(name);
    }
}

#[test]
fn every_call_that_changes_the_identity_is_noticed() {
    Case::python("identity", "calls").tree(closed).only(User::Root).ops(Ops::Any).run();
}

#[test]
fn a_user_namespace_that_is_entered_is_noticed() {
    Case::python("identity", "entered").tree(closed_to_others).ops(Ops::Any).run();
}

#[test]
fn capabilities_of_the_moment_decide() {
    for name in ["capabilities", "by_number"] {
        Case::python("identity", name).tree(closed).only(User::Root).ops(Ops::Any).run();
    }
    let dropped = "setpriv --bounding-set=-dac_override,-dac_read_search --inh-caps=-dac_override,-dac_read_search \
                   python3 {probes}/identity.py plain";
    let words: Vec<&str> = dropped.split_whitespace().collect();
    Case::command(&words).tree(closed).owned_by_ordinary().only(User::Root).ops(Ops::Any).run();
}

#[test]
fn each_thread_has_the_identity_of_its_own() {
    Case::python("identity", "thread").tree(closed).only(User::Root).ops(Ops::Any).run();
}

#[test]
fn a_user_namespace_sees_owners_and_permissions_as_the_kernel_does() {
    let case = |words: &[&str]| Case::command(words).ops(Ops::Any);
    let of_id = |id, user| {
        case(&["python3", "{probes}/identity.py", "namespace"]).variable("UID", id).only(user)
    };
    of_id("0", User::Root).tree(closed).run();
    of_id("12345", User::Ordinary).tree(closed_to_others).run();
    of_id("12345", User::Ordinary).tree(closed).packed_by_root().run();
    for map in ["-U", "-r", "-c"] {
        let words = ["unshare", map, "python3", "{probes}/identity.py", "plain"];
        case(&words).tree(closed_to_others).run();
        case(&words).tree(closed).packed_by_root().run();
        // A namespace of root's has no other owner than root, whom it calls root.
        case(&words).tree(closed).owned_by_ordinary().only(User::Root).run();
    }
}

/// Puts libraries into directories, of which the ordinary user may not read or search some.
fn closed_libraries(t: &Tree) {
    programs(t);
    put(t, "where-nowhere", "bin/where");
    put(t, "where-nowhere", "bin/mute");
    for dir in ["lib/open", "lib/mute", "lib/shut"] {
        put(t, "libmarker.so", &format!("{dir}/libmarker.so"));
    }
    put(t, "libother.so", "lib/other/libmarker.so");
    for (name, mode) in [("bin/mute", 0o711), ("lib/mute/libmarker.so", 0o640), ("lib/shut", 0o700)]
    {
        t.mode(name, mode);
    }
}

#[test]
fn a_library_that_the_user_may_not_read_is_not_loaded_by_a_variable_or_an_option() {
    let script = "\
        l=/lib64/ld-linux-x86-64.so.2; cd $E; \
        for d in open mute shut; do \
            echo $d; LD_LIBRARY_PATH=$E/lib/$d:$E/lib/other bin/where; \
            LD_PRELOAD=$E/lib/$d/libmarker.so LD_LIBRARY_PATH=$E/lib/other bin/where; \
            $l --library-path $E/lib/$d:$E/lib/other bin/where; \
            $l --preload $E/lib/$d/libmarker.so --library-path $E/lib/other bin/where; \
        done 2>&1 | sed \"s|$M||\"; \
        for p in where mute; do $l --library-path $E/lib/other $E/bin/$p; echo $?; done 2>&1 | sed \"s|$M||\"; \
        LD_LIBRARY_PATH=$E/lib/other bin/mute";
    Case::sh(script)
        .tree(closed_libraries)
        .packed_by_root()
        .says("where: of_the_prefix")
        .says("mute: of_another_place")
        .ops(Ops::Any)
        .run();
    Case::sh(script).tree(closed_libraries).ops(Ops::Any).run();
}

#[test]
fn a_library_that_the_user_may_not_read_is_not_found_by_a_search_path() {
    let tree = |t: &Tree| {
        programs(t);
        put(t, "where-two", "bin/where-two");
        put(t, "libother.so", "lib/other/libmarker.so");
        put(t, "libmarker.so", "lib/libmarker.so");
        t.mode("lib/libmarker.so", 0o640);
    };
    let shut = |t: &Tree| {
        programs(t);
        put(t, "where-own", "bin/where-own");
        put(t, "libother.so", "other/libmarker.so");
        put(t, "libmarker.so", "lib/libmarker.so");
        t.mode("lib", 0o700);
    };
    let script = "LD_LIBRARY_PATH= $E/bin/where-* 2>&1 | sed \"s|$M||\"; \
        for d in lib/other other; do LD_LIBRARY_PATH=$E/lib/nope:$E/$d $E/bin/where-* 2>&1; done | sed \"s|$M||\"; \
        cat $E/lib/libmarker.so >/dev/null; echo $?";
    for tree in [tree as fn(&Tree), shut] {
        Case::sh(script).tree(tree).packed_by_root().ops(Ops::Any).run();
        Case::sh(script).tree(tree).ops(Ops::Any).run();
    }
}

#[test]
fn another_name_of_the_prefix_that_is_missing_or_leads_elsewhere_opens_nothing() {
    let tree = |t: &Tree| {
        closed(t);
        t.link("../alias", "env");
        t.file("../out/a", "elsewhere\n");
    };
    let script = "for d in $M/env $M/alias; do \
            for f in a secret priv/x priv/nothing blind/nothing; do cat $d/$f; stat -Lc %a $d/$f; done; ls $d $d/priv $d/blind; \
        done 2>&1 | sed \"s|$M||\"";
    let case = || Case::sh(script).tree(tree).packed_by_root().prefix("alias").ops(Ops::Any);
    case().says("hello").run();
    case().later(|t| fs::remove_file(t.path("../alias")).unwrap()).run();
    case()
        .later(|t| {
            fs::remove_file(t.path("../alias")).unwrap();
            t.link("../alias", "out");
        })
        .says("elsewhere")
        .run();
}

#[test]
fn a_way_that_root_closes_is_closed_to_those_that_it_becomes() {
    let script = "
import os; E = os.environ['E']
os.chmod(E + '/d', 0o750); os.setegid(54321); os.seteuid(54321)
for name in ('d/b', 'd/nothing', 'd'):
    try: print(oct(os.stat(E + '/' + name).st_mode))
    except OSError as error: print(error.strerror)
";
    Case::command(&["python3", "-ISc", script])
        .only(User::Root)
        .ops(Ops::Any)
        .says("Permission denied")
        .run();
}

#[test]
fn what_was_opened_before_the_identity_changed_stays_open() {
    Case::python("identity", "opened_before").tree(closed).only(User::Root).ops(Ops::Any).run();
}
