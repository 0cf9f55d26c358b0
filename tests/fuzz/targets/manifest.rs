//! Fuzzes the parser of manifests.
//!
//! In every manifest that the parser accepts, each path lies below a prefix and in a directory that the manifest lists.
//! Such a manifest can be written and read again without a change. In a stack of such manifests no path has two
//! entries.
#![no_main]

use std::collections::HashSet;
use std::os::unix::ffi::OsStrExt;

use libfuzzer_sys::fuzz_target;
use pyshm_tools::bundle::head::Head;
use pyshm_tools::manifest::entry::{EntryKind};
use pyshm_tools::manifest::{Manifest, Stack};

fuzz_target!(|bytes: &[u8]| {
    let _ = Head::parse(bytes);
    let Ok(mut manifest) = Manifest::parse(bytes) else { return };
    let _ = manifest.unpacked_bytes();
    let data: u64 = manifest.frames.iter().map(|frame| u64::from(frame.raw)).sum();
    let mut directories = HashSet::new();
    for entry in &manifest.entries {
        let prefix = manifest.prefixes.iter().any(|p| p.path == entry.path);
        let parent = entry.path().parent().expect("a path has a parent");
        assert!(prefix || directories.contains(parent.as_os_str().as_bytes()), "{entry:?}");
        assert!(manifest.prefixes.iter().any(|p| entry.path().starts_with(p.path())), "{entry:?}");
        if let EntryKind::File { offset, .. } = entry.kind {
            assert!(offset + entry.stat.size <= data, "{entry:?}");
        }
        if entry.kind == EntryKind::Directory {
            directories.insert(entry.path.to_vec());
        }
    }
    let again = Manifest::parse(&manifest.to_bytes()).expect("a manifest that was parsed is valid when it is written again");
    assert_eq!(again.to_bytes(), manifest.to_bytes());
    let mut stack = Stack::default();
    // The manifest is laid into the stack twice: first as a whole bundle, then unchanged. If the manifest is a layer,
    // its list of lower bundles is emptied, so that the stack accepts any bundle under the layer.
    let whole = Manifest { layer: None, ..again };
    manifest.layer.iter_mut().for_each(|layer| layer.over.clear());
    for laid in [whole, manifest] {
        if stack.lay(laid).is_err() {
            return;
        }
        let mut paths = HashSet::new();
        for (bundle, entry) in stack.entries() {
            assert!(paths.insert(&entry.path), "{entry:?}");
            assert!(stack.prefix_of(&entry.path).is_some(), "{entry:?}");
            if let EntryKind::HardLink(to) = entry.kind {
                let of = &stack.bundles()[bundle].entries[to as usize];
                assert!(matches!(of.kind, EntryKind::File { .. } | EntryKind::Below), "{entry:?}");
            }
        }
    }
});
