//! Checks that a stage fits before its first byte is written.
//!
//! A stage needs bytes and inodes of its file system. If the file system is in memory, the stage also needs a part of
//! the job's memory limit and of the node's free memory.
#![forbid(unsafe_code)]

use std::path::Path;

use crate::bundle::Size;
use crate::error::{Error, Result};
use crate::stage::limits::cgroup;
use crate::text::bytes;

/// Bytes that an entry of a stage takes in addition to its data: for its inode, its directory entry and its index
/// record.
const PER_ENTRY: u64 = 1024;
/// Number of inodes that stay free.
const RESERVED_INODES: u64 = 1024;
/// `f_type` of tmpfs and ramfs.
const MEMORY_TYPES: [u32; 2] = [0x0102_1994, 0x8584_58f6];

/// Bytes that stay free by default in a file system of `size` bytes: a sixteenth, at least 64 MiB and at most 4 GiB.
fn default_reserve(size: u64) -> u64 {
    (size / 16).clamp(64 << 20, 4 << 30)
}

/// A limit on the bytes that a stage may take.
struct Constraint {
    /// Name of the limit for messages.
    what: String,
    /// Bytes that the limit leaves.
    free: u64,
    /// What the user can do when too few bytes are left.
    advice: &'static str,
}

const FREE_SOME: &str = "free some";
const ASK: &str = "ask for more memory";

/// All limits on what can be written below a root.
struct Limits {
    bytes: Vec<Constraint>,
    /// Free inodes; `None` if the file system does not count them.
    inodes: Option<u64>,
    /// Bytes that stay free.
    reserve: u64,
}

impl Limits {
    fn of(root: &Path, reserve: Option<u64>) -> Result<Self> {
        let failed = |e: rustix::io::Errno| Error::write(root)(e.into());
        let fs = rustix::fs::statvfs(root).map_err(failed)?;
        let size = fs.f_blocks.saturating_mul(fs.f_frsize);
        let mut bytes = Vec::new();
        // A file system without a size, such as ramfs, reports 0 blocks. A file system that does not count inodes
        // reports 0 inodes.
        if size > 0 {
            let free = fs.f_bavail.saturating_mul(fs.f_frsize);
            bytes.push(Constraint { what: root.display().to_string(), free, advice: FREE_SOME });
        }
        if MEMORY_TYPES.contains(&(rustix::fs::statfs(root).map_err(failed)?.f_type as u32)) {
            bytes.extend(cgroup::tightest().map(|limit| Constraint {
                what: format!("the job's memory limit ({})", limit.file.display()),
                free: limit.free,
                advice: ASK,
            }));
            bytes.extend(available().map(|free| Constraint {
                what: "the node's memory".into(),
                free,
                advice: FREE_SOME,
            }));
        }
        Ok(Self {
            bytes,
            inodes: (fs.f_files > 0).then_some(fs.f_favail),
            reserve: reserve.unwrap_or_else(|| default_reserve(size)),
        })
    }
}

/// Bytes that a stage of this size takes, including what each entry takes in addition to its data.
fn taken(size: Size) -> u64 {
    size.bytes.saturating_add(size.entries.saturating_mul(PER_ENTRY))
}

/// Checks that a stage of this size fits below `root` and leaves `reserve` bytes free. If `reserve` is `None`, the
/// default applies.
///
/// # Errors
/// [`Error::NoSpace`] with the numbers.
pub fn check(root: &Path, size: Size, reserve: Option<u64>) -> Result<()> {
    let limits = Limits::of(root, reserve)?;
    let stage = taken(size);
    let needed = stage.saturating_add(limits.reserve);
    let (at_least, more) =
        if size.at_least { ("at least ", " (more if its tars unpack to more)") } else { ("", "") };
    if let Some(tight) = limits.bytes.iter().find(|constraint| constraint.free < needed) {
        return Err(Error::NoSpace {
            what: tight.what.clone(),
            numbers: format!(
                "{} free but {at_least}{} are needed, namely {} for the stage{more} and {} that stay free for MPI \
                 and the application, see PYSHM_RESERVE",
                bytes(tight.free),
                bytes(needed),
                bytes(stage),
                bytes(limits.reserve)
            ),
            advice: tight.advice,
        });
    }
    let inodes = size.entries.saturating_add(RESERVED_INODES);
    if let Some(free) = limits.inodes.filter(|free| *free < inodes) {
        return Err(Error::NoSpace {
            what: root.display().to_string(),
            numbers: format!(
                "{free} inodes free but {at_least}{inodes} are needed, namely one for each path of the stage and \
                 {RESERVED_INODES} that stay free"
            ),
            advice: FREE_SOME,
        });
    }
    Ok(())
}

/// The space that is left for a foreign tar, whose unpacked size is not known beforehand.
#[derive(Debug)]
pub struct Room {
    /// Name of the tightest limit, for messages.
    what: String,
    advice: &'static str,
    /// Bytes that were free at the beginning.
    bytes: u64,
    /// Bytes that are still free.
    left: u64,
    /// Inodes that are still free.
    inodes: u64,
    /// Bytes that stay free, for messages.
    reserve: u64,
}

/// The reason why a member of a foreign tar does not fit. The text continues a sentence that begins with the member's
/// name.
#[derive(Debug, thiserror::Error)]
pub enum NoRoom {
    /// The member has too many bytes.
    #[error(
        "claims {claimed} where {what} has {left} left, beside {reserve} that stay free for MPI and the application \
         (PYSHM_RESERVE): {advice}, or choose another place with --root"
    )]
    Bytes {
        /// Size of the member.
        claimed: String,
        /// Name of the tightest limit.
        what: String,
        /// Bytes that are left.
        left: String,
        /// Bytes that stay free.
        reserve: String,
        /// What the user can do.
        advice: &'static str,
    },
    /// No inode is left for the member.
    #[error(
        "needs an inode where {what} has no inodes left except the {reserved} that stay free: free some, or choose \
         another place with --root",
        reserved = RESERVED_INODES
    )]
    Inodes {
        /// The file system.
        what: String,
    },
}

/// Finds the space below `root` that is left for a foreign tar: the free space without `reserve` bytes and without the
/// space for the bundles that are `expected` later. If `reserve` is `None`, the default applies.
///
/// # Errors
/// [`Error::CannotWrite`] when the file system cannot be asked.
pub fn room(root: &Path, expected: Size, reserve: Option<u64>) -> Result<Room> {
    let limits = Limits::of(root, reserve)?;
    let tightest = limits.bytes.into_iter().min_by_key(|constraint| constraint.free);
    let unlimited =
        || Constraint { what: root.display().to_string(), free: u64::MAX, advice: FREE_SOME };
    let Constraint { what, free, advice } = tightest.unwrap_or_else(unlimited);
    let bytes = free.saturating_sub(limits.reserve).saturating_sub(taken(expected));
    let inodes = limits.inodes.map_or(u64::MAX, |free| {
        free.saturating_sub(RESERVED_INODES).saturating_sub(expected.entries)
    });
    Ok(Room { what, advice, bytes, left: bytes, inodes, reserve: limits.reserve })
}

impl Room {
    /// Takes the space for a member of `size` bytes; `stored` bytes of it are not holes.
    ///
    /// # Errors
    /// The reason why the member does not fit. Then no space is taken.
    pub fn take(&mut self, size: u64, stored: u64) -> Result<(), NoRoom> {
        let needed = stored.next_multiple_of(4096).saturating_add(PER_ENTRY);
        // Holes take no memory, but a program that reads the whole file needs memory for `size` bytes. So a file is
        // refused whose size exceeds the space that was free at the beginning.
        if size > self.bytes || needed > self.left {
            return Err(NoRoom::Bytes {
                claimed: bytes(size),
                what: self.what.clone(),
                left: bytes(self.left),
                reserve: bytes(self.reserve),
                advice: self.advice,
            });
        }
        let none = || NoRoom::Inodes { what: self.what.clone() };
        self.inodes = self.inodes.checked_sub(1).ok_or_else(none)?;
        self.left -= needed;
        Ok(())
    }
}

/// Bytes of memory and swap that the kernel says are available on this node.
fn available() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let number = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()
    };
    Some((number("MemAvailable:")? + number("SwapFree:").unwrap_or(0)) * 1024)
}

/// Lists the limits on the bytes of a stage in `root`: the name of each, and the bytes that it leaves.
///
/// # Errors
/// [`Error::CannotWrite`] when the file system cannot be asked.
pub fn free(root: &Path) -> Result<Vec<(String, u64)>> {
    let constraints = Limits::of(root, None)?.bytes.into_iter();
    Ok(constraints.map(|constraint| (constraint.what, constraint.free)).collect())
}

/// Whether the file system of `root` is in memory.
pub fn is_memory(root: &Path) -> bool {
    rustix::fs::statfs(root).is_ok_and(|fs| MEMORY_TYPES.contains(&(fs.f_type as u32)))
}

/// Whether the file system of `dir` is mounted `noexec`, so that programs and libraries cannot be loaded from it.
pub fn is_noexec(dir: &Path) -> bool {
    rustix::fs::statvfs(dir)
        .is_ok_and(|fs| fs.f_flag.contains(rustix::fs::StatVfsMountFlags::NOEXEC))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_reserve_is_a_share_of_the_file_system_within_limits() {
        assert_eq!(default_reserve(0), 64 << 20);
        assert_eq!(default_reserve(32 << 30), 2 << 30);
        assert_eq!(default_reserve(1 << 40), 4 << 30);
    }

    #[test]
    fn the_error_states_the_needed_and_the_reserved_bytes() {
        let root = tempfile::tempdir().unwrap();
        let size = Size { bytes: 1 << 60, entries: 7, at_least: false };
        let said = check(root.path(), size, Some(5_000_000)).unwrap_err().to_string();
        assert!(said.contains("are needed") && said.contains("5.0 MB that stay free"), "{said}");
        assert!(!said.contains("at least"), "{said}");
    }

    #[test]
    fn the_error_says_at_least_if_the_unpacked_size_is_not_known() {
        let root = tempfile::tempdir().unwrap();
        let size = Size { bytes: 1 << 60, entries: 1, at_least: true };
        let said = check(root.path(), size, None).unwrap_err().to_string();
        assert!(said.contains("at least") && said.contains("unpack to"), "{said}");
    }

    #[test]
    fn members_that_exceed_the_remaining_space_are_refused() {
        let root = tempfile::tempdir().unwrap();
        let expected = Size { bytes: u64::MAX, entries: 0, at_least: false };
        let mut none = room(root.path(), expected, Some(0)).unwrap();
        assert!(none.take(1, 1).unwrap_err().to_string().contains("has 0 B left"));
        let mut some = Room { bytes: 1 << 20, left: 1 << 20, ..none };
        assert!(some.take(2 << 20, 1).unwrap_err().to_string().contains("claims 2.1 MB"));
        assert!(some.take(1, 900 << 10).is_ok());
        assert!(some.take(1, 900 << 10).is_err());
    }

    #[test]
    fn a_member_without_an_inode_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let mut room = room(root.path(), Size::default(), Some(0)).unwrap();
        room.inodes = 1;
        assert!(room.take(1, 1).is_ok());
        assert!(room.take(1, 1).unwrap_err().to_string().contains("no inodes left"));
    }
}
