//! Judges, from what the bundles recorded, which entries of an index are barred to somebody, and which to the user who stages.
//!
//! A bundle may be packed by root, or by anybody who may read more than the user of this stage. What is refused to that user is
//! left to the shared file system, which refuses it; what is closed to others makes the shim ask who the calling thread is.
//! The directories above a prefix count too: the user may come to them with another identity later.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use pyshm_format::barrier::{
    Barriers, Builder, INSIDE, OVERRIDE, READ, READ_SEARCH, SEARCH, WAY, group_digest,
};

use rustix::io::Errno;

use crate::manifest::Stack;
use crate::manifest::entry::{EntryKind, EntryRecord};
use crate::manifest::xattr::{ACL, XattrSet};

/// The bit of a mode class that lets a file be read.
const MAY_READ: u32 = 4;
/// The bit of a mode class that lets a directory be searched.
const MAY_SEARCH: u32 = 1;

/// The identity of the process that stages.
pub(super) struct Judge {
    builder: Builder,
    groups: Vec<u32>,
}

/// Who of all users may do something, and whether the one who stages may.
#[derive(Clone, Copy)]
struct Allowed {
    everybody: bool,
    builder: bool,
}

impl Judge {
    /// The calling process.
    pub(super) fn new() -> Self {
        let gid = rustix::process::getegid().as_raw();
        let groups = rustix::process::getgroups().unwrap_or_default();
        let mut groups: Vec<u32> = groups.into_iter().map(rustix::fs::Gid::as_raw).collect();
        let root = Path::new("/").metadata().map_or(0, |m| m.uid());
        let held = rustix::thread::capabilities(None).map_or(0, |sets| sets.effective.bits());
        let builder = Builder {
            uid: rustix::process::geteuid().as_raw(),
            gid,
            groups: group_digest(gid, &groups),
            root,
            // In a user namespace they hold for some owners only.
            powers: if root == 0 { held as u32 & (OVERRIDE | READ_SEARCH) } else { 0 },
        };
        groups.push(gid);
        Self { builder, groups }
    }

    /// What the index records of the process.
    pub(super) fn builder(&self) -> Builder {
        self.builder
    }

    /// Judges a file of this mode, owner and group by the bit `want` of a mode class.
    fn judge(&self, entry: &EntryRecord, xattrs: Option<&XattrSet>, want: u32) -> Allowed {
        let stat = &entry.stat;
        let mode = stat.mode;
        let list = xattrs.filter(|set| set.has_acl());
        let everybody = list.is_none() && mode & mode >> 3 & mode >> 6 & want != 0;
        let builder = everybody
            || self.builder.powers != 0
            || match list {
                Some(set) => self.listed(set, stat.uid, stat.gid, want),
                None if stat.uid == self.builder.uid => mode >> 6 & want != 0,
                None if self.groups.contains(&stat.gid) => mode >> 3 & want != 0,
                None => mode & want != 0,
            };
        Allowed { everybody, builder }
    }

    /// Whether an access control list gives `want`; false for a list whose text is not recorded.
    fn listed(&self, set: &XattrSet, owner: u32, group: u32, want: u32) -> bool {
        let value = set.values.iter().find(|(name, _)| name.as_slice() == ACL);
        let Some(text) = value.and_then(|(_, value)| value.as_ref()) else { return false };
        let Some(list) = AccessList::parse(text) else { return false };
        if self.builder.uid == owner {
            return list.bits(USER_OBJECT) & want != 0;
        }
        let given = want & list.mask();
        if let Some(named) = list.0.iter().find(|e| e.tag == USER && e.id == self.builder.uid) {
            return named.bits & given != 0;
        }
        let mine = |e: &&AccessEntry| match e.tag {
            GROUP_OBJECT => self.groups.contains(&group),
            GROUP => self.groups.contains(&e.id),
            _ => false,
        };
        let mut groups = list.0.iter().filter(mine).peekable();
        if groups.peek().is_some() {
            groups.any(|e| e.bits & given != 0)
        } else {
            list.bits(OTHER) & want != 0
        }
    }

    /// Judges all directories of the bundles, and those above their prefixes.
    pub(super) fn ways<'a>(&'a self, stack: &'a Stack) -> Ways<'a> {
        let mut barred = HashMap::new();
        let mut holding: HashMap<_, Barriers> = HashMap::new();
        for manifest in stack.bundles() {
            for (number, entry) in manifest.entries.iter().enumerate() {
                let set = manifest.xattrs.as_ref().and_then(|x| x.set(number));
                if entry.kind == EntryKind::Directory {
                    let bars = self.bars(entry, set, MAY_SEARCH, WAY);
                    if bars != Barriers::default() {
                        barred.insert(entry.path.as_slice(), bars);
                    }
                } else if !matches!(entry.kind, EntryKind::Symlink(_) | EntryKind::Other) {
                    let bars = self.bars(entry, set, MAY_READ, INSIDE);
                    if bars != Barriers::default() {
                        let parent = holding.entry(parent(&entry.path)).or_default();
                        *parent = *parent | bars;
                    }
                }
            }
        }
        let tops = stack.prefixes().iter().map(|p| {
            // An alias that is missing bars nothing: it leads nowhere.
            let others = || p.spellings().skip(1).filter_map(above);
            (p.path.as_slice(), above(p.path()).map(|own| others().fold(own, |a, b| a | b)))
        });
        Ways { judge: self, barred, holding, tops: tops.collect(), known: RefCell::default() }
    }

    /// The `bit` of [`Barriers`] where an entry does not give `want`.
    fn bars(&self, entry: &EntryRecord, xattrs: Option<&XattrSet>, want: u32, bit: u8) -> Barriers {
        let allowed = self.judge(entry, xattrs, want);
        Barriers {
            closed: if allowed.everybody { 0 } else { bit },
            refused: if allowed.builder { 0 } else { bit },
        }
    }
}

/// The barriers on the ways to all entries.
pub(super) struct Ways<'a> {
    judge: &'a Judge,
    /// The directories that may not be searched.
    barred: HashMap<&'a [u8], Barriers>,
    /// The directories that hold a file that may not be read.
    holding: HashMap<&'a [u8], Barriers>,
    /// The prefixes, and what bars the way to them; `None` for a prefix that is missing on this node, where a bundle stands for
    /// what nobody else could refuse.
    tops: HashMap<&'a [u8], Option<Barriers>>,
    /// What was found for directories.
    known: RefCell<HashMap<&'a [u8], Option<Barriers>>>,
}

impl<'a> Ways<'a> {
    /// What of an entry is barred, with the directories on its way.
    pub(super) fn of(&self, entry: &'a EntryRecord, xattrs: Option<&XattrSet>) -> Barriers {
        let bars = |want, bit| self.judge.bars(entry, xattrs, want, bit);
        let own = match entry.kind {
            EntryKind::Symlink(_) | EntryKind::Other => Barriers::default(),
            EntryKind::Directory => {
                let held = self.holding.get(entry.path.as_slice()).copied().unwrap_or_default();
                bars(MAY_READ, READ) | bars(MAY_SEARCH, SEARCH) | held
            }
            _ => bars(MAY_READ, READ),
        };
        both(Some(own), self.to(&entry.path)).unwrap_or_default()
    }

    /// What bars the way to a path: the directories above it.
    fn to(&self, path: &'a [u8]) -> Option<Barriers> {
        if let Some(&top) = self.tops.get(path) {
            return top;
        }
        if !path.contains(&b'/') {
            return Some(Barriers::default());
        }
        let dir = parent(path);
        if let Some(&known) = self.known.borrow().get(dir) {
            return known;
        }
        let found = both(self.to(dir), Some(self.barred.get(dir).copied().unwrap_or_default()));
        self.known.borrow_mut().insert(dir, found);
        found
    }
}

/// The directory in which a path lies.
fn parent(path: &[u8]) -> &[u8] {
    path.iter().rposition(|&b| b == b'/').map_or(&[], |slash| &path[..slash])
}

fn both(a: Option<Barriers>, b: Option<Barriers>) -> Option<Barriers> {
    Some(a? | b?)
}

/// What bars the way to a prefix, by asking for the directories above it; `None` if the prefix is missing. The user who stages
/// has come through all of them if the prefix itself can be seen. Whatever else keeps it from being seen is left to the kernel.
fn above(prefix: &Path) -> Option<Barriers> {
    let refused = match prefix.symlink_metadata() {
        Ok(_) => false,
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return None;
        }
        Err(_) => true,
    };
    let has_no_list = |dir: &Path| {
        let list = rustix::fs::getxattr(dir, "system.posix_acl_access", &mut [0u8; 0][..]);
        matches!(list, Err(Errno::NODATA | Errno::OPNOTSUPP))
    };
    let open = prefix
        .ancestors()
        .skip(1)
        .all(|dir| has_no_list(dir) && dir.metadata().is_ok_and(|m| m.mode() & 0o111 == 0o111));
    let closed = refused || !open;
    Some(Barriers { closed: if closed { WAY } else { 0 }, refused: if refused { WAY } else { 0 } })
}

/// The tags of an access control list, as in `<sys/acl.h>`.
const USER_OBJECT: u16 = 1;
const USER: u16 = 2;
const GROUP_OBJECT: u16 = 4;
const GROUP: u16 = 8;
const MASK: u16 = 16;
const OTHER: u16 = 32;

/// An entry of an access control list.
struct AccessEntry {
    tag: u16,
    bits: u32,
    id: u32,
}

/// An access control list of POSIX.1e.
struct AccessList(Vec<AccessEntry>);

impl AccessList {
    /// Reads the value of `system.posix_acl_access`.
    fn parse(value: &[u8]) -> Option<Self> {
        let entries = value.strip_prefix(&[2, 0, 0, 0])?.as_chunks::<8>().0.iter();
        let entry = |&[a, b, c, d, e, f, g, h]: &[u8; 8]| AccessEntry {
            tag: u16::from_le_bytes([a, b]),
            bits: u16::from_le_bytes([c, d]).into(),
            id: u32::from_le_bytes([e, f, g, h]),
        };
        Some(Self(entries.map(entry).collect()))
    }

    /// The bits of the only entry with this tag; none where there is no such entry.
    fn bits(&self, tag: u16) -> u32 {
        self.0.iter().find(|e| e.tag == tag).map_or(0, |e| e.bits)
    }

    /// The bits that named users, and groups, get at most.
    fn mask(&self) -> u32 {
        self.0.iter().find(|e| e.tag == MASK).map_or(7, |e| e.bits)
    }
}

#[cfg(test)]
mod tests {
    use pyshm_format::barrier::Builder;
    use serde_bytes::ByteBuf;

    use super::{ACL, Judge, MAY_READ, XattrSet};

    fn list(entries: &[(u16, u16, u32)]) -> XattrSet {
        let mut value = vec![2, 0, 0, 0];
        for (tag, bits, id) in entries {
            value.extend_from_slice(&tag.to_le_bytes());
            value.extend_from_slice(&bits.to_le_bytes());
            value.extend_from_slice(&id.to_le_bytes());
        }
        let values = vec![(ByteBuf::from(ACL), Some(ByteBuf::from(value)))];
        XattrSet { list: 0, missing: [61; 4], values }
    }

    #[test]
    fn an_access_list_decides_as_the_kernel_does() {
        let builder = Builder { uid: 10, gid: 20, ..Builder::default() };
        let judge = Judge { builder, groups: vec![20, 21] };
        let none = u32::MAX;
        let reads = |owner, group, entries: &[(u16, u16, u32)]| {
            judge.listed(&list(entries), owner, group, MAY_READ)
        };
        let (owner, mask, other) = ((1, 6, none), (16, 4, none), (32, 0, none));
        assert!(reads(10, 1, &[owner, (4, 0, none), mask, other]));
        assert!(!reads(11, 1, &[owner, (4, 4, none), mask, other]));
        assert!(reads(11, 1, &[owner, (2, 4, 10), (4, 0, none), mask, other]));
        assert!(!reads(11, 1, &[owner, (2, 4, 10), (4, 0, none), (16, 2, none), other]));
        assert!(!reads(11, 20, &[owner, (2, 0, 10), (4, 4, none), mask, other]));
        assert!(reads(11, 1, &[owner, (4, 0, none), (8, 0, 20), (8, 4, 21), mask, other]));
        assert!(!reads(11, 20, &[owner, (4, 0, none), mask, (32, 4, none)]));
        assert!(reads(11, 1, &[owner, (4, 0, none), mask, (32, 4, none)]));
    }
}
