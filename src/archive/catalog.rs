//! Turns an archive's members into a manifest's entries, one by one in the order of the stream.
//!
//! The catalog derives the attributes that a tar does not record: inode numbers from a hash of the path, and link
//! counts from the tree. They are the same on every node. The catalog drops the set-user-id and set-group-id bits of
//! files, as tar does for every user except root. Owners stay as recorded.
//!
//! Invariants:
//! - A member lies in a directory of the archive, never below a file or a symbolic link. A directory that no member
//!   names has mode 0755.
//! - A name appears once; only a directory may be named again.
#![forbid(unsafe_code)]

use std::collections::{HashMap, HashSet};
use std::os::unix::ffi::OsStrExt;

use pyshm_format::xattr::{ASK, CLASSES};
use rustix::io::Errno;
use serde_bytes::ByteBuf;

use crate::archive::compression::Compression;
use crate::archive::description::{Archive, Scope};
use crate::archive::error::{ArchiveError, MemberProblem};
use crate::archive::members::{Member, MemberKind};
use crate::archive::placement::Placement;
use crate::manifest;
use crate::manifest::Manifest;
use crate::manifest::entry::{EntryKind, EntryRecord, EntryStat, PATH_MAX, check_path};
use crate::manifest::frame::Codec;
use crate::manifest::layer::Layer;
use crate::manifest::xattr::{VALUE_MAX, XattrSet, XattrsBuilder};
use crate::text::shown;

const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;
/// Set-user-id and set-group-id.
const SETID: u32 = 0o6000;

type Result<T> = std::result::Result<T, MemberProblem>;

/// The entries of all members that were added.
pub struct Catalog {
    placement: Placement,
    compression: Compression,
    entries: Vec<EntryRecord>,
    /// The number of each path's entry.
    numbers: HashMap<Vec<u8>, u32>,
    inodes: HashSet<u64>,
    xattrs: XattrsBuilder,
    /// How many files lost their set-user-id or set-group-id bits, and the name of the first such file.
    dropped: Option<(u64, String)>,
    /// What the archive removes, if it is a layer.
    layer: Option<Layer>,
    /// Numbers of the directories that no member names.
    unnamed: HashSet<u32>,
}

/// The entries that a member added.
#[derive(Debug, Default)]
pub struct Added {
    /// Numbers of the new directories, parents first.
    pub directories: std::ops::Range<usize>,
    /// Number of the new regular file.
    pub file: Option<usize>,
}

impl Catalog {
    /// Makes a catalog that holds only the entry of the prefix.
    #[must_use]
    pub fn new(archive: &Archive) -> Self {
        let placement = &archive.placement;
        let mut new = Self {
            placement: placement.clone(),
            compression: archive.compression,
            entries: Vec::new(),
            numbers: HashMap::new(),
            inodes: HashSet::new(),
            xattrs: XattrsBuilder::default(),
            dropped: None,
            layer: (archive.scope == Scope::Layer).then(Layer::default),
            unnamed: HashSet::from([0]),
        };
        let derived = || EntryStat {
            ino: new.inode(&placement.prefix.path),
            mode: DIRECTORY | 0o755,
            ..unrecorded(0)
        };
        let stat = placement.stat.unwrap_or_else(derived);
        new.inodes.insert(stat.ino);
        new.push(placement.prefix.path.to_vec(), EntryKind::Directory, stat, no_xattrs());
        new
    }

    /// The entry with this number.
    #[must_use]
    pub fn entry(&self, number: usize) -> &EntryRecord {
        &self.entries[number]
    }

    /// Adds a member.
    ///
    /// # Errors
    /// The reason why the member is refused, with its name.
    pub fn add(&mut self, member: &Member) -> std::result::Result<Added, ArchiveError> {
        self.add_member(member).map_err(|problem| ArchiveError::member(&member.name, problem))
    }

    fn add_member(&mut self, member: &Member) -> Result<Added> {
        // The archive may be a bundle of pyshm that was compressed again.
        if member.name == manifest::MEMBER.as_bytes() {
            return Ok(Added::default());
        }
        let is_directory = member.kind == MemberKind::Directory;
        let path = if is_directory {
            match self.placement.directory(&member.name)? {
                Some(path) => path,
                None => return Ok(Added::default()),
            }
        } else {
            self.placement.file(&member.name)?
        };
        check_path(&path).map_err(|problem| MemberProblem::Path { path: path.clone(), problem })?;
        if self.add_whiteout(&path)? {
            return Ok(Added::default());
        }
        let before = self.entries.len();
        if let Some(known) = self.numbers.get(&path).copied() {
            self.update_directory(known, member)?;
            return Ok(Added { directories: before..before, file: None });
        }
        self.add_parents(&path)?;
        let set = set_of(member);
        let stat = EntryStat { ino: self.inode(&path), ..self.stat(member) };
        let mut file = None;
        match &member.kind {
            MemberKind::Directory => {
                let stat = EntryStat { mode: DIRECTORY | member.mode, size: 4096, ..stat };
                self.push(path, EntryKind::Directory, stat, set);
            }
            MemberKind::File => {
                let mode = self.mode_of(member);
                let kind = EntryKind::File { offset: 0, digest: [0; 32], runpath: None };
                let (size, blocks) = (member.size, member.stored.div_ceil(512));
                let stat = EntryStat { mode: FILE | mode, size, blocks, ..stat };
                file = Some(self.push(path, kind, stat, set) as usize);
            }
            MemberKind::Symlink(target) => {
                if target.is_empty() || target.contains(&0) {
                    return Err(MemberProblem::ImpossibleTarget);
                }
                if target.len() >= PATH_MAX {
                    return Err(MemberProblem::LongTarget);
                }
                let stat = EntryStat { mode: SYMLINK | 0o777, size: target.len() as u64, ..stat };
                self.push(path, EntryKind::Symlink(ByteBuf::from(&target[..])), stat, set);
            }
            MemberKind::HardLink(target) => self.add_hard_link(path, target)?,
            MemberKind::Other(what) => return Err(MemberProblem::Unsupported(what)),
        }
        let made = self.entries.len() - usize::from(!is_directory);
        Ok(Added { directories: before..made, file })
    }

    /// Returns the mode of a file without its set-user-id and set-group-id bits, and counts the files that had any.
    fn mode_of(&mut self, member: &Member) -> u32 {
        if member.mode & SETID != 0 {
            let first = || (0, shown(&member.name));
            self.dropped.get_or_insert_with(first).0 += 1;
        }
        member.mode & !SETID
    }

    /// Returns whether `path` is a whiteout; if it is one, records what the whiteout removes. Layers of container
    /// images remove paths by whiteouts: the empty file `.wh.NAME` removes NAME in the same directory, and
    /// `.wh..wh..opq` removes everything in its directory.
    fn add_whiteout(&mut self, path: &[u8]) -> Result<bool> {
        let slash = path.iter().rposition(|b| *b == b'/').unwrap_or(0);
        let (directory, name) = (&path[..slash], &path[slash + 1..]);
        let Some(removed) = name.strip_prefix(b".wh.") else { return Ok(false) };
        let layer = self.layer.as_mut().ok_or(MemberProblem::UnexpectedWhiteout)?;
        match removed {
            b".wh..opq" => layer.opaque.push(ByteBuf::from(directory)),
            // Private files of the programs that manage layers.
            _ if removed.starts_with(b".wh.") => {}
            b"" | b"." | b".." => return Err(MemberProblem::NamelessWhiteout),
            _ => layer.removed.push(ByteBuf::from([directory, b"/", removed].concat())),
        }
        Ok(true)
    }

    /// Gives entry `known` the attributes of another member with the same name. Only a directory may be named again,
    /// and the attributes of its last member count.
    fn update_directory(&mut self, known: u32, member: &Member) -> Result<()> {
        let entry = &mut self.entries[known as usize];
        if entry.kind != EntryKind::Directory || member.kind != MemberKind::Directory {
            return Err(MemberProblem::Duplicate);
        }
        let ino = entry.stat.ino;
        self.unnamed.remove(&known);
        let stat = self.stat(member);
        let entry = &mut self.entries[known as usize];
        entry.stat = EntryStat { ino, mode: DIRECTORY | member.mode, size: 4096, ..stat };
        self.xattrs.replace(known as usize, set_of(member));
        Ok(())
    }

    /// Adds the directories above `path` that no member has named.
    fn add_parents(&mut self, path: &[u8]) -> Result<()> {
        let root = self.placement.prefix.path.len();
        let slashes = (root..path.len()).filter(|i| path[*i] == b'/' && *i > root);
        for end in slashes.collect::<Vec<_>>() {
            let parent = &path[..end];
            match self.numbers.get(parent).map(|n| &self.entries[*n as usize].kind) {
                Some(EntryKind::Directory) => {}
                Some(EntryKind::Symlink(_)) => {
                    return Err(MemberProblem::BehindSymlink(parent.to_vec()));
                }
                Some(_) => return Err(MemberProblem::BelowFile(parent.to_vec())),
                None => {
                    let parent = parent.to_vec();
                    let ino = self.inode(&parent);
                    let stat =
                        EntryStat { ino, mode: DIRECTORY | 0o755, ..unrecorded(self.device()) };
                    let number = self.push(parent, EntryKind::Directory, stat, no_xattrs());
                    self.unnamed.insert(number);
                }
            }
        }
        Ok(())
    }

    fn add_hard_link(&mut self, path: Vec<u8>, target: &[u8]) -> Result<()> {
        let to = self.placement.file(target).map_err(|problem| MemberProblem::LinkOutside {
            target: target.to_vec(),
            problem: Box::new(problem),
        })?;
        let number = self.numbers.get(&to).copied();
        let number = match number.map(|n| (n, &self.entries[n as usize].kind)) {
            Some((_, EntryKind::HardLink(file))) => *file,
            Some((n, EntryKind::File { .. })) => n,
            Some((n, EntryKind::Symlink(target))) => {
                let kind = EntryKind::Symlink(target.clone());
                let mut stat = self.entries[n as usize].stat;
                stat.ino = self.inode(&path);
                self.push(path, kind, stat, no_xattrs());
                return Ok(());
            }
            _ => return Err(MemberProblem::LinkToNoFile(target.to_vec())),
        };
        let stat = self.entries[number as usize].stat;
        self.xattrs.push_same(number as usize);
        self.push_entry(path, EntryKind::HardLink(number), stat);
        Ok(())
    }

    fn stat(&self, member: &Member) -> EntryStat {
        EntryStat {
            uid: member.uid,
            gid: member.gid,
            mtime: member.mtime,
            atime: member.atime.unwrap_or(member.mtime),
            ctime: member.ctime.unwrap_or(member.mtime),
            ..unrecorded(self.device())
        }
    }

    /// The prefix's device number on rank 0. Each node replaces it by the number that the node has for this device.
    fn device(&self) -> u64 {
        self.placement.stat.map_or(0, |stat| stat.dev)
    }

    /// Makes an inode number that no other path has, the same on every node and in every job.
    fn inode(&mut self, path: &[u8]) -> u64 {
        let hash = blake3::hash(path);
        let (first, _) = hash.as_bytes().split_first_chunk::<8>().unwrap_or((&[0; 8], &[]));
        let mut number = u64::from_le_bytes(*first) >> 1;
        // Some file systems reserve the lowest numbers.
        while number < 16 || !self.inodes.insert(number) {
            number = (number + 1) & (u64::MAX >> 1);
        }
        number
    }

    fn push(&mut self, path: Vec<u8>, kind: EntryKind, stat: EntryStat, set: XattrSet) -> u32 {
        self.xattrs.push(set);
        self.push_entry(path, kind, stat)
    }

    fn push_entry(&mut self, path: Vec<u8>, kind: EntryKind, stat: EntryStat) -> u32 {
        let number = self.entries.len() as u32;
        self.numbers.insert(path.clone(), number);
        self.entries.push(EntryRecord { path: ByteBuf::from(path), kind, stat });
        number
    }

    /// Records the digest and the absolute `RPATH` or `RUNPATH` of a file's data.
    pub fn set_data(&mut self, file: usize, data: [u8; 32], search_path: Option<Vec<u8>>) {
        if let EntryKind::File { digest, runpath, .. } = &mut self.entries[file].kind {
            *digest = data;
            *runpath = search_path.map(ByteBuf::from);
        }
    }

    /// Returns a warning about the set-user-id and set-group-id bits that were dropped, if there are any.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        let (count, first) = self.dropped.as_ref()?;
        Some(format!(
            "the set-user-id and set-group-id bits of {count} of its members ({first}) are dropped"
        ))
    }

    /// Returns all entries as a manifest without frames.
    #[must_use]
    pub fn finish(mut self) -> Manifest {
        self.count_links();
        if let Some(layer) = &mut self.layer {
            // A directory that no member names did not change.
            layer.implied = self.unnamed.into_iter().collect();
        }
        let is_gzip = self.compression == Compression::Gzip;
        Manifest {
            tool: "others".into(),
            created: 0,
            codec: if is_gzip { Codec::Gzip } else { Codec::Zstd },
            prefixes: vec![self.placement.prefix],
            entries: self.entries,
            frames: Vec::new(),
            xattrs: Some(self.xattrs.finish()),
            layer: self.layer,
            digest: [0; 32],
        }
    }

    fn count_links(&mut self) {
        let mut links = vec![0u64; self.entries.len()];
        for (number, entry) in self.entries.iter().enumerate() {
            match &entry.kind {
                EntryKind::Directory => {
                    links[number] += 2;
                    let parent = entry.path().parent().map(|p| p.as_os_str().as_bytes());
                    if let Some(parent) = parent.and_then(|p| self.numbers.get(p)) {
                        links[*parent as usize] += 1;
                    }
                }
                EntryKind::HardLink(file) => links[*file as usize] += 1,
                _ => links[number] += 1,
            }
        }
        for number in 0..self.entries.len() {
            let of = match self.entries[number].kind {
                EntryKind::HardLink(file) => file as usize,
                _ => number,
            };
            self.entries[number].stat.nlink = links[of];
        }
    }
}

/// Returns an `lstat` with the values that no archive records.
fn unrecorded(dev: u64) -> EntryStat {
    EntryStat { dev, size: 4096, blksize: 4096, ..EntryStat::default() }
}

/// Returns a set without attributes: an attribute that an archive does not record does not exist.
fn no_xattrs() -> XattrSet {
    XattrSet { list: 0, missing: [Errno::NODATA.raw_os_error() as u8; CLASSES], values: Vec::new() }
}

fn set_of(member: &Member) -> XattrSet {
    // The tar has the access control list as text; only the original knows its binary form.
    if member.has_acl {
        let acl = (ByteBuf::from("system.posix_acl_access"), None);
        return XattrSet { list: ASK, missing: [ASK; CLASSES], values: vec![acl] };
    }
    let mut set = no_xattrs();
    for (name, value) in member.xattrs.iter().filter(|(n, _)| !n.is_empty() && !n.contains(&0)) {
        let short = Some(ByteBuf::from(&value[..])).filter(|v| v.len() <= VALUE_MAX);
        set.values.push((ByteBuf::from(&name[..]), short));
    }
    set
}
