//! What is written is read back; what is damaged is refused or not found.

extern crate std;
use std::vec::Vec;

use crate::build::{IndexBuilder, NewEntry};
use crate::{FormatError, Index, Kind, PrefixMode, Stat, Time, index};

const STAGE: &[u8] = b"/dev/shm/pyshm-1/s";

fn sample() -> Vec<u8> {
    let mut b = IndexBuilder::new(STAGE, 0);
    let statfs = [7; 11];
    let p = b.prefix(b"/shared/env", b"/shared/env", PrefixMode::Snapshot, &statfs);
    b.prefix(b"/alias", b"/shared/env", PrefixMode::Overlay, &statfs);
    let stat = Stat {
        ino: 42,
        size: 3,
        mode: 0o100_644,
        mtime: Time { sec: -5, nsec: 999_999_999 },
        ..Stat::default()
    };
    let new = NewEntry {
        path: b"/shared/env",
        kind: Kind::Directory,
        flags: 0,
        target: b"",
        edited: false,
        prefix: p,
        stat,
    };
    b.entry(&new);
    b.entry(&NewEntry { path: b"/shared/env/a.so", kind: Kind::File, edited: true, ..new });
    b.entry(&NewEntry { path: b"/shared/env/l", kind: Kind::Symlink, target: b"a.so", ..new });
    for i in 0..1000 {
        let path = std::format!("/shared/env/f{i}");
        b.entry(&NewEntry { path: path.as_bytes(), kind: Kind::File, ..new });
    }
    b.finish()
}

#[test]
fn entries_are_read_back_as_written() {
    let file = sample();
    let ix = Index::parse(&file).unwrap();
    assert_eq!(ix.stage(), STAGE);
    let so = ix.lookup(b"/shared/env/a.so").unwrap();
    assert_eq!(so.staged(), b"/dev/shm/pyshm-1/s/fs/shared/env/a.so");
    assert_eq!(so.pristine(), b"/dev/shm/pyshm-1/s/orig/shared/env/a.so");
    assert_eq!(so.path(), b"/shared/env/a.so");
    assert_eq!(so.stat().ino, 42);
    assert_eq!(so.stat().mtime, Time { sec: -5, nsec: 999_999_999 });
    let link = ix.lookup(b"/shared/env/l").unwrap();
    assert_eq!((link.kind(), link.target()), (Kind::Symlink, &b"a.so"[..]));
    assert_eq!(link.pristine(), link.staged());
    for i in 0..1000 {
        assert!(ix.lookup(std::format!("/shared/env/f{i}").as_bytes()).is_some());
    }
    assert!(ix.lookup(b"/shared/env/f1000").is_none());
    let prefixes: Vec<_> = ix.prefixes().map(|p| (p.path, p.canonical, p.mode)).collect();
    assert_eq!(
        prefixes,
        [
            (&b"/shared/env"[..], &b"/shared/env"[..], PrefixMode::Snapshot),
            (b"/alias", b"/shared/env", PrefixMode::Overlay)
        ]
    );
}

#[test]
fn a_truncated_or_foreign_file_is_refused() {
    let file = sample();
    assert_eq!(Index::parse(&file[..file.len() - 1]).unwrap_err(), FormatError::Truncated);
    assert_eq!(Index::parse(&[]).unwrap_err(), FormatError::Truncated);
    assert_eq!(Index::parse(&[0; index::HEADER_BYTES]).unwrap_err(), FormatError::Magic);
    let mut newer = file.clone();
    newer[8] = 2;
    assert_eq!(Index::parse(&newer).unwrap_err(), FormatError::Version(2));
}

#[test]
fn a_flipped_bit_never_yields_another_path() {
    let file = sample();
    for at in 0..file.len().min(20_000) {
        let mut bad = file.clone();
        bad[at] ^= 1 << (at % 8);
        if let Ok(ix) = Index::parse(&bad)
            && let Some(entry) = ix.lookup(b"/shared/env/a.so")
        {
            assert_eq!(entry.path(), b"/shared/env/a.so");
        }
    }
}

#[test]
fn the_layout_is_pinned() {
    let file = sample();
    assert_eq!(&file[..8], b"PYSHMIX1");
    assert_eq!(crate::hash_path(b"/shared/env"), 0x47e2_bcad_55ba_824c);
}
