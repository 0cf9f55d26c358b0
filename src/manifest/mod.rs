//! What a bundle says of itself: its prefixes, every path below them as `lstat` saw it, and its frames.
//!
//! The manifest is untrusted: [`Manifest::parse`] only returns one in which every entry lies below a prefix, has
//! a directory of the same manifest as its parent, and appears once. Whoever writes files by it can therefore
//! never leave the tree, nor write through a symbolic link.
//!
//! Its bytes are `PYSHMMF1`, the version as a little-endian `u32`, and the structure in postcard's wire format; since
//! version 2 the extended attributes follow. A bundle of version 1 is read as one that knows of none. Version 3 is that of
//! layers: what makes it one follows at the end. Whole bundles are written as version 2.
#![forbid(unsafe_code)]

pub mod entry;
pub mod frame;
pub mod layer;
pub mod prefix;
pub mod stack;
pub(crate) mod walk;
pub mod xattr;

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

pub use entry::{EntryKind, EntryRecord, EntryStat};
use entry::{PATH_MAX, check_path, same};
use prefix::covers;
pub use prefix::{Mode, PrefixRecord};
use serde::{Deserialize, Serialize};
pub use stack::Stack;

use crate::error::{Error, Result};
use crate::manifest::layer::Layer;
use crate::manifest::xattr::Xattrs;

/// The first bytes of a manifest.
pub const MAGIC: [u8; 8] = *b"PYSHMMF1";
/// Version of the structure.
pub const VERSION: u32 = 3;
/// The last one that knows no layers.
const VERSION_WHOLE: u32 = 2;
/// Name of the manifest's tar member.
pub const MEMBER: &str = ".pyshm/manifest";
/// Everything a bundle says of itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Manifest {
    /// Name and version of the program that wrote it.
    pub tool: String,
    /// When the packing began, seconds since the epoch.
    pub created: u64,
    /// How the frames are compressed.
    pub codec: frame::Codec,
    /// The prefixes; none lies below another.
    pub prefixes: Vec<PrefixRecord>,
    /// Every path at and below the prefixes, parents before children.
    pub entries: Vec<EntryRecord>,
    /// The frames behind the manifest's, in the order of the stream.
    pub frames: Vec<FrameRecord>,
    /// The entries' extended attributes; `None` where they were not recorded.
    #[serde(skip)]
    pub xattrs: Option<Xattrs>,
    /// What makes it a layer; `None` for a whole bundle.
    #[serde(skip)]
    pub layer: Option<Layer>,
    /// blake3 of the bytes it was read from: what a layer over it names. Zero where it was made up.
    #[serde(skip)]
    pub digest: [u8; 32],
}

/// A piece of the compressed stream that decompresses on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameRecord {
    /// Bytes in the bundle.
    pub packed: u32,
    /// Bytes of the tar stream.
    pub raw: u32,
    /// blake3 of those bytes.
    pub digest: [u8; 32],
}

impl Manifest {
    /// The manifest's bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        let version = if self.layer.is_some() { VERSION } else { VERSION_WHOLE };
        bytes.extend_from_slice(&version.to_le_bytes());
        postcard::to_extend(self, bytes)
            .and_then(|bytes| postcard::to_extend(&self.xattrs, bytes))
            .and_then(|bytes| match &self.layer {
                Some(layer) => postcard::to_extend(layer, bytes),
                None => Ok(bytes),
            })
            .expect("a manifest has only types that postcard writes")
    }

    /// Reads and checks the bytes of a manifest.
    ///
    /// # Errors
    /// What is wrong with it, as a sentence's end.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let manifest = Self::parse_tree(bytes)?;
        manifest.check_data()?;
        Ok(manifest)
    }

    /// The same for a manifest whose data is not asked for: of a tar that others made, it does not say where that is.
    pub(crate) fn parse_tree(bytes: &[u8]) -> Result<Self, String> {
        let rest = bytes.strip_prefix(&MAGIC).ok_or("its manifest is not one of pyshm's")?;
        let (version, body) = rest.split_first_chunk::<4>().ok_or("its manifest is truncated")?;
        let version = u32::from_le_bytes(*version);
        if !(1..=VERSION).contains(&version) {
            return Err(format!("its format version is {version}, which this pyshm does not know"));
        }
        let damaged = |e| format!("its manifest is damaged ({e})");
        let (mut manifest, rest): (Self, _) = postcard::take_from_bytes(body).map_err(damaged)?;
        if version > 1 {
            let (xattrs, rest) = postcard::take_from_bytes(rest).map_err(damaged)?;
            manifest.xattrs = xattrs;
            if version > VERSION_WHOLE {
                manifest.layer = Some(postcard::from_bytes(rest).map_err(damaged)?);
            }
        }
        manifest.check_tree()?;
        manifest.digest = *blake3::hash(bytes).as_bytes();
        Ok(manifest)
    }

    /// The rules that make a manifest safe to obey, those that concern data.
    fn check_data(&self) -> Result<(), String> {
        let raw: u64 = self.frames.iter().map(|f| u64::from(f.raw)).sum();
        if let Some(frame) = self
            .frames
            .iter()
            .find(|f| f.raw as usize > frame::MAX_RAW || f.packed as usize > frame::MAX_PACKED)
        {
            return Err(format!(
                "a frame claims {} of data, more than any frame has",
                crate::text::bytes(frame.raw.into())
            ));
        }
        let mut end_of_last = 0;
        for entry in &self.entries {
            let EntryKind::File { offset, .. } = entry.kind else { continue };
            let end = offset.checked_add(entry.stat.size).filter(|end| *end <= raw);
            // In the order of the stream and apart: else one frame could write another file's bytes.
            if offset < end_of_last || end.is_none() {
                let shown = crate::text::shown(&entry.path);
                return Err(format!("entry {shown} claims data that the bundle does not have"));
            }
            end_of_last = end.unwrap_or(raw);
        }
        Ok(())
    }

    /// Those that concern paths.
    pub(crate) fn check_tree(&self) -> Result<(), String> {
        if let Some(xattrs) = &self.xattrs {
            xattrs.check(self.entries.len())?;
        }
        if let Some(layer) = &self.layer {
            layer.check(self)?;
        }
        for prefix in &self.prefixes {
            for path in prefix.spellings() {
                check_path(path.as_os_str().as_bytes())?;
            }
            if self
                .prefixes
                .iter()
                .any(|other| other != prefix && prefix.path().starts_with(other.path()))
            {
                return Err(format!(
                    "its prefix {} lies below another one",
                    prefix.path().display()
                ));
            }
        }
        if self.prefixes.is_empty() {
            return Err("it names no prefix".into());
        }
        let mut directories: HashMap<&[u8], bool> = HashMap::with_capacity(self.entries.len());
        for (number, entry) in self.entries.iter().enumerate() {
            let shown = || crate::text::shown(&entry.path);
            check_path(&entry.path)?;
            let is_prefix = self.prefixes.iter().any(|p| p.path == entry.path);
            let parent = entry.path().parent().map_or(&[][..], |p| p.as_os_str().as_bytes());
            if !is_prefix && directories.get(parent) != Some(&true) {
                return Err(format!("entry {} does not lie in a directory of the bundle", shown()));
            }
            let is_directory = entry.kind == EntryKind::Directory;
            if is_prefix && !is_directory {
                return Err(format!("prefix {} is not a directory", shown()));
            }
            if directories.insert(&entry.path, is_directory).is_some() {
                return Err(format!("entry {} appears twice", shown()));
            }
            match &entry.kind {
                EntryKind::HardLink(to) => {
                    let target = self.entries[..number].get(*to as usize);
                    let is_file = |t: &EntryRecord| {
                        matches!(t.kind, EntryKind::File { .. } | EntryKind::Below)
                    };
                    if !target.is_some_and(is_file) {
                        return Err(format!(
                            "entry {} is a hard link to what is no file of the bundle",
                            shown()
                        ));
                    }
                }
                EntryKind::Symlink(target)
                    if target.is_empty() || target.len() >= PATH_MAX || target.contains(&0) =>
                {
                    return Err(format!(
                        "entry {} is a symbolic link with an impossible target",
                        shown()
                    ));
                }
                EntryKind::Below if self.layer.is_none() => {
                    return Err(format!("entry {} has no data", shown()));
                }
                _ => {}
            }
        }
        match self.prefixes.iter().find(|p| !directories.contains_key(p.path.as_slice())) {
            Some(prefix) => Err(format!("prefix {} has no entry", prefix.path().display())),
            None => Ok(()),
        }
    }

    /// Bytes that the files take once unpacked, in whole pages as a memory file system keeps them.
    #[must_use]
    pub fn unpacked_bytes(&self) -> u64 {
        const PAGE: u64 = 4096;
        let pages = |e: &EntryRecord| match e.kind {
            EntryKind::File { .. } => e.stat.size.div_ceil(PAGE) * PAGE,
            _ => 0,
        };
        self.entries.iter().map(pages).sum()
    }

    /// Whether one of `paths` lies at or below a prefix, in any spelling.
    #[must_use]
    pub fn covers(&self, paths: &[PathBuf]) -> bool {
        covers(&self.prefixes, paths)
    }

    /// Compares size, times, inode and kind of everything below the prefixes with the manifest, and returns the
    /// first path that is new, gone or different; `None` while the bundle is fresh.
    ///
    /// The device number is not compared: nodes number their mounts as they like.
    ///
    /// # Errors
    /// [`Error::NoInput`] when a prefix cannot be read.
    pub fn changed(&self) -> Result<Option<PathBuf>> {
        changed(&self.prefixes, self.entries.iter().map(|e| (e.path(), &e.stat)).collect())
    }

    /// Keeps a copy of the manifest in a file of its own.
    ///
    /// # Errors
    /// [`Error::CannotWrite`] with the file's name.
    pub fn write(&self, path: &Path) -> Result<()> {
        std::fs::write(path, self.to_bytes()).map_err(Error::write(path))
    }

    /// Reads what [`Manifest::write`] kept.
    ///
    /// # Errors
    /// [`Error::NoInput`] or [`Error::BadBundle`] with the file's name.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(Error::read("manifest", path))?;
        Self::parse(&bytes).map_err(|reason| Error::bundle(path, reason))
    }
}

/// The first path below `prefixes` that is not as `known` says.
pub(crate) fn changed(
    prefixes: &[PrefixRecord],
    mut known: HashMap<&Path, &EntryStat>,
) -> Result<Option<PathBuf>> {
    for prefix in prefixes {
        for found in walk::walk(prefix.path()) {
            let found = found?;
            match known.remove(found.path.as_path()) {
                Some(stat) if same(stat, &found.stat) => {}
                _ => return Ok(Some(found.path)),
            }
        }
    }
    Ok(known.into_keys().min().map(Path::to_path_buf))
}
