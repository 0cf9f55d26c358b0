//! Writes paths as the tar stream of a bundle, and makes the manifest's record of each path.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use indicatif::ProgressBar;
use serde_bytes::ByteBuf;

use crate::bundle::error::changed_while_packed;
use crate::bundle::pack_layer::{Inclusion, PackedPath};
use crate::error::{Error, Result};
use crate::manifest::entry::{EntryKind, EntryRecord};
use crate::manifest::frame::Cutter;
use crate::manifest::prefix::bytes_of;
use crate::manifest::walk;
use crate::manifest::walk::WalkEntry;
use crate::manifest::xattr::{Access, Collector, Xattrs};
use crate::program::run_path;

/// The manifest's records of the paths in the tar stream.
pub(super) struct Recorded {
    pub entries: Vec<EntryRecord>,
    pub xattrs: Xattrs,
}

/// Writes the tar stream that follows the manifest's member.
pub(super) fn write_tar<F>(
    paths: &[PackedPath<'_>],
    cutter: &mut Cutter<F>,
    bar: &ProgressBar,
) -> Result<Recorded>
where
    F: FnMut(Vec<u8>) -> io::Result<()>,
{
    let mut xattrs = Collector::default();
    let mut writer = TarWriter {
        tar: tar::Builder::new(cutter),
        entries: Vec::with_capacity(paths.len()),
        first_names: HashMap::new(),
        bar,
    };
    for (path, inclusion) in paths {
        let kind = writer.append(path, *inclusion)?;
        writer.tar.get_mut().entry_ends().map_err(cannot_write)?;
        let is_remote = kind == EntryKind::Remote;
        xattrs.add(path, if is_remote { Access::Unreadable } else { Access::Readable });
        let mut stat = path.stat;
        if let EntryKind::Symlink(target) = &kind {
            // Some file systems report no size for links; programs expect the length of the target.
            stat.size = target.len() as u64;
        }
        writer.entries.push(EntryRecord { path: bytes_of(&path.path), kind, stat });
    }
    writer.tar.finish().map_err(cannot_write)?;
    Ok(Recorded { entries: writer.entries, xattrs: xattrs.finish() })
}

fn cannot_write(cause: io::Error) -> Error {
    Error::System { what: "write the bundle's frames".into(), cause }
}

struct TarWriter<'a, F: FnMut(Vec<u8>) -> io::Result<()>> {
    tar: tar::Builder<&'a mut Cutter<F>>,
    entries: Vec<EntryRecord>,
    /// For each file that has several names, by device and inode: the number of the entry of its first name.
    first_names: HashMap<(u64, u64), u32>,
    bar: &'a ProgressBar,
}

impl<F: FnMut(Vec<u8>) -> io::Result<()>> TarWriter<'_, F> {
    /// Writes the member of a path and returns its kind.
    fn append(&mut self, found: &WalkEntry, inclusion: Inclusion) -> Result<EntryKind> {
        let mut header = header(found);
        let member = found.path.strip_prefix("/").unwrap_or(&found.path);
        let inode = (found.stat.dev, found.stat.ino);
        if found.kind.is_dir() {
            header.set_entry_type(tar::EntryType::Directory);
            self.tar.append_data(&mut header, member, io::empty()).map_err(cannot_write)?;
            return Ok(EntryKind::Directory);
        }
        if found.kind.is_symlink() {
            let target = std::fs::read_link(&found.path);
            let target = target.map_err(Error::read("prefix", &found.path))?;
            header.set_entry_type(tar::EntryType::Symlink);
            self.tar.append_link(&mut header, member, &target).map_err(cannot_write)?;
            return Ok(EntryKind::Symlink(bytes_of(&target)));
        }
        if !found.kind.is_file() {
            return Ok(EntryKind::Other);
        }
        if let Some(first) = self.first_names.get(&inode) {
            let target = OsStr::from_bytes(&self.entries[*first as usize].path[1..]);
            header.set_entry_type(tar::EntryType::Link);
            self.tar.append_link(&mut header, member, target).map_err(cannot_write)?;
            return Ok(EntryKind::HardLink(*first));
        }
        let kind = if inclusion == Inclusion::AttributesOnly {
            EntryKind::Below
        } else {
            self.append_file(found, &mut header, member)?
        };
        if found.stat.nlink > 1 && kind != EntryKind::Remote {
            self.first_names.insert(inode, self.entries.len() as u32);
        }
        Ok(kind)
    }

    fn append_file(
        &mut self,
        found: &WalkEntry,
        header: &mut tar::Header,
        member: &Path,
    ) -> Result<EntryKind> {
        let failed = |cause| Error::NoInput { what: "prefix", path: found.path.clone(), cause };
        let changed = || changed_while_packed(&found.path);
        let file = match File::open(&found.path) {
            Ok(file) => file,
            // This user may not read the file, so the file's data stays on the shared file system.
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => return Ok(EntryKind::Remote),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(changed()),
            Err(e) => return Err(failed(e)),
        };
        let is_unchanged = || -> Result<bool> {
            let now = walk::stat(&file.metadata().map_err(failed)?);
            Ok(found.stat.is_unchanged(&now))
        };
        if !is_unchanged()? {
            return Err(changed());
        }
        let size = found.stat.size;
        header.set_size(size);
        let mut hash = blake3::Hasher::new();
        let inner = self.bar.wrap_read((&file).take(size));
        let mut data = Hashed { inner, hash: &mut hash, read: 0 };
        self.tar.append_data(header, member, &mut data).map_err(failed)?;
        if data.read != size || !is_unchanged()? {
            return Err(changed());
        }
        let offset = self.tar.get_ref().position() - size.next_multiple_of(512);
        let runpath = run_path::absolute(&file).map(ByteBuf::from);
        Ok(EntryKind::File { offset, digest: *hash.finalize().as_bytes(), runpath })
    }
}

fn header(found: &WalkEntry) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_mode(found.stat.mode & 0o7777);
    header.set_uid(found.stat.uid.into());
    header.set_gid(found.stat.gid.into());
    header.set_mtime(found.stat.mtime.0.max(0) as u64);
    header.set_size(0);
    header
}

/// Hashes and counts the bytes that are read.
struct Hashed<'a, R> {
    inner: R,
    hash: &'a mut blake3::Hasher,
    read: u64,
}

impl<R: Read> Read for Hashed<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.hash.update(&buffer[..n]);
        self.read += n as u64;
        Ok(n)
    }
}
