//! Tests that an index is read back as written, and that damage is refused or recognised.

extern crate std;
use std::vec::Vec;

use crate::build::{IndexBuilder, NewEntry, NewXattrs};
use crate::xattr::{ASK, Told};
use crate::{Entry, FormatError, Index, Kind, Lookup, PrefixMode, Stat, Time, index, state};

const STAGE: &[u8] = b"/dev/shm/pyshm-1/s";
const VALUES: &[(&[u8], Option<&[u8]>)] =
    &[(b"user.a", Some(b"one")), (b"user.empty", Some(b"")), (b"lustre.lov", None)];

/// Makes an index of a directory, an edited library, a link and `files` files.
fn sample(files: usize, size: u64) -> Vec<u8> {
    let mut b = IndexBuilder::new(STAGE, 0);
    let statfs = [7; 11];
    let p = b.prefix(b"/shared/env", b"/shared/env", PrefixMode::Snapshot, &statfs);
    b.prefix(b"/alias", b"/shared/env", PrefixMode::Overlay, &statfs);
    let xattrs = b.xattrs(&NewXattrs { list: 0, missing: [61, 61, 95, ASK], values: VALUES });
    let none = b.xattrs(&NewXattrs { list: 95, missing: [95; 4], values: &[] });
    let stat = Stat {
        ino: 42,
        size,
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
        bundle: 0x0102,
        xattrs: None,
        stat,
    };
    b.entry(&new);
    let file = NewEntry { kind: Kind::File, xattrs: Some(none), ..new };
    b.entry(&NewEntry { path: b"/shared/env/a.so", edited: true, xattrs: Some(xattrs), ..file });
    b.entry(&NewEntry { path: b"/shared/env/l", kind: Kind::Symlink, target: b"a.so", ..new });
    for i in 0..files {
        let path = name(i);
        let stat = Stat { ino: 100 + i as u64, ..stat };
        b.entry(&NewEntry { path: path.as_bytes(), stat, ..file });
    }
    b.finish()
}

fn name(i: usize) -> std::string::String {
    std::format!("/shared/env/lib/{i}/file")
}

#[test]
fn exactly_the_names_of_an_inode_are_found() {
    let mut b = IndexBuilder::new(STAGE, 0);
    let p = b.prefix(b"/e", b"/e", PrefixMode::Snapshot, &[0; 11]);
    let mut add = |path: &[u8], dev, ino| {
        b.entry(&NewEntry {
            path,
            kind: Kind::File,
            flags: 0,
            target: b"",
            edited: false,
            prefix: p,
            bundle: 0,
            xattrs: None,
            stat: Stat { dev, ino, ..Stat::default() },
        });
    };
    // The inodes are not in order, and one is the highest possible.
    for (path, dev, ino) in [
        (&b"/e/z"[..], 1, u64::MAX),
        (b"/e/a", 1, 7),
        (b"/e/other-device", 2, 7),
        (b"/e/b", 1, 5),
        (b"/e/c", 1, 7),
        (b"/e", 1, 2),
    ] {
        add(path, dev, ino);
    }
    let file = b.finish();
    let index = Index::parse(&file).unwrap();
    let names = |dev, ino| -> Vec<&[u8]> {
        index.of_inode(dev, ino).unwrap().map(|n| index.entry(n).unwrap().path()).collect()
    };
    assert_eq!(names(1, 7), [&b"/e/a"[..], b"/e/c"]);
    assert_eq!(names(2, 7), [&b"/e/other-device"[..]]);
    assert_eq!(names(1, 5), [&b"/e/b"[..]]);
    assert_eq!(names(1, u64::MAX), [&b"/e/z"[..]]);
    for (dev, ino) in [(1, 6), (1, 0), (0, 7), (3, 1), (2, u64::MAX)] {
        assert!(names(dev, ino).is_empty(), "{dev} {ino}");
    }
    let mut damaged = file.clone();
    let at = u64::from_le_bytes(*file[48..].first_chunk().unwrap()) as usize;
    for entry in 0..6 {
        damaged[at + entry * crate::record::ENTRY_BYTES + 40] ^= 1;
    }
    assert!(Index::parse(&damaged).unwrap().of_inode(1, 7).is_none());
}

#[test]
fn entries_are_read_back_as_written() {
    let file = sample(1000, 3);
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
        let e = ix.lookup(name(i).as_bytes()).unwrap();
        assert_eq!(e.stat().ino, 100 + i as u64);
        assert_eq!(ix.number(&e), Some(i + 3));
        assert_eq!(ix.entry(i + 3).unwrap().path(), name(i).as_bytes());
    }
    assert!(matches!(ix.find(name(1000).as_bytes()), Lookup::Absent));
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
fn extended_attributes_are_read_back_as_written() {
    let file = sample(1, 3);
    let ix = Index::parse(&file).unwrap();
    let known = ix.lookup(b"/shared/env/a.so").unwrap().xattrs().unwrap();
    assert_eq!(known.list(), Told::Bytes(b"user.a\0user.empty\0lustre.lov\0"));
    assert_eq!(known.get(b"user.a"), Told::Bytes(b"one"));
    assert_eq!(known.get(b"user.empty"), Told::Bytes(b""));
    assert_eq!(known.get(b"lustre.lov"), Told::Ask);
    assert_eq!(known.get(b"user.b"), Told::Errno(61));
    assert_eq!(known.get(b"system.posix_acl_access"), Told::Errno(95));
    assert_eq!(known.get(b"system.posix_acl_default"), Told::Ask);
    for made_up in [&b"trusted.x"[..], b"user.", b"", b"system.nfs4_acl", &[b'u'; 300]] {
        assert_eq!(known.get(made_up), Told::Ask);
    }
    let none = ix.lookup(name(0).as_bytes()).unwrap().xattrs().unwrap();
    assert_eq!((none.list(), none.get(b"user.a")), (Told::Errno(95), Told::Errno(95)));
    assert!(ix.lookup(b"/shared/env").unwrap().xattrs().is_none());
}

#[test]
fn a_truncated_or_foreign_file_is_refused() {
    let file = sample(100, 3);
    for len in (0..file.len()).step_by(37).chain([file.len() - 1]) {
        assert_eq!(Index::parse(&file[..len]).unwrap_err(), FormatError::Truncated);
    }
    assert_eq!(Index::parse(&[0; index::HEADER_BYTES]).unwrap_err(), FormatError::Magic);
    let mut newer = file.clone();
    newer[8] += 1;
    assert_eq!(Index::parse(&newer).unwrap_err(), FormatError::Version(index::VERSION + 1));
}

#[test]
fn every_flipped_bit_of_the_head_is_noticed() {
    let file = sample(3, 3);
    let head = u32::from_le_bytes(*file[36..].first_chunk().unwrap()) as usize;
    for bit in 0..head * 8 {
        let mut bad = file.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(Index::parse(&bad).is_err(), "bit {bit}");
    }
}

/// Random numbers, the same in each run (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n as u64) as usize
    }
}

/// Damages a file as disks, memory and half-finished writes do.
fn damage(file: &mut [u8], other: &[u8], random: &mut Random) {
    for _ in 0..=random.below(12) {
        let at = random.below(file.len());
        let len = random.below(200).min(file.len() - at);
        match random.below(6) {
            0 | 1 => file[at] ^= 1 << random.below(8),
            2 => file[at] = random.below(256) as u8,
            3 => file[at..at + len].fill(0),
            4 => {
                let to = random.below(file.len() - len);
                // Half of the copies move whole cache lines.
                let (at, to) = if len.is_multiple_of(2) { (at & !63, to & !63) } else { (at, to) };
                file.copy_within(at..at + len, to);
            }
            // Copies parts of an older index of the same directory, but not the older head, because with that head the
            // file would be the older index.
            _ => {
                let at = at.max(index::HEADER_BYTES);
                let len = len.min(file.len() - at);
                file[at..at + len].copy_from_slice(&other[at..at + len]);
            }
        }
    }
}

/// All fields of an entry.
fn all<'a>(e: &Entry<'a>) -> ([&'a [u8]; 4], Kind, [bool; 2], [usize; 2], Stat) {
    let texts = [e.path(), e.staged(), e.pristine(), e.target()];
    (texts, e.kind(), [e.is_remote(), e.has_acl()], [e.prefix(), e.bundle()], e.stat())
}

#[test]
fn damage_yields_neither_another_entry_nor_a_wrong_absence() {
    const FILES: usize = 30;
    let file = sample(FILES, 3);
    let older = sample(FILES, 4);
    assert_eq!(file.len(), older.len());
    let whole = Index::parse(&file).unwrap();
    let known = [&b"/shared/env"[..], b"/shared/env/a.so", b"/shared/env/l"].map(Vec::from);
    let paths: Vec<Vec<u8>> =
        known.into_iter().chain((0..2 * FILES).map(|i| name(i).into_bytes())).collect();
    let mut random = Random(1);
    // Numbers of parsed files, and of looked-up paths that were found, absent and refused.
    let (mut parsed, mut right, mut absent, mut refused) = (0, 0, 0, 0);
    for round in 0..12_000 {
        let mut bad = file.clone();
        damage(&mut bad, &older, &mut random);
        if round % 4 != 0 {
            // In so small a file most damage would hit the head, so three of four rounds restore it.
            let head = u32::from_le_bytes(*file[36..].first_chunk().unwrap()) as usize;
            bad[..head].copy_from_slice(&file[..head]);
        }
        let Ok(ix) = Index::parse(&bad) else { continue };
        parsed += 1;
        for path in &paths {
            match (ix.find(path), whole.find(path)) {
                (Lookup::Found(a), Lookup::Found(b)) => {
                    assert_eq!(all(&a), all(&b), "round {round}");
                    if let (Some(a), Some(b)) = (a.xattrs(), b.xattrs()) {
                        assert_eq!((a.list(), a.get(b"user.a")), (b.list(), b.get(b"user.a")));
                    }
                    right += 1;
                }
                (Lookup::Absent, Lookup::Absent) => absent += 1,
                (Lookup::Damaged, _) => refused += 1,
                (a, b) => panic!("round {round}: {a:?} is not {b:?}"),
            }
        }
        for number in 0..ix.len() {
            if let Some(e) = ix.entry(number) {
                assert_eq!(all(&e), all(&whole.entry(number).unwrap()), "round {round}");
            }
        }
    }
    assert!(parsed > 8000 && right > refused && absent > refused && refused > parsed);
}

#[test]
fn the_size_and_header_of_a_state_file_are_checked() {
    let mut header = [0; state::COUNT];
    header[..12].copy_from_slice(&state::header());
    assert_eq!(state::check(state::FILE_BYTES, &header), Ok(()));
    for size in [0, 100, state::FILE_BYTES - 1, state::FILE_BYTES + 1] {
        assert_eq!(state::check(size, &header), Err(FormatError::Truncated));
    }
    for bit in 0..header.len() * 8 {
        header[bit / 8] ^= 1 << (bit % 8);
        assert!(state::check(state::FILE_BYTES, &header).is_err(), "bit {bit}");
        header[bit / 8] ^= 1 << (bit % 8);
    }
}

#[test]
fn the_bytes_of_an_index_change_only_with_its_version() {
    let file = sample(0, 3);
    assert_eq!(&file[..8], b"PYSHMIX1");
    assert_eq!(crate::hash_path(b"/shared/env"), 0x402c_c1e4_048f_df20);
    // A change to any byte of an index needs a new version.
    assert_eq!((index::VERSION, crate::hash_path(&file)), (5, 0x5f94_9d93_afb7_f847));
}
