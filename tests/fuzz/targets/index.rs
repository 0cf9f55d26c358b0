//! Fuzzes the functions that read an index, which every process of a job maps. No index may make a function panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pyshm_format::index::Index;

fuzz_target!(|bytes: &[u8]| {
    let Ok(index) = Index::parse(bytes) else { return };
    for prefix in index.prefixes() {
        let _ = index.find(prefix.path).found();
        let _ = index.find(&[prefix.path, b"/lib/x"].concat()).found();
    }
    // A damaged index can claim any number of entries, so only the first 1000 are read.
    for entry in (0..index.len().min(1000)).filter_map(|n| index.entry(n)) {
        let _ = (
            entry.staged(),
            entry.pristine(),
            entry.target(),
            entry.stat(),
            entry.prefix(),
            entry.bundle(),
            entry.has_acl(),
        );
        let _ = entry.xattrs();
        let _ = index.number(&entry);
        let _ = index.find(entry.path()).found();
    }
});
