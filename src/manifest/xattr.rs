//! Records the extended attributes of a bundle's paths while it is packed, so that no rank asks the shared file system
//! for them (`ls -l`, `cp -a` and `shutil.copystat` ask for every file).
//!
//! Most paths share one [`XattrSet`], the empty one. If a path does not have an attribute, the kernel's error depends
//! on the file system and the file type. To learn this error, the collector looks up a missing attribute once for each
//! pair of file system and file type.
#![forbid(unsafe_code)]

use std::collections::HashMap;

use pyshm_format::xattr::{ASK, CLASSES, Class};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::manifest::walk::WalkEntry;

/// The longest value that is recorded, in bytes. Programs read a longer value from the shared file system.
pub const VALUE_MAX: usize = 4096;
/// The longest list of names in bytes that Linux returns.
const LIST_MAX: usize = 65_536;
/// The highest error number of Linux.
const ERRNO_MAX: u8 = 133;
/// The name of an access control list.
const ACL: &[u8] = b"system.posix_acl_access";
/// For each [`Class`], the name of the attribute that the collector looks up to learn the error for a missing
/// attribute.
const PROBES: [(Class, &str); CLASSES] = [
    (Class::User, "user.pyshm.none"),
    (Class::Security, "security.pyshm.none"),
    (Class::AccessList, "system.posix_acl_access"),
    (Class::DefaultList, "system.posix_acl_default"),
];

/// The extended attributes of all entries of a manifest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Xattrs {
    /// The distinct sets.
    pub sets: Vec<XattrSet>,
    /// For each entry of the manifest, the number of its set.
    pub of: Vec<u32>,
}

/// Extended attributes of a path.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct XattrSet {
    /// Error number of `listxattr`, 0 if the call succeeds; [`ASK`] if only the original can answer.
    pub list: u8,
    /// Error number for a name that the path does not have, by [`Class`]; [`ASK`] if only the original can answer.
    pub missing: [u8; CLASSES],
    /// Names and values in the order of `listxattr`; `None` if only the original has the value.
    pub values: Vec<(ByteBuf, Option<ByteBuf>)>,
}

impl XattrSet {
    /// Whether the path has an access control list.
    #[must_use]
    pub fn has_acl(&self) -> bool {
        self.values.iter().any(|(name, _)| name.as_slice() == ACL)
    }
}

impl Xattrs {
    /// The set of the entry with this number.
    #[must_use]
    pub fn set(&self, entry: usize) -> Option<&XattrSet> {
        self.sets.get(*self.of.get(entry)? as usize)
    }

    /// Whether the attributes fit a bundle of `entries` entries, stay within Linux's limits, and name only sets that
    /// exist.
    pub(super) fn are_possible(&self, entries: usize) -> bool {
        let errno = |e: u8| e <= ERRNO_MAX || e == ASK;
        let possible = |set: &XattrSet| {
            let names: usize = set.values.iter().map(|(name, _)| name.len() + 1).sum();
            names <= LIST_MAX
                && errno(set.list)
                && set.missing.iter().all(|e| *e != 0 && errno(*e))
                && set.values.iter().all(|(name, value)| {
                    !name.is_empty()
                        && !name.contains(&0)
                        && value.as_ref().is_none_or(|v| v.len() <= VALUE_MAX)
                })
        };
        let known = |set: &u32| (*set as usize) < self.sets.len();
        self.of.len() == entries && self.of.iter().all(known) && self.sets.iter().all(possible)
    }
}

/// Builds [`Xattrs`] entry by entry; equal sets are stored once.
#[derive(Debug, Default)]
pub(crate) struct XattrsBuilder {
    xattrs: Xattrs,
    numbers: HashMap<XattrSet, u32>,
}

impl XattrsBuilder {
    /// Adds the set of the next entry.
    pub(crate) fn push(&mut self, set: XattrSet) {
        let number = self.number(set);
        self.xattrs.of.push(number);
    }

    /// Adds the next entry with the same set as `entry`.
    pub(crate) fn push_same(&mut self, entry: usize) {
        self.xattrs.of.push(self.xattrs.of[entry]);
    }

    /// Gives an earlier entry another set.
    pub(crate) fn replace(&mut self, entry: usize, set: XattrSet) {
        self.xattrs.of[entry] = self.number(set);
    }

    /// Returns the attributes of all entries.
    pub(crate) fn finish(self) -> Xattrs {
        self.xattrs
    }

    fn number(&mut self, set: XattrSet) -> u32 {
        let next = self.xattrs.sets.len() as u32;
        *self.numbers.entry(set).or_insert_with_key(|set| {
            self.xattrs.sets.push(set.clone());
            next
        })
    }
}

/// Whether the user who packs may read a file. The attributes of an unreadable file are not recorded, because the
/// kernel answers each user differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Readable,
    Unreadable,
}

/// Collects the extended attributes of paths, in the order of the manifest's entries.
#[derive(Debug, Default)]
pub(crate) struct Collector {
    xattrs: XattrsBuilder,
    /// The error number for a name that a path does not have, by device, file type and class.
    missing: HashMap<(u64, u32, usize), u8>,
}

impl Collector {
    /// Adds the attributes of the next path.
    pub(crate) fn add(&mut self, found: &WalkEntry, access: Access) {
        let set = match access {
            Access::Unreadable => {
                XattrSet { list: ASK, missing: [ASK; CLASSES], values: Vec::new() }
            }
            Access::Readable => self.look(found),
        };
        self.xattrs.push(set);
    }

    pub(crate) fn finish(self) -> Xattrs {
        self.xattrs.finish()
    }

    fn look(&mut self, found: &WalkEntry) -> XattrSet {
        let mut buffer = [0; LIST_MAX];
        let (list, names) = match rustix::fs::llistxattr(&found.path, &mut buffer) {
            Ok(n) => (0, &buffer[..n]),
            Err(Errno::OPNOTSUPP) => (Errno::OPNOTSUPP.raw_os_error() as u8, &[][..]),
            Err(_) => (ASK, &[][..]),
        };
        let values = names
            .split(|b| *b == 0)
            .filter(|name| !name.is_empty())
            .map(|name| (ByteBuf::from(name), value(found, name)))
            .collect();
        let mut missing = [ASK; CLASSES];
        for (class, name) in PROBES {
            missing[class as usize] = self.missing(found, class, name);
        }
        XattrSet { list, missing, values }
    }

    fn missing(&mut self, found: &WalkEntry, class: Class, name: &str) -> u8 {
        let key = (found.stat.dev, found.stat.mode & 0o170_000, class as usize);
        if let Some(errno) = self.missing.get(&key) {
            return *errno;
        }
        match rustix::fs::lgetxattr(&found.path, name, &mut [0; VALUE_MAX]) {
            Err(errno @ (Errno::NODATA | Errno::OPNOTSUPP)) => {
                let errno = errno.raw_os_error() as u8;
                self.missing.insert(key, errno);
                errno
            }
            // Either this path has the attribute, or the answer holds only for this path.
            _ => ASK,
        }
    }
}

/// Reads a value; `None` if the attribute's name belongs to no [`Class`], or if the value is too long.
fn value(found: &WalkEntry, name: &[u8]) -> Option<ByteBuf> {
    Class::of(name)?;
    let mut buffer = [0; VALUE_MAX];
    let n = rustix::fs::lgetxattr(&found.path, name, &mut buffer).ok()?;
    Some(ByteBuf::from(&buffer[..n]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::{PackOptions, PrefixSpec, pack};
    use crate::manifest::prefix::Mode;
    use crate::manifest::{MAGIC, Manifest};
    use crate::progress::Progress;

    fn manifest() -> Manifest {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let prefix = dir.path().join("p");
        std::fs::create_dir(&prefix).unwrap();
        std::fs::write(prefix.join("a"), "").unwrap();
        std::fs::write(prefix.join("b"), "").unwrap();
        let specs = [PrefixSpec { path: prefix, mode: Mode::Snapshot }];
        let options = PackOptions { level: None, progress: Progress::Hidden };
        pack(&specs, &dir.path().join("p.tar.zst"), &options).unwrap().manifest
    }

    #[test]
    fn equal_sets_are_stored_once() {
        let written = manifest();
        let xattrs = written.xattrs.as_ref().unwrap();
        assert_eq!(xattrs.of[1], xattrs.of[2]);
        assert!(xattrs.sets.len() <= 2 && xattrs.of.len() == 3);
        assert_eq!(&Manifest::parse(&written.to_bytes()).unwrap().xattrs, &written.xattrs);
    }

    #[test]
    fn a_manifest_of_version_1_has_no_attributes() {
        let manifest = manifest();
        let body = postcard::to_extend(&manifest, [&MAGIC[..], &1u32.to_le_bytes()].concat());
        let read = Manifest::parse(&body.unwrap()).unwrap();
        assert_eq!(read.entries.len(), 3);
        assert_eq!(read.xattrs, None);
    }

    #[test]
    fn impossible_attributes_are_refused() {
        let good = manifest();
        let set = |f: &dyn Fn(&mut Xattrs)| {
            let mut bad = good.clone();
            f(bad.xattrs.as_mut().unwrap());
            Manifest::parse(&bad.to_bytes()).err().map(|why| why.to_string())
        };
        assert_eq!(set(&|_| ()), None);
        let name = |n: &[u8]| (ByteBuf::from(n), None);
        for bad in [
            set(&|x| x.of.truncate(x.of.len() - 1)),
            set(&|x| x.of[0] = 9),
            set(&|x| x.sets[0].list = 200),
            set(&|x| x.sets[0].missing[0] = 0),
            set(&|x| x.sets[0].values = vec![name(b"user.a\0b")]),
            set(&|x| x.sets[0].values = vec![name(b"")]),
            set(&|x| x.sets[0].values = vec![name(&[b'u'; LIST_MAX])]),
        ] {
            assert_eq!(bad.unwrap(), "its extended attributes are impossible");
        }
    }
}
