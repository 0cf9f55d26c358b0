//! Manages an entry of the cache: the directory with the bundle of one prefix and its other files.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::bundle::PackReport;
use crate::cache::names;
use crate::error::{Error, Result};
use crate::process::temp_files;

const BUNDLE: &str = "bundle.tar.zst";
const MANIFEST: &str = "manifest";
const INFO: &str = "info.json";
const USED: &str = "used";
/// A mark or unfinished file that is older than this was left by a crash.
const ABANDONED: Duration = Duration::from_secs(30 * 60);

/// What an entry holds, as `pyshm cache list` shows it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EntryInfo {
    /// The entry's directory in the cache.
    #[serde(default)]
    pub name: String,
    /// The prefix.
    pub prefix: PathBuf,
    /// Bytes of the bundle.
    pub bytes: u64,
    /// Bytes of the prefix's files.
    pub raw_bytes: u64,
    /// Number of paths.
    pub entries: u64,
    /// When it was made, seconds since the epoch.
    pub created: u64,
    /// When it was last used, seconds since the epoch.
    #[serde(default)]
    pub used: u64,
    /// Whether a process packs or reads its bundle now.
    #[serde(default)]
    pub busy: bool,
}

/// An entry's directory.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub dir: PathBuf,
}

impl Entry {
    /// Opens the entry of `prefix`, by its real path, and creates it if there is none.
    pub fn of(cache: &Path, prefix: &Path) -> Result<Self> {
        let real = std::fs::canonicalize(prefix).map_err(Error::read("prefix", prefix))?;
        let dir = cache.join(names::of_entry(&real));
        match std::fs::DirBuilder::new().mode(0o700).create(&dir) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                return Err(Error::write(&dir)(e));
            }
            _ => {}
        }
        // If other users may write to the cache's directory, another user may have created the entry first.
        let m = std::fs::symlink_metadata(&dir).map_err(Error::write(&dir))?;
        if m.is_dir() && m.uid() == rustix::process::geteuid().as_raw() && m.mode() & 0o022 == 0 {
            return Ok(Self { dir });
        }
        let reason = "it is not a directory that only you can write to; remove it, or choose another cache with PYSHM_CACHE";
        Err(Error::NotOurs { path: dir, reason })
    }

    /// The path of the entry's bundle.
    pub fn bundle(&self) -> PathBuf {
        self.dir.join(BUNDLE)
    }

    /// The path of the copy of the bundle's manifest.
    pub fn manifest(&self) -> PathBuf {
        self.dir.join(MANIFEST)
    }

    /// Marks the entry as being read until the mark is dropped.
    pub fn mark_used(&self) -> Result<UseMark> {
        let path = self.dir.join(names::unique(names::USE, ""));
        std::fs::write(&path, "").map_err(Error::write(&path))?;
        temp_files::register(&path);
        Ok(UseMark { path })
    }

    /// Records that the entry was used now.
    pub fn touch(&self) {
        // The file takes its time from the file server's clock, not from this node's.
        let _ = std::fs::write(self.dir.join(USED), "\n");
    }

    /// Chooses a temporary name for a new file, which is published later.
    pub fn unfinished(&self) -> UnfinishedFile {
        // The ending tells the packer how to compress.
        let path = self.dir.join(names::unique(names::UNFINISHED, ".tar.zst"));
        temp_files::register(&path);
        UnfinishedFile { path }
    }

    /// Publishes the description of what was packed.
    pub fn describe(&self, prefix: &Path, report: &PackReport) -> Result<()> {
        let created =
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs());
        let info = EntryInfo {
            name: String::new(),
            prefix: prefix.to_path_buf(),
            bytes: report.bundle_bytes,
            raw_bytes: report.raw_bytes,
            entries: report.entries as u64,
            created,
            used: created,
            busy: false,
        };
        let file = self.unfinished();
        let text =
            serde_json::to_vec_pretty(&info).map_err(|e| Error::write(file.path())(e.into()))?;
        std::fs::write(file.path(), text).map_err(Error::write(file.path()))?;
        file.publish(&self.dir.join(INFO))
    }

    /// Reads the entry's description; `None` for a directory that is not a finished entry.
    pub fn info(&self) -> Option<EntryInfo> {
        let mut info: EntryInfo =
            serde_json::from_slice(&std::fs::read(self.dir.join(INFO)).ok()?).ok()?;
        let bundle = self.bundle().metadata().ok()?;
        info.bytes = bundle.len();
        info.name = self.dir.file_name()?.to_string_lossy().into_owned();
        let used = self.dir.join(USED).metadata().and_then(|m| m.modified()).ok();
        let used = used.and_then(|t| t.duration_since(SystemTime::UNIX_EPOCH).ok());
        info.used = used.map_or(info.created, |d| d.as_secs());
        info.busy = self.is_busy();
        Some(info)
    }

    /// Whether a process packs or reads the entry's bundle. The mark of a crashed process counts for half an hour by
    /// the file server's clock.
    pub fn is_busy(&self) -> bool {
        let Ok(now) = self.server_time() else { return true };
        let Ok(files) = std::fs::read_dir(&self.dir) else { return false };
        files.flatten().any(|file| {
            let name = file.file_name();
            let name = name.to_string_lossy();
            let is_mark = name.starts_with(names::USE)
                || name.starts_with(names::UNFINISHED)
                || name == names::LOCK;
            let modified = file.metadata().and_then(|m| m.modified());
            is_mark
                && modified.is_ok_and(|m| {
                    now.duration_since(m).is_ok_and(|age| age < ABANDONED) || m > now
                })
        })
    }

    fn server_time(&self) -> io::Result<SystemTime> {
        let probe = self.dir.join(names::unique(".now-", ""));
        std::fs::write(&probe, "")?;
        let time = probe.metadata().and_then(|m| m.modified());
        let _ = std::fs::remove_file(&probe);
        time
    }
}

/// Keeps an entry from being pruned until this mark is dropped.
#[derive(Debug)]
pub struct UseMark {
    path: PathBuf,
}

impl Drop for UseMark {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
        temp_files::forget(&self.path);
    }
}

/// A file with a temporary name. It is removed on drop unless it was published.
pub(super) struct UnfinishedFile {
    path: PathBuf,
}

impl UnfinishedFile {
    /// Its temporary path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Renames the file to `name` once its data is on the server.
    pub fn publish(self, name: &Path) -> Result<()> {
        let file = File::open(&self.path).map_err(Error::write(&self.path))?;
        file.sync_all().map_err(Error::write(&self.path))?;
        std::fs::rename(&self.path, name).map_err(Error::write(name))
    }
}

impl Drop for UnfinishedFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
        temp_files::forget(&self.path);
    }
}
