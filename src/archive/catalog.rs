//! What an archive holds, as a manifest's entries, made up member by member in the stream's order.
//!
//! A member is only taken if the directory it lies in is one of the archive, or not there at all and then made
//! (mode 0755): never below a file or a symbolic link. Every name counts once, except that a directory may be named
//! again. What a tar does not hold is made up the same on every node: inode numbers from a hash of the path, numbers
//! of links from the tree. Set-user-id and set-group-id bits of files are dropped, as for everyone who unpacks a tar
//! without being root. Owners are what is recorded.
#![forbid(unsafe_code)]

use std::collections::{HashMap, HashSet};
use std::os::unix::ffi::OsStrExt;

use pyshm_format::xattr::{ASK, CLASSES};
use rustix::io::Errno;
use serde_bytes::ByteBuf;

use crate::archive::Compression;
use crate::archive::members::{Kind, Member};
use crate::archive::placement::{Place, Placement};
use crate::manifest;
use crate::manifest::Manifest;
use crate::manifest::entry::{EntryKind, EntryRecord, EntryStat};
use crate::manifest::frame::Codec;
use crate::manifest::layer::Layer;
use crate::manifest::xattr::{VALUE_MAX, XattrSet, Xattrs};
use crate::text::shown;

const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;
/// Set-user-id and set-group-id.
const SETID: u32 = 0o6000;

/// The entries so far.
pub struct Catalog {
    placement: Placement,
    entries: Vec<EntryRecord>,
    numbers: HashMap<Vec<u8>, u32>,
    inodes: HashSet<u64>,
    sets: Vec<XattrSet>,
    set_numbers: HashMap<XattrSet, u32>,
    set_of: Vec<u32>,
    dropped: Option<(u64, String)>,
    /// What it removes, if it is a layer.
    layer: Option<Layer>,
    /// Directories that no member names.
    unnamed: HashSet<u32>,
}

/// What became of a member.
#[derive(Debug, Default)]
pub struct Added {
    /// Directories that are new, parents first.
    pub directories: std::ops::Range<usize>,
    /// The new regular file.
    pub file: Option<usize>,
}

impl Catalog {
    /// Knows the prefix alone; `is_layer` says that members may say what is removed.
    #[must_use]
    pub fn new(placement: &Placement, is_layer: bool) -> Self {
        let mut new = Self {
            placement: placement.clone(),
            entries: Vec::new(),
            numbers: HashMap::new(),
            inodes: HashSet::new(),
            sets: Vec::new(),
            set_numbers: HashMap::new(),
            set_of: Vec::new(),
            dropped: None,
            layer: is_layer.then(Layer::default),
            unnamed: HashSet::from([0]),
        };
        let made_up = || EntryStat {
            ino: new.inode(&placement.prefix.path),
            mode: DIRECTORY | 0o755,
            ..made_up(0)
        };
        let stat = placement.stat.unwrap_or_else(made_up);
        new.inodes.insert(stat.ino);
        new.push(placement.prefix.path.to_vec(), EntryKind::Directory, stat, &no_xattrs());
        new
    }

    /// The entry of a number.
    #[must_use]
    pub fn entry(&self, number: usize) -> &EntryRecord {
        &self.entries[number]
    }

    /// Number of entries.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "the prefix is always there")]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Takes a member.
    ///
    /// # Errors
    /// Why it is refused, with its name.
    pub fn add(&mut self, member: &Member) -> Result<Added, String> {
        self.take(member).map_err(|why| format!("its member {} {why}", shown(&member.name)))
    }

    fn take(&mut self, member: &Member) -> Result<Added, String> {
        // Of a bundle of ours that was compressed anew.
        if member.name == manifest::MEMBER.as_bytes() {
            return Ok(Added::default());
        }
        let is_directory = member.kind == Kind::Directory;
        let path = match self.placement.place(&member.name, is_directory)? {
            Place::At(path) => path,
            Place::Above => return Ok(Added::default()),
        };
        manifest::entry::check_path(&path).map_err(|why| why.replace("entry ", "would be "))?;
        if self.removes(&path)? {
            return Ok(Added::default());
        }
        let before = self.entries.len();
        if let Some(known) = self.numbers.get(&path).copied() {
            return self
                .again(known, member)
                .map(|()| Added { directories: before..before, file: None });
        }
        self.parents(&path)?;
        let set = set_of(member);
        let stat = EntryStat { ino: self.inode(&path), ..self.stat(member) };
        let mut file = None;
        match &member.kind {
            Kind::Directory => {
                let stat = EntryStat { mode: DIRECTORY | member.mode, size: 4096, ..stat };
                self.push(path, EntryKind::Directory, stat, &set);
            }
            Kind::File => {
                let mut mode = member.mode;
                if mode & SETID != 0 {
                    mode &= !SETID;
                    let first = || (0, shown(&member.name));
                    self.dropped.get_or_insert_with(first).0 += 1;
                }
                let kind = EntryKind::File { offset: 0, digest: [0; 32], runpath: None };
                let (size, blocks) = (member.size, member.stored.div_ceil(512));
                let stat = EntryStat { mode: FILE | mode, size, blocks, ..stat };
                file = Some(self.push(path, kind, stat, &set) as usize);
            }
            Kind::Symlink(target) => {
                if target.is_empty() || target.contains(&0) {
                    return Err("is a symbolic link with an impossible target".into());
                }
                if target.len() >= manifest::entry::PATH_MAX {
                    return Err("is a symbolic link with a target longer than Linux takes".into());
                }
                let stat = EntryStat { mode: SYMLINK | 0o777, size: target.len() as u64, ..stat };
                self.push(path, EntryKind::Symlink(ByteBuf::from(&target[..])), stat, &set);
            }
            Kind::HardLink(target) => self.hard_link(path, target)?,
            Kind::Other(what) => {
                return Err(format!("is {what}: leave it out of the archive"));
            }
        }
        let made = self.entries.len() - usize::from(!is_directory);
        Ok(Added { directories: before..made, file })
    }

    /// Takes what stands for something removed, as in the layers of container images: `.wh.NAME` is empty and stands
    /// beside where NAME was, `.wh..wh..opq` says that nothing is left of its directory.
    fn removes(&mut self, path: &[u8]) -> Result<bool, String> {
        let slash = path.iter().rposition(|b| *b == b'/').unwrap_or(0);
        let (directory, name) = (&path[..slash], &path[slash + 1..]);
        let Some(removed) = name.strip_prefix(b".wh.") else { return Ok(false) };
        let Some(layer) = &mut self.layer else {
            return Err("says that something is removed, as in the layer of a container image: name what it lies over \
                        before it, and say --layer behind it"
                .into());
        };
        match removed {
            b".wh..opq" => layer.opaque.push(ByteBuf::from(directory)),
            // Notes of the programs that keep them.
            _ if removed.starts_with(b".wh.") => {}
            b"" | b"." | b".." => return Err("removes nothing that could be there".into()),
            _ => layer.gone.push(ByteBuf::from([directory, b"/", removed].concat())),
        }
        Ok(true)
    }

    /// A second member of a name.
    fn again(&mut self, known: u32, member: &Member) -> Result<(), String> {
        let entry = &mut self.entries[known as usize];
        if entry.kind != EntryKind::Directory || member.kind != Kind::Directory {
            return Err("appears twice: make the archive anew, without 'tar -r'".into());
        }
        let ino = entry.stat.ino;
        self.unnamed.remove(&known);
        let stat = self.stat(member);
        let entry = &mut self.entries[known as usize];
        entry.stat = EntryStat { ino, mode: DIRECTORY | member.mode, size: 4096, ..stat };
        self.set_of[known as usize] = self.set_number(&set_of(member));
        Ok(())
    }

    /// Makes sure that a path lies in a directory of the archive.
    fn parents(&mut self, path: &[u8]) -> Result<(), String> {
        let root = self.placement.prefix.path.len();
        let slashes = (root..path.len()).filter(|i| path[*i] == b'/' && *i > root);
        for end in slashes.collect::<Vec<_>>() {
            let parent = &path[..end];
            match self.numbers.get(parent).map(|n| &self.entries[*n as usize].kind) {
                Some(EntryKind::Directory) => {}
                Some(EntryKind::Symlink(_)) => {
                    let link = shown(parent);
                    return Err(format!(
                        "lies behind the symbolic link {link}: it is refused, as it could lead anywhere"
                    ));
                }
                Some(_) => {
                    return Err(format!("lies below {}, which is no directory", shown(parent)));
                }
                None => {
                    let parent = parent.to_vec();
                    let ino = self.inode(&parent);
                    let stat = EntryStat { ino, mode: DIRECTORY | 0o755, ..made_up(self.device()) };
                    let number = self.push(parent, EntryKind::Directory, stat, &no_xattrs());
                    self.unnamed.insert(number);
                }
            }
        }
        Ok(())
    }

    fn hard_link(&mut self, path: Vec<u8>, target: &[u8]) -> Result<(), String> {
        let shown_target = shown(target);
        let to = match self.placement.place(target, false) {
            Ok(Place::At(to)) => to,
            Ok(Place::Above) => return Err("is a hard link to a directory".into()),
            Err(why) => return Err(format!("is a hard link to {shown_target}, which {why}")),
        };
        let number = self.numbers.get(&to).copied();
        let number = match number.map(|n| (n, &self.entries[n as usize].kind)) {
            Some((_, EntryKind::HardLink(file))) => *file,
            Some((n, EntryKind::File { .. })) => n,
            Some((n, EntryKind::Symlink(target))) => {
                let kind = EntryKind::Symlink(target.clone());
                let mut stat = self.entries[n as usize].stat;
                stat.ino = self.inode(&path);
                self.push(path, kind, stat, &no_xattrs());
                return Ok(());
            }
            _ => {
                return Err(format!(
                    "is a hard link to {shown_target}, which is no file that stands before it in the archive"
                ));
            }
        };
        let stat = self.entries[number as usize].stat;
        self.push(path, EntryKind::HardLink(number), stat, &no_xattrs());
        let set = self.set_of[number as usize];
        if let Some(last) = self.set_of.last_mut() {
            *last = set;
        }
        Ok(())
    }

    fn stat(&self, member: &Member) -> EntryStat {
        EntryStat {
            uid: member.uid,
            gid: member.gid,
            mtime: member.mtime,
            atime: member.atime.unwrap_or(member.mtime),
            ctime: member.ctime.unwrap_or(member.mtime),
            ..made_up(self.device())
        }
    }

    /// The prefix's device as rank 0 sees it; each node puts its own in its place.
    fn device(&self) -> u64 {
        self.placement.stat.map_or(0, |stat| stat.dev)
    }

    /// A number that no other path has, the same on every node and in every job.
    fn inode(&mut self, path: &[u8]) -> u64 {
        let hash = blake3::hash(path);
        let (first, _) = hash.as_bytes().split_first_chunk::<8>().unwrap_or((&[0; 8], &[]));
        let mut number = u64::from_le_bytes(*first) >> 1;
        // The first ones mean something to some file systems.
        while number < 16 || !self.inodes.insert(number) {
            number = (number + 1) & (u64::MAX >> 1);
        }
        number
    }

    fn push(&mut self, path: Vec<u8>, kind: EntryKind, stat: EntryStat, set: &XattrSet) -> u32 {
        let number = self.entries.len() as u32;
        let set = self.set_number(set);
        self.set_of.push(set);
        self.numbers.insert(path.clone(), number);
        self.entries.push(EntryRecord { path: ByteBuf::from(path), kind, stat });
        number
    }

    fn set_number(&mut self, set: &XattrSet) -> u32 {
        let next = self.sets.len() as u32;
        *self.set_numbers.entry(set.clone()).or_insert_with(|| {
            self.sets.push(set.clone());
            next
        })
    }

    /// Says what the data of a file was.
    pub fn describe(&mut self, file: usize, of: [u8; 32], search_path: Option<Vec<u8>>) {
        if let EntryKind::File { digest, runpath, .. } = &mut self.entries[file].kind {
            *digest = of;
            *runpath = search_path.map(ByteBuf::from);
        }
    }

    /// A line about set-user-id bits that were dropped.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        let (count, first) = self.dropped.as_ref()?;
        Some(format!(
            "{count} of its members would run as another user or group ({first}): these bits of their modes are dropped"
        ))
    }

    /// All of it, as a manifest without frames.
    #[must_use]
    pub fn finish(mut self, compression: Compression) -> Manifest {
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
        if let Some(layer) = &mut self.layer {
            // These stay as they are below.
            layer.implied = self.unnamed.into_iter().collect();
        }
        let codec = if compression == Compression::Gzip { Codec::Gzip } else { Codec::Zstd };
        Manifest {
            tool: "others".into(),
            created: 0,
            codec,
            prefixes: vec![self.placement.prefix],
            entries: self.entries,
            frames: Vec::new(),
            xattrs: Some(Xattrs { sets: self.sets, of: self.set_of }),
            layer: self.layer,
            digest: [0; 32],
        }
    }
}

/// What every entry has that the archive says nothing of.
fn made_up(dev: u64) -> EntryStat {
    EntryStat { dev, size: 4096, blksize: 4096, ..EntryStat::default() }
}

/// What is not recorded is not there: an archive stands for its prefix in all.
fn no_xattrs() -> XattrSet {
    XattrSet { list: 0, missing: [Errno::NODATA.raw_os_error() as u8; CLASSES], values: Vec::new() }
}

fn set_of(member: &Member) -> XattrSet {
    // How the kernel writes down a list that is given in words only the original knows.
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
