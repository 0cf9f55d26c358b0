//! Fuzzes the reader of foreign tars. The reader may only write below the prefix, in directories that the reader has
//! made, under new names. It may not allocate memory for a size that a member only claims.
#![no_main]

use std::collections::HashSet;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use pyshm_tools::archive::members::Members;
use pyshm_tools::archive::walk::{FileData, DigestSink, Sink, FileSummary, walk};
use pyshm_tools::archive::{Archive, Compression, Placement, Scope};
use pyshm_tools::manifest::entry::{EntryKind, EntryRecord};
use pyshm_tools::error::Result;
use pyshm_tools::progress::Progress;

const PREFIX: &str = "/nowhere/envs/science";

/// A sink that writes nothing, and checks each entry that it would write.
struct Checked {
    directories: HashSet<Vec<u8>>,
    files: HashSet<Vec<u8>>,
    digests: DigestSink,
}

impl Checked {
    fn is_new(&self, entry: &EntryRecord) {
        let path = entry.path();
        assert!(path.starts_with(PREFIX), "{entry:?}");
        assert!(path.components().all(|part| part != std::path::Component::ParentDir), "{entry:?}");
        let parent = path.parent().expect("a path has a parent").as_os_str().as_bytes();
        assert!(path == Path::new(PREFIX) || self.directories.contains(parent), "{entry:?}");
        assert!(
            !self.directories.contains(&entry.path[..]) && !self.files.contains(&entry.path[..]),
            "{entry:?}"
        );
    }
}

impl Sink for Checked {
    fn reserve(&mut self, name: &str, size: u64, stored: u64) -> Result<()> {
        self.digests.reserve(name, size, stored)
    }

    fn directory(&mut self, entry: &EntryRecord) -> Result<()> {
        self.is_new(entry);
        self.directories.insert(entry.path.to_vec());
        Ok(())
    }

    fn file(&mut self, entry: &EntryRecord, data: &mut FileData<'_, '_>) -> Result<FileSummary> {
        self.is_new(entry);
        assert_eq!(entry.stat.mode & 0o6000, 0, "{entry:?}");
        self.files.insert(entry.path.to_vec());
        // A member that claims a large size would take hours to digest.
        if entry.stat.size > 1 << 24 {
            Ok(FileSummary::default())
        } else {
            self.digests.file(entry, data)
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut bytes = bytes.to_vec();
    // The checksums are corrected, because nearly every mutation would otherwise be refused at the first header.
    for block in bytes.chunks_exact_mut(512).filter(|block| block[257..262] == *b"ustar") {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    let Ok(compression) = Compression::of(&bytes) else { return };
    let mut placement = Placement::below(Path::new(PREFIX)).expect("a possible prefix");
    if let Ok(mut tar) = compression.decoder(&bytes[..]) {
        placement.learn(&mut Members::new(&mut *tar));
    }
    for scope in [Scope::Whole, Scope::Layer] {
        let placement = placement.clone();
        check(&bytes, &Archive { compression, placement, scope, written: (0, 0) });
    }
});

fn check(bytes: &[u8], archive: &Archive) {
    let Ok(mut tar) = archive.compression.decoder(bytes) else { return };
    let digests = DigestSink::new(Progress::Hidden.byte_bar("", 0));
    let mut sink = Checked { directories: HashSet::new(), files: HashSet::new(), digests };
    let (name, length) = (Path::new("x"), bytes.len() as u64);
    let walked = walk(name, length, archive, &mut *tar, &mut sink);
    if let Ok((manifest, _)) = walked {
        assert_eq!(manifest.layer.is_some(), archive.scope == Scope::Layer);
        for path in manifest.layer.iter().flat_map(|l| l.removed.iter().chain(&l.opaque)) {
            assert!(Path::new(std::ffi::OsStr::from_bytes(path)).starts_with(PREFIX), "{path:?}");
        }
        let mut inodes = HashSet::new();
        for entry in &manifest.entries {
            assert!(entry.path().starts_with(PREFIX), "{entry:?}");
            let linked = matches!(entry.kind, EntryKind::HardLink(_));
            assert!(linked || inodes.insert(entry.stat.ino), "{entry:?}");
        }
    }
}
