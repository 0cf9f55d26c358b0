//! Keeps the record that the ranks of a job share on a node if the ranks themselves stage. The record says which stage
//! the ranks use, and how many ranks have arrived and left. The first rank to lock the record leads.
//!
//! A job is identified without a look at its bundles: by the variables of its launcher, or by the process that started
//! its ranks. The record is a small file in the user's directory. A lock on the file dies with the process that has
//! taken the lock.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, OFlags, flock};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::stage::id::StageId;
use crate::stage::user_dir::UserDir;

/// The directory of records in the user's directory.
const DIRECTORY: &str = "by-job";

/// What is known about a job on this node.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct JobRecord {
    /// The stage's name; `None` when there is no stage and the ranks run from the shared file system.
    pub stage: Option<String>,
    /// Number of ranks that have arrived.
    pub arrived: usize,
    /// Number of ranks that have left.
    pub left: usize,
}

/// A record that this process has locked.
#[derive(Debug)]
pub struct LockedRecord {
    file: File,
    path: PathBuf,
}

impl LockedRecord {
    /// Locks the record of job `key`; `None` when another process keeps the record locked longer than `limit`.
    ///
    /// # Errors
    /// [`Error::CannotWrite`] when the record cannot be created.
    pub fn take(user_dir: &UserDir, key: &str, limit: Duration) -> Result<Option<Self>> {
        let begun = Instant::now();
        let mut pause = Duration::from_millis(1);
        let path = user_dir.path().join(DIRECTORY).join(key);
        let mut file = None;
        loop {
            let opened = match file.take() {
                Some(file) => file,
                None => match open(user_dir, &path) {
                    // The last rank of another job has just removed the directory.
                    Err(e) if e.kind() == io::ErrorKind::NotFound && begun.elapsed() < limit => {
                        UserDir::open(user_dir.root())?;
                        continue;
                    }
                    opened => opened.map_err(Error::write(&path))?,
                },
            };
            if flock(&opened, FlockOperation::NonBlockingLockExclusive).is_ok() {
                let mine = opened.metadata().map(|m| m.ino()).ok();
                // The process that held the lock may have removed the record. Then the record's name belongs to another
                // file, or to none.
                if std::fs::metadata(&path).map(|m| m.ino()).ok() == mine {
                    return Ok(Some(Self { file: opened, path }));
                }
                continue;
            }
            if begun.elapsed() >= limit {
                return Ok(None);
            }
            file = Some(opened);
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }

    /// Reads the record; `None` if it is new.
    #[must_use]
    pub fn read(&self) -> Option<JobRecord> {
        let mut text = vec![0; 4096];
        let length = self.file.read_at(&mut text, 0).ok()?;
        serde_json::from_slice(&text[..length]).ok()
    }

    /// Writes the record.
    ///
    /// # Errors
    /// [`Error::CannotWrite`].
    pub fn write(&self, record: &JobRecord) -> Result<()> {
        let text = serde_json::to_vec(record).map_err(|e| Error::write(&self.path)(e.into()))?;
        let written = self.file.set_len(0).and_then(|()| self.file.write_all_at(&text, 0));
        written.map_err(Error::write(&self.path))
    }

    /// Removes the record, and also the directory of records if this was the last record.
    pub fn remove(self, user_dir: &UserDir) {
        let _ = std::fs::remove_file(&self.path);
        let _ = std::fs::remove_dir(user_dir.path().join(DIRECTORY));
        user_dir.tidy();
    }
}

fn open(user_dir: &UserDir, path: &Path) -> io::Result<File> {
    match std::fs::create_dir(user_dir.path().join(DIRECTORY)) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
        _ => {}
    }
    let flags = OFlags::NOFOLLOW.bits() as i32;
    File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(flags)
        .open(path)
}

/// Removes records that a crash left. No process has such a record locked, and its stage is gone.
pub fn sweep(user_dir: &UserDir) {
    let directory = user_dir.path().join(DIRECTORY);
    for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(file) = File::options().read(true).write(true).open(&path) else { continue };
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            continue;
        }
        let record = LockedRecord { file, path: path.clone() }.read();
        let stage = record.as_ref().and_then(|r| StageId::parse(r.stage.as_ref()?).ok());
        let in_use = match stage {
            Some(id) => user_dir.stage_dir(&id).exists(),
            // The rank that led was killed before it could write anything.
            None if record.is_none() => false,
            // Ranks without a stage have no hold that would show that they still run. So their record is left alone for
            // a day.
            None => entry
                .metadata()
                .and_then(|m| m.modified())
                .is_ok_and(|m| m.elapsed().is_ok_and(|age| age < Duration::from_secs(86_400))),
        };
        if !in_use {
            let _ = std::fs::remove_file(&path);
        }
    }
    let _ = std::fs::remove_dir(&directory);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user_dir() -> (tempfile::TempDir, UserDir) {
        let root = tempfile::tempdir().unwrap();
        let user_dir = UserDir::open(root.path()).unwrap();
        (root, user_dir)
    }

    #[test]
    fn one_rank_leads_and_the_others_find_its_record() {
        let (_root, user_dir) = user_dir();
        let led = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let locked = LockedRecord::take(&user_dir, "x.job", Duration::from_secs(10))
                        .unwrap()
                        .unwrap();
                    let mut record = locked.read().unwrap_or_else(|| {
                        led.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                        JobRecord { stage: Some("0123456789abcdef".into()), ..JobRecord::default() }
                    });
                    record.arrived += 1;
                    locked.write(&record).unwrap();
                });
            }
        });
        assert_eq!(led.into_inner(), 1);
        let locked = LockedRecord::take(&user_dir, "x.job", Duration::ZERO).unwrap().unwrap();
        assert_eq!(locked.read().unwrap().arrived, 8);
        locked.remove(&user_dir);
        assert!(!user_dir.path().exists());
    }

    #[test]
    fn waiting_for_a_locked_record_ends_at_the_limit() {
        let (_root, user_dir) = user_dir();
        let _held = LockedRecord::take(&user_dir, "x.job", Duration::ZERO).unwrap().unwrap();
        assert!(
            LockedRecord::take(&user_dir, "x.job", Duration::from_millis(30)).unwrap().is_none()
        );
    }

    #[test]
    fn a_record_without_its_stage_is_swept() {
        let (_root, user_dir) = user_dir();
        let locked = LockedRecord::take(&user_dir, "x.job", Duration::ZERO).unwrap().unwrap();
        locked
            .write(&JobRecord { stage: Some("0123456789abcdef".into()), arrived: 1, left: 0 })
            .unwrap();
        sweep(&user_dir);
        assert!(user_dir.path().join("by-job/x.job").exists());
        drop(locked);
        sweep(&user_dir);
        assert!(!user_dir.path().join("by-job").exists());
    }
}
