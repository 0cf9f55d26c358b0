//! Cases of what only the file system of an open file can do or say: durable changes, holes, reads past the cache.
//!
//! Each probe makes one such call, and the limits show that it reaches the original: a case fails if its preloaded run
//! makes no operation.

use crate::tree::{Tree, standard};
use crate::world::{Case, Ops};

#[test]
fn changes_are_made_durable_by_descriptors_of_the_original() {
    for probe in [
        "fsync",
        "fdatasync",
        "syncfs",
        "sync_file_range",
        "by_number",
        "directory",
        "read_directory",
    ] {
        Case::c("file_contents", probe).ops(Ops::AtMost(3)).run();
    }
}

#[test]
fn a_descriptor_outside_is_made_durable_without_an_operation() {
    Case::c("file_contents", "outside").run();
}

fn with_holes(t: &Tree) {
    standard(t);
    t.file("full-of-bytes", &"x".repeat(100_000));
    t.bytes("holes", b"");
    let file = std::fs::File::options().write(true).open(t.path("holes")).unwrap();
    file.set_len(1 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[b'y'; 4096], 512 << 10).unwrap();
}

#[test]
fn holes_are_those_of_the_original() {
    for probe in ["holes", "holes64", "holes_by_number"] {
        Case::c("file_contents", probe).tree(with_holes).ops(Ops::AtMost(24)).run();
    }
}

#[test]
fn a_file_without_holes_is_searched_for_holes_without_an_operation() {
    Case::c("file_contents", "no_holes").tree(with_holes).run();
}

#[test]
fn reads_past_the_cache_are_of_the_original() {
    Case::c("file_contents", "direct").ops(Ops::AtMost(4)).run();
    Case::c("file_contents", "direct_later").ops(Ops::AtMost(1)).run();
}
