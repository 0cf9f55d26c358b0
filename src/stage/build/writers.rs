//! Collects who may write under a prefix: the owners of its files, and who its modes let write. The shim asks when a program
//! starts that it does not enter.
//!
//! Invariant: nobody is left out. In doubt everybody may.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use pyshm_format::build::{IndexBuilder, NewWriters};

use crate::manifest::entry::EntryStat;

const STICKY: u32 = 0o1000;
const KIND: u32 = 0o170_000;
const SYMLINK: u32 = 0o120_000;
/// Users and groups that are listed; with more, everybody may write.
const MOST: usize = 64;
/// The extended attribute of an access control list.
const ACL: &str = "system.posix_acl_access";

/// Who may write.
#[derive(Debug, Clone, Default)]
pub(super) struct Writers {
    users: BTreeSet<u32>,
    groups: BTreeSet<u32>,
    anybody: bool,
}

impl Writers {
    /// Those who may rename or replace a prefix, by one of the names that it has: who may write in a directory above.
    pub fn above(names: &[&Path]) -> Self {
        let mut writers = Self::default();
        for directory in names.iter().flat_map(|name| name.ancestors().skip(1)) {
            // A link's owner may not change it, but who owns what it leads to may.
            for seen in [std::fs::symlink_metadata(directory), std::fs::metadata(directory)] {
                match seen {
                    // In a sticky directory only owners rename and remove.
                    Ok(m) if m.mode() & STICKY != 0 => writers.add(m.uid(), m.gid(), 0),
                    Ok(m) => writers.add(m.uid(), m.gid(), m.mode()),
                    // The prefix does not exist on this node.
                    Err(_) => writers.anybody = true,
                }
            }
            writers.anybody |=
                rustix::fs::getxattr(directory, ACL, &mut [0u8; 0]).is_ok_and(|len| len > 0);
        }
        writers
    }

    /// Adds who may write a file or directory.
    pub fn add_entry(&mut self, stat: &EntryStat) {
        self.add(stat.uid, stat.gid, stat.mode);
    }

    /// Says that nothing is known.
    pub fn add_anybody(&mut self) {
        self.anybody = true;
    }

    fn add(&mut self, uid: u32, gid: u32, mode: u32) {
        // The owner may give himself the permission.
        self.users.insert(uid);
        // The mode of a link means nothing.
        if mode & KIND == SYMLINK {
            return;
        }
        if mode & 0o020 != 0 {
            self.groups.insert(gid);
        }
        self.anybody |= mode & 0o002 != 0;
    }

    /// Writes them into an index.
    pub fn put(&self, builder: &mut IndexBuilder, prefix: u16) {
        let users: Vec<u32> = self.users.iter().copied().collect();
        let groups: Vec<u32> = self.groups.iter().copied().collect();
        let seen_by = rustix::process::geteuid().as_raw();
        let anybody = self.anybody || users.len() + groups.len() > MOST;
        let (users, groups) = if anybody { (&[][..], &[][..]) } else { (&users[..], &groups[..]) };
        builder.writers(prefix, &NewWriters { seen_by, anybody, users, groups });
    }
}

#[cfg(test)]
mod tests {
    use pyshm_format::build::NewEntry;
    use pyshm_format::{Index, Kind, PrefixMode, Stat};

    use super::*;

    #[test]
    fn owners_and_groups_with_permission_are_writers_and_nobody_else() {
        let mut writers = Writers::default();
        writers.add(11, 21, 0o100_644);
        writers.add(12, 22, 0o100_664);
        writers.add(13, 23, 0o120_777);
        writers.add(14, 24, 0o041_755);
        let mut builder = IndexBuilder::new(b"/s", 0);
        let numbers =
            [b"/a", b"/b", b"/c"].map(|p| builder.prefix(p, p, PrefixMode::Snapshot, &[0; 11]));
        let (path, kind, stat) = (b"/a", Kind::Directory, Stat::default());
        builder.entry(&NewEntry {
            path,
            kind,
            flags: 0,
            target: b"",
            edited: false,
            prefix: 0,
            bundle: 0,
            xattrs: None,
            barriers: pyshm_format::Barriers::default(),
            stat,
        });
        writers.put(&mut builder, numbers[0]);
        writers.add(15, 25, 0o100_666);
        writers.put(&mut builder, numbers[1]);
        let bytes = builder.finish();
        let index = Index::parse(&bytes).unwrap();
        let first = index.writers(0);
        assert!(!first.anybody() && first.seen_by() == rustix::process::geteuid().as_raw());
        assert!([11, 12, 13, 14].iter().all(|user| first.has_user(*user)) && !first.has_user(22));
        assert!(
            first.has_group(22) && ![21, 23, 24, 12].iter().any(|group| first.has_group(*group))
        );
        assert!(index.writers(1).anybody());
        // Of a prefix about which nothing was said, nothing is known.
        assert!(index.writers(2).anybody() && index.writers(3).anybody());
    }
}
