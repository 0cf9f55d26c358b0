//! Writes the index of a stage. Each node writes its own index, since device numbers and `statfs` differ from node to
//! node.
//!
//! Lustre, NFS and FUSE number their mounts differently on each node. A leader makes only one `lstat` for each device
//! in a bundle and one `statfs` for each prefix on the shared file system.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use pyshm_format::build::{IndexBuilder, NewEntry, NewXattrs, XattrsId};
use pyshm_format::index::FLAG_NOEXEC;
use pyshm_format::record::{ENTRY_ACL, ENTRY_REMOTE};
use pyshm_format::{Kind, PrefixMode, Stat, Time};

use crate::error::{Error, Result};
use crate::manifest::entry::{EntryKind, EntryStat};
use crate::manifest::prefix::Mode;
use crate::manifest::xattr::XattrSet;
use crate::manifest::{Manifest, Stack};
use crate::stage::build::tree::Edited;
use crate::stage::limits::space;

/// Builds the index of `stack`, and returns the index as bytes. `edited` has the paths of edited libraries. `stage` is
/// the directory that the stage will have after its publication.
pub(super) fn build(stack: &Stack, edited: &Edited, stage: &Path) -> Vec<u8> {
    let parent = stage.parent().unwrap_or(stage);
    let flags = if space::is_noexec(parent) { FLAG_NOEXEC } else { 0 };
    let mut builder = IndexBuilder::new(stage.as_os_str().as_encoded_bytes(), flags);
    let mut numbers = Vec::new();
    for prefix in stack.prefixes() {
        let mode = match prefix.mode {
            Mode::Snapshot => PrefixMode::Snapshot,
            Mode::Overlay => PrefixMode::Overlay,
        };
        let statfs = statfs(prefix.path());
        let number = builder.prefix(&prefix.path, &prefix.path, mode, &statfs);
        for alias in &prefix.aliases {
            builder.prefix(alias, &prefix.path, mode, &statfs);
        }
        numbers.push((prefix.path(), number));
    }
    // The longest prefix comes first, since a path belongs to the innermost of nested prefixes.
    numbers.sort_by_key(|(path, _)| std::cmp::Reverse(path.as_os_str().len()));
    for (bundle, manifest) in stack.bundles().iter().enumerate() {
        let sets = xattrs(manifest, &mut builder);
        let mut devices = HashMap::new();
        for (number, entry) in manifest.entries.iter().enumerate() {
            // In the manifest's order, the first path on a device is the mount point of that device, or the prefix. If
            // this path is missing on this node, the nearest existing directory above it tells the device number.
            let device_here = || {
                let nearest = entry.path().ancestors().find_map(|p| p.symlink_metadata().ok());
                nearest.map_or(entry.stat.dev, |m| m.dev())
            };
            let device = *devices.entry(entry.stat.dev).or_insert_with(device_here);
            let (kind, target): (_, &[u8]) = match &entry.kind {
                EntryKind::Directory => (Kind::Directory, b""),
                EntryKind::Symlink(target) => (Kind::Symlink, target),
                EntryKind::File { .. }
                | EntryKind::HardLink(_)
                | EntryKind::Remote
                | EntryKind::Below => (Kind::File, b""),
                EntryKind::Other => (Kind::Other, b""),
            };
            let prefix =
                numbers.iter().find(|(path, _)| entry.path().starts_with(path)).map_or(0, |p| p.1);
            let known = manifest.xattrs.as_ref();
            let acl = known.and_then(|x| x.set(number)).is_some_and(XattrSet::has_acl);
            let remote = entry.kind == EntryKind::Remote;
            builder.entry(&NewEntry {
                path: &entry.path,
                kind,
                flags: if remote { ENTRY_REMOTE } else { 0 } | if acl { ENTRY_ACL } else { 0 },
                target,
                edited: edited.contains(entry.path.as_slice()),
                prefix,
                bundle: u16::try_from(bundle).unwrap_or(u16::MAX),
                xattrs: known.and_then(|x| sets.get(*x.of.get(number)? as usize)).copied(),
                stat: with_device(&entry.stat, device),
            });
        }
    }
    builder.finish()
}

/// Writes `index` to the file `path`. Parts of the index that are all zeros, such as the free space behind the index's
/// head, become holes. Holes cost neither memory nor time in the processes that map the file.
///
/// # Errors
/// [`Error::CannotWrite`].
pub(super) fn write(path: &Path, index: &[u8]) -> Result<()> {
    const PART: usize = 1 << 16;
    let write = || {
        let file = File::create(path)?;
        file.set_len(index.len() as u64)?;
        for (number, part) in index.chunks(PART).enumerate() {
            let len = part.iter().rposition(|&b| b != 0).map_or(0, |last| last + 1);
            file.write_all_at(&part[..len], (number * PART) as u64)?;
        }
        Ok(())
    };
    write().map_err(Error::write(path))
}

/// Adds the manifest's sets of extended attributes to the index. Returns the number of each set in the index, in the
/// manifest's order.
fn xattrs(manifest: &Manifest, builder: &mut IndexBuilder) -> Vec<XattrsId> {
    let add = |set: &XattrSet| {
        let values: Vec<(&[u8], Option<&[u8]>)> = set
            .values
            .iter()
            .map(|(n, v)| (n.as_slice(), v.as_ref().map(|v| v.as_slice())))
            .collect();
        builder.xattrs(&NewXattrs { list: set.list, missing: set.missing, values: &values })
    };
    manifest.xattrs.iter().flat_map(|x| &x.sets).map(add).collect()
}

fn with_device(stat: &EntryStat, dev: u64) -> Stat {
    let time = |(sec, nsec): (i64, u32)| Time { sec, nsec };
    Stat {
        dev,
        ino: stat.ino,
        rdev: stat.rdev,
        nlink: stat.nlink,
        size: stat.size,
        blocks: stat.blocks,
        mode: stat.mode,
        uid: stat.uid,
        gid: stat.gid,
        blksize: stat.blksize,
        atime: time(stat.atime),
        mtime: time(stat.mtime),
        ctime: time(stat.ctime),
        btime: time(stat.btime),
    }
}

/// The results of `statfs(2)` in the order of [`pyshm_format::Prefix`]; zeros if the prefix is missing on this node.
fn statfs(prefix: &Path) -> [u64; 11] {
    let (Ok(fs), Ok(vfs)) = (rustix::fs::statfs(prefix), rustix::fs::statvfs(prefix)) else {
        return [0; 11];
    };
    [
        fs.f_type as u64,
        fs.f_bsize as u64,
        fs.f_blocks,
        fs.f_bfree,
        fs.f_bavail,
        fs.f_files,
        fs.f_ffree,
        vfs.f_fsid,
        vfs.f_namemax,
        fs.f_frsize as u64,
        vfs.f_flag.bits(),
    ]
}
