//! Whether a stage fits, asked before its first byte is written: into the file system's bytes and inodes, and where it
//! is memory, into what the job may use and the node has.
#![forbid(unsafe_code)]

use std::path::Path;

use super::cgroup;
use crate::error::{Error, Result};
use crate::progress::bytes;

/// What an entry costs beside its data: inode, directory entry, index record.
const PER_ENTRY: u64 = 1024;
/// Inodes that stay free.
const INODES: u64 = 1024;
/// `f_type` of tmpfs and ramfs.
const MEMORY: [u32; 2] = [0x0102_1994, 0x8584_58f6];

/// What a stage needs.
#[derive(Debug, Clone, Copy, Default)]
pub struct Need {
    /// Bytes of its files.
    pub bytes: u64,
    /// Number of its paths.
    pub entries: u64,
    /// Bytes that stay free for MPI's own segments and the application; `None` takes [`reserve`].
    pub reserve: Option<u64>,
}

/// What stays free by default of a file system of this size: a sixteenth, at least 64 MiB and at most 4 GiB.
fn reserve(size: u64) -> u64 {
    (size / 16).clamp(64 << 20, 4 << 30)
}

/// Checks that a stage fits into the file system of `root`.
///
/// # Errors
/// [`Error::NoSpace`] with the numbers.
pub fn check(root: &Path, need: Need) -> Result<()> {
    let failed = |e: rustix::io::Errno| Error::write(root)(e.into());
    let fs = rustix::fs::statvfs(root).map_err(failed)?;
    let size = fs.f_blocks.saturating_mul(fs.f_frsize);
    let reserve = need.reserve.unwrap_or_else(|| reserve(size));
    let stage = need.bytes.saturating_add(need.entries.saturating_mul(PER_ENTRY));
    let needed = stage.saturating_add(reserve);
    let refuse = |what: String, free: u64, advice| Error::NoSpace {
        what,
        numbers: format!(
            "{} free but {} are needed ({} for the stage, {} that stay free for MPI and the application, see \
             PYSHM_RESERVE)",
            bytes(free),
            bytes(needed),
            bytes(stage),
            bytes(reserve)
        ),
        advice,
    };
    const FREE_SOME: &str = "free some";
    const ASK: &str = "ask for more memory";
    // A file system without a size (ramfs) or that does not count inodes says 0 of 0.
    let free = fs.f_bavail.saturating_mul(fs.f_frsize);
    if size > 0 && free < needed {
        return Err(refuse(root.display().to_string(), free, FREE_SOME));
    }
    let inodes = need.entries.saturating_add(INODES);
    if fs.f_files > 0 && fs.f_favail < inodes {
        return Err(Error::NoSpace {
            what: root.display().to_string(),
            numbers: format!(
                "{} inodes free but {inodes} are needed (one for each path of the stage, and {INODES} that stay free)",
                fs.f_favail
            ),
            advice: FREE_SOME,
        });
    }
    let kind = rustix::fs::statfs(root).map_err(failed)?.f_type as u32;
    if !MEMORY.contains(&kind) {
        return Ok(());
    }
    if let Some(limit) = cgroup::tightest().filter(|limit| limit.free < needed) {
        let what = format!("the job's memory limit ({})", limit.file.display());
        return Err(refuse(what, limit.free, ASK));
    }
    match available() {
        Some(free) if free < needed => Err(refuse("the node's memory".into(), free, FREE_SOME)),
        _ => Ok(()),
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
        let need = Need { bytes: 1 << 60, entries: 7, reserve: Some(5_000_000) };
        let said = check(root.path(), need).unwrap_err().to_string();
        assert!(said.contains("are needed") && said.contains("5.0 MB that stay free"), "{said}");
    }
}
