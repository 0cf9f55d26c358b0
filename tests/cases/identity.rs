//! Cases of who asks: what a user may not read or search is not served to that user, whoever packed it, and whoever the process
//! was before.

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
    }
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
