//! Whether a stage fits, asked before its first byte is written: into the file system's bytes and inodes, and where it
//! is memory, into what the job may use and the node has.
#![forbid(unsafe_code)]

use std::path::Path;

use crate::bundle::Size;
use crate::error::{Error, Result};
use crate::stage::limits::cgroup;
use crate::text::bytes;

/// What an entry costs beside its data: inode, directory entry, index record.
const PER_ENTRY: u64 = 1024;
/// Inodes that stay free.
const INODES: u64 = 1024;
/// `f_type` of tmpfs and ramfs.
const MEMORY: [u32; 2] = [0x0102_1994, 0x8584_58f6];

/// What stays free by default of a file system of this size: a sixteenth, at least 64 MiB and at most 4 GiB.
fn reserve(size: u64) -> u64 {
    (size / 16).clamp(64 << 20, 4 << 30)
}

/// Something that a stage takes its bytes from.
struct Limit {
    /// Its name for messages.
    what: String,
    /// Bytes that are free.
    free: u64,
    /// What to do where these are too few.
    advice: &'static str,
}

const FREE_SOME: &str = "free some";
const ASK: &str = "ask for more memory";

/// The file system of a root, with all that limits what may be written to it.
struct Limits {
    bytes: Vec<Limit>,
    /// Inodes that are free; `None` where they are not counted.
    inodes: Option<u64>,
    /// Bytes that stay free.
    reserve: u64,
}

impl Limits {
    fn of(root: &Path, reserved: Option<u64>) -> Result<Self> {
        let failed = |e: rustix::io::Errno| Error::write(root)(e.into());
        let fs = rustix::fs::statvfs(root).map_err(failed)?;
        let size = fs.f_blocks.saturating_mul(fs.f_frsize);
        let mut bytes = Vec::new();
        // A file system without a size (ramfs) or that does not count inodes says 0 of 0.
        if size > 0 {
            let free = fs.f_bavail.saturating_mul(fs.f_frsize);
            bytes.push(Limit { what: root.display().to_string(), free, advice: FREE_SOME });
        }
        if MEMORY.contains(&(rustix::fs::statfs(root).map_err(failed)?.f_type as u32)) {
            bytes.extend(cgroup::tightest().map(|limit| Limit {
                what: format!("the job's memory limit ({})", limit.file.display()),
                free: limit.free,
                advice: ASK,
            }));
            let what = || "the node's memory".to_string();
            bytes.extend(available().map(|free| Limit { what: what(), free, advice: FREE_SOME }));
        }
        Ok(Self {
            bytes,
            inodes: (fs.f_files > 0).then_some(fs.f_favail),
            reserve: reserved.unwrap_or_else(|| reserve(size)),
        })
    }
}

/// Bytes that a stage of this size takes.
fn taken(size: Size) -> u64 {
    size.bytes.saturating_add(size.entries.saturating_mul(PER_ENTRY))
}

/// Checks that a stage of this size fits into the file system of `root`, and leaves `reserved` bytes free, or the default.
///
/// # Errors
/// [`Error::NoSpace`] with the numbers.
pub fn check(root: &Path, size: Size, reserved: Option<u64>) -> Result<()> {
    let limits = Limits::of(root, reserved)?;
    let stage = taken(size);
    let needed = stage.saturating_add(limits.reserve);
    let (at_least, more) = match size.at_least {
        true => ("at least ", " and what else its tars unpack to"),
        false => ("", ""),
    };
    if let Some(limit) = limits.bytes.iter().find(|limit| limit.free < needed) {
        return Err(Error::NoSpace {
            what: limit.what.clone(),
            numbers: format!(
                "{} free but {at_least}{} are needed ({} for the stage{more}, {} that stay free for MPI and the \
                 application, see PYSHM_RESERVE)",
                bytes(limit.free),
                bytes(needed),
                bytes(stage),
                bytes(limits.reserve)
            ),
            advice: limit.advice,
        });
    }
    let inodes = size.entries.saturating_add(INODES);
    if let Some(free) = limits.inodes.filter(|free| *free < inodes) {
        return Err(Error::NoSpace {
            what: root.display().to_string(),
            numbers: format!(
                "{free} inodes free but {at_least}{inodes} are needed (one for each path of the stage, and {INODES} that \
                 stay free)"
            ),
            advice: FREE_SOME,
        });
    }
    Ok(())
}

/// What is left for a tar whose size is not known before it is unpacked.
#[derive(Debug)]
pub struct Room {
    what: String,
    advice: &'static str,
    bytes: u64,
    left: u64,
    inodes: u64,
    reserve: u64,
}

/// The room in the file system of `root` beside `reserved` bytes, or the default, and what is `expected` later.
///
/// # Errors
/// [`Error::CannotWrite`] when it does not say.
pub fn room(root: &Path, expected: Size, reserved: Option<u64>) -> Result<Room> {
    let limits = Limits::of(root, reserved)?;
    let tightest = limits.bytes.into_iter().min_by_key(|limit| limit.free);
    let unlimited =
        || Limit { what: root.display().to_string(), free: u64::MAX, advice: FREE_SOME };
    let Limit { what, free, advice } = tightest.unwrap_or_else(unlimited);
    let bytes = free.saturating_sub(limits.reserve).saturating_sub(taken(expected));
    let inodes = limits
        .inodes
        .map_or(u64::MAX, |free| free.saturating_sub(INODES).saturating_sub(expected.entries));
    Ok(Room { what, advice, bytes, left: bytes, inodes, reserve: limits.reserve })
}

impl Room {
    /// Takes what a member needs that has `size` bytes, of which `stored` are no holes.
    ///
    /// # Errors
    /// Why it does not fit.
    pub fn take(&mut self, size: u64, stored: u64) -> Result<(), String> {
        let needed = stored.next_multiple_of(4096).saturating_add(PER_ENTRY);
        // Holes take no memory, but whoever reads them must be able to.
        if size > self.bytes || needed > self.left {
            return Err(format!(
                "claims {} where {} has {} left, beside {} that stay free for MPI and the application (PYSHM_RESERVE): \
                 {}, or choose another place with --root",
                bytes(size),
                self.what,
                bytes(self.left),
                bytes(self.reserve),
                self.advice
            ));
        }
        let none = || {
            format!(
                "comes where {} has no inodes left but the {INODES} that stay free: free some, or choose another place \
                 with --root",
                self.what
            )
        };
        self.inodes = self.inodes.checked_sub(1).ok_or_else(none)?;
        self.left -= needed;
        Ok(())
    }
}

/// Bytes of memory that the node can still give, by its own word.
fn available() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let number = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()
    };
    Some((number("MemAvailable:")? + number("SwapFree:").unwrap_or(0)) * 1024)
}

/// What a stage in `root` takes its bytes from, and how many of them each has free.
///
/// # Errors
/// [`Error::CannotWrite`] where the file system cannot be asked.
pub fn free(root: &Path) -> Result<Vec<(String, u64)>> {
    Ok(Limits::of(root, None)?.bytes.into_iter().map(|limit| (limit.what, limit.free)).collect())
}

/// Whether a file system is in memory.
pub fn is_memory(root: &Path) -> bool {
    rustix::fs::statfs(root).is_ok_and(|fs| MEMORY.contains(&(fs.f_type as u32)))
}

/// Whether programs and libraries cannot be started from the file system of `dir`.
pub fn is_noexec(dir: &Path) -> bool {
    rustix::fs::statvfs(dir)
        .is_ok_and(|fs| fs.f_flag.contains(rustix::fs::StatVfsMountFlags::NOEXEC))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_free_grows_with_the_file_system_within_limits() {
        assert_eq!(reserve(0), 64 << 20);
        assert_eq!(reserve(32 << 30), 2 << 30);
        assert_eq!(reserve(1 << 40), 4 << 30);
    }

    #[test]
    fn the_refusal_has_every_number() {
        let root = tempfile::tempdir().unwrap();
        let size = Size { bytes: 1 << 60, entries: 7, at_least: false };
        let said = check(root.path(), size, Some(5_000_000)).unwrap_err().to_string();
        assert!(said.contains("are needed") && said.contains("5.0 MB that stay free"), "{said}");
        assert!(!said.contains("at least"), "{said}");
    }

    #[test]
    fn what_is_not_known_beforehand_is_said_so() {
        let root = tempfile::tempdir().unwrap();
        let size = Size { bytes: 1 << 60, entries: 1, at_least: true };
        let said = check(root.path(), size, None).unwrap_err().to_string();
        assert!(said.contains("at least") && said.contains("unpack to"), "{said}");
    }

    #[test]
    fn members_share_the_room_that_what_is_expected_leaves() {
        let root = tempfile::tempdir().unwrap();
        let expected = Size { bytes: u64::MAX, entries: 0, at_least: false };
        let mut none = room(root.path(), expected, Some(0)).unwrap();
        assert!(none.take(1, 1).unwrap_err().contains("has 0 B left"));
        let mut some = Room { bytes: 1 << 20, left: 1 << 20, ..none };
        assert!(some.take(2 << 20, 1).unwrap_err().contains("claims 2.1 MB"));
        assert!(some.take(1, 900 << 10).is_ok());
        assert!(some.take(1, 900 << 10).is_err());
    }

    #[test]
    fn a_member_without_an_inode_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let mut room = room(root.path(), Size::default(), Some(0)).unwrap();
        room.inodes = 1;
        assert!(room.take(1, 1).is_ok());
        assert!(room.take(1, 1).unwrap_err().contains("no inodes left"));
    }
}
