//! Makes every call on every kind of staged object, in directories of several owners and modes, by several spellings of
//! the name, as several users. `probes/matrix.c` has the calls.
//!
//! These cases take minutes, so only `cargo test --test cases matrix -- --ignored` runs them.

use crate::place::User;
use crate::tree::{Part, Tree};
use crate::world::{Case, Ops};

/// The kinds of objects. Each is the name of the object, too.
const OBJECTS: [&str; 27] = [
    "file",
    "nothing",
    "holes",
    "program",
    "setuid",
    "linked",
    "noted",
    "closed",
    "read-only",
    "owner-only",
    "group-only",
    "empty",
    "full",
    "sticky",
    "no-search",
    "no-read",
    "shut",
    "to-file",
    "to-directory",
    "to-missing",
    "to-absolute",
    "to-outside",
    "to-itself",
    "to-parent",
    "fifo",
    "missing",
    "file/below",
];

/// A directory that has one of each object.
struct Place {
    name: &'static str,
    directory_of: Owner,
    mode: u32,
    objects_of: Owner,
}

#[derive(Clone, Copy, PartialEq)]
enum Owner {
    /// The owner of the tree.
    Own,
    /// `tree::OTHER`.
    Other,
}

const PLACES: [Place; 6] = [
    Place { name: "own", directory_of: Owner::Own, mode: 0o755, objects_of: Owner::Own },
    Place { name: "others", directory_of: Owner::Other, mode: 0o755, objects_of: Owner::Other },
    Place { name: "mixed", directory_of: Owner::Own, mode: 0o755, objects_of: Owner::Other },
    Place { name: "sticky", directory_of: Owner::Other, mode: 0o1777, objects_of: Owner::Other },
    Place { name: "search", directory_of: Owner::Other, mode: 0o711, objects_of: Owner::Own },
    Place { name: "shut", directory_of: Owner::Other, mode: 0o700, objects_of: Owner::Own },
];

/// The number of calls that a run of the probe `changing` makes on each object. The stand-in for the shared file system
/// holds a descriptor for each object, so one tree cannot have an object for every call.
const CALLS: usize = 12;

/// The trees of the runs that together make all calls of `change` in `probes/matrix.c`.
const RUNS: [fn(&Tree); 6] = [
    to_change::<0>,
    to_change::<1>,
    to_change::<2>,
    to_change::<3>,
    to_change::<4>,
    to_change::<5>,
];

/// Makes the object, and what it needs beside it.
fn make(t: &Tree, directory: &str, object: &str) {
    let name = format!("{directory}/{object}");
    let name = name.as_str();
    match object {
        "file" => t.file(name, "text of a file\n"),
        "nothing" => t.file(name, ""),
        "holes" => t.sparse(name, 100_000),
        "program" => t.program(name, "#!/bin/sh\nexit 3\n"),
        "setuid" => {
            t.program(name, "#!/bin/sh\nexit 4\n");
            t.last_mode(name, 0o4755);
        }
        "linked" => {
            t.file(name, "two names\n");
            t.hard_link(name, &format!("{name}.too"));
        }
        "noted" => {
            t.file(name, "with an attribute\n");
            t.attribute(name, "user.note", "noted");
        }
        "closed" => file_of_mode(t, name, 0),
        "read-only" => file_of_mode(t, name, 0o444),
        "owner-only" => file_of_mode(t, name, 0o600),
        "group-only" => file_of_mode(t, name, 0o060),
        "empty" => t.dir(name),
        "full" => t.file(&format!("{name}/inside"), "inside\n"),
        "sticky" => directory_of_mode(t, name, 0o1777),
        "no-search" => directory_of_mode(t, name, 0o644),
        "no-read" => directory_of_mode(t, name, 0o311),
        "shut" => directory_of_mode(t, name, 0),
        "to-file" => t.link(name, "file"),
        "to-directory" => t.link(name, "full"),
        "to-missing" => t.link(name, "no/such"),
        "to-absolute" => t.link(name, &format!("{{E}}/{directory}/file")),
        "to-outside" => t.link(name, "{M}/out/real"),
        "to-itself" => t.link(name, "to-itself"),
        "to-parent" => t.link(name, ".."),
        "fifo" => t.fifo(name),
        "missing" | "file/below" => {}
        _ => unreachable!("there is no object {object}"),
    }
}

fn file_of_mode(t: &Tree, name: &str, mode: u32) {
    t.file(name, "text\n");
    t.last_mode(name, mode);
}

fn directory_of_mode(t: &Tree, name: &str, mode: u32) {
    t.file(&format!("{name}/inside"), "inside\n");
    t.last_mode(name, mode);
}

fn lists(t: &Tree) {
    t.file("../objects", &OBJECTS.join("\n"));
    t.file("../places", &PLACES.map(|place| place.name).join("\n"));
    t.file("../out/real", "outside\n");
}

/// Makes a directory with some objects of a place.
fn directory(t: &Tree, top: &str, place: &Place, objects: &[&str]) {
    let name = format!("{top}/{}", place.name);
    for object in objects {
        make(t, &name, object);
    }
    for (owner, part) in [(place.objects_of, Part::Content), (place.directory_of, Part::Itself)] {
        if owner == Owner::Other {
            t.give_to_other(&name, part);
        }
    }
    t.last_mode(&name, place.mode);
}

/// Makes a directory of each place with all objects.
fn to_look_at(t: &Tree) {
    lists(t);
    for place in &PLACES {
        directory(t, "r", place, &OBJECTS);
    }
}

/// Makes a directory for each call of a run that changes something, each object and each place.
fn to_change<const RUN: usize>(t: &Tree) {
    lists(t);
    for call in RUN * CALLS..(RUN + 1) * CALLS {
        for (number, object) in OBJECTS.iter().enumerate() {
            let mut objects = vec!["file", "empty", "full"];
            if !objects.contains(object) {
                objects.push(object);
            }
            for place in &PLACES {
                directory(t, &format!("w/{call:02}/{number:02}"), place, &objects);
            }
        }
    }
}

fn looking(probe: &str) -> Case {
    Case::c("matrix", probe).tree(to_look_at).ops(Ops::Uncounted)
}

#[test]
#[ignore = "takes minutes"]
fn root_reads_every_kind_of_object() {
    looking("looking").owned_by_root().only(User::Root).run();
}

#[test]
#[ignore = "takes minutes"]
fn a_user_reads_every_kind_of_own_object() {
    looking("looking").root_packs_for_the_owner().run();
}

#[test]
#[ignore = "takes minutes"]
fn a_user_reads_every_kind_of_object_of_root() {
    looking("looking").packed_by_root().run();
}

#[test]
#[ignore = "takes minutes"]
fn root_reads_every_kind_of_object_under_other_identities() {
    looking("looking_as_others").owned_by_root().only(User::Root).run();
}

/// Makes all calls that change something, in as many runs as it takes.
fn changing(as_user: fn(Case) -> Case) {
    for (run, tree) in RUNS.into_iter().enumerate() {
        let case = Case::c("matrix", "changing").tree(tree).ops(Ops::Uncounted);
        let (first, end) = (run * CALLS, (run + 1) * CALLS);
        as_user(case.variable("FIRST", &first.to_string()).variable("END", &end.to_string())).run();
    }
}

#[test]
#[ignore = "takes minutes"]
fn root_changes_every_kind_of_object() {
    changing(|case| case.owned_by_root().only(User::Root));
}

#[test]
#[ignore = "takes minutes"]
fn a_user_changes_every_kind_of_own_object() {
    changing(Case::root_packs_for_the_owner);
}

#[test]
#[ignore = "takes minutes"]
fn a_user_changes_every_kind_of_object_of_root() {
    changing(Case::packed_by_root);
}
