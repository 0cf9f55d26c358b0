//! What the ranks of one job on one node share, when they stage by themselves: who leads, which stage it became, and
//! how many have come and gone.
//!
//! A job is known without a look at its bundles: by the launcher's names for it, or by the process that started its
//! ranks. One small file in the user's place holds the record; its lock dies with its holder.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, OFlags, flock};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::stage::{Place, StageId};

/// The directory of records.
const DIRECTORY: &str = "by-job";

/// What is known of the job on this node.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The stage; `None` when there is none and the ranks run from the shared file system.
    pub stage: Option<String>,
    /// Ranks that came.
    pub arrived: usize,
    /// Ranks that went.
    pub left: usize,
}

/// A record that this process has locked.
#[derive(Debug)]
pub struct Locked {
    file: File,
    path: PathBuf,
}

impl Locked {
    /// Locks the record of job `key`, waiting until `limit`; `None` when that has passed.
    ///
    /// # Errors
    /// [`Error::CannotWrite`] when there can be no record.
    pub fn take(place: &Place, key: &str, limit: Duration) -> Result<Option<Self>> {
        let begun = Instant::now();
        let mut pause = Duration::from_millis(1);
        let path = place.dir().join(DIRECTORY).join(key);
        let mut file = None;
        loop {
            let opened = match file.take() {
                Some(file) => file,
                None => match open(place, &path) {
                    // The last of another job has just removed the directory.
                    Err(e) if e.kind() == io::ErrorKind::NotFound && begun.elapsed() < limit => {
                        Place::open(place.root())?;
                        continue;
                    }
                    opened => opened.map_err(Error::write(&path))?,
                },
            };
            if flock(&opened, FlockOperation::NonBlockingLockExclusive).is_ok() {
                let mine = opened.metadata().map(|m| m.ino()).ok();
                // Whoever held it may have removed it: then it is another file, or none.
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

    /// What the record says; `None` for a new one.
    #[must_use]
    pub fn read(&self) -> Option<Record> {
        let mut text = vec![0; 4096];
        let length = self.file.read_at(&mut text, 0).ok()?;
        serde_json::from_slice(&text[..length]).ok()
    }

    /// Writes the record.
    ///
    /// # Errors
    /// [`Error::CannotWrite`].
    pub fn write(&self, record: &Record) -> Result<()> {
        let text = serde_json::to_vec(record).map_err(|e| Error::write(&self.path)(e.into()))?;
        let written = self.file.set_len(0).and_then(|()| self.file.write_all_at(&text, 0));
        written.map_err(Error::write(&self.path))
    }

    /// Removes the record, and the directory when it is the last one.
    pub fn remove(self, place: &Place) {
        let _ = std::fs::remove_file(&self.path);
        let _ = std::fs::remove_dir(place.dir().join(DIRECTORY));
        place.tidy();
    }
}

fn open(place: &Place, path: &Path) -> io::Result<File> {
    match std::fs::create_dir(place.dir().join(DIRECTORY)) {
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

/// Removes records that a crash left: nobody holds their lock, and their stage is gone.
pub fn sweep(place: &Place) {
    let directory = place.dir().join(DIRECTORY);
    for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(file) = File::options().read(true).write(true).open(&path) else { continue };
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            continue;
        }
        let record = Locked { file, path: path.clone() }.read();
        let stage = record.as_ref().and_then(|r| StageId::parse(r.stage.as_ref()?).ok());
        let in_use = match stage {
            Some(id) => place.stage_dir(&id).exists(),
            // The one that led was killed before it could write anything.
            None if record.is_none() => false,
            // Ranks without a stage hold nothing: a record of theirs is left for a day.
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

    fn place() -> (tempfile::TempDir, Place) {
        let root = tempfile::tempdir().unwrap();
        let place = Place::open(root.path()).unwrap();
        (root, place)
    }

    #[test]
    fn one_leads_and_the_others_find_what_it_wrote() {
        let (_root, place) = place();
        let led = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let locked =
                        Locked::take(&place, "x.job", Duration::from_secs(10)).unwrap().unwrap();
                    let mut record = locked.read().unwrap_or_else(|| {
                        led.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                        Record { stage: Some("0123456789abcdef".into()), ..Record::default() }
                    });
                    record.arrived += 1;
                    locked.write(&record).unwrap();
                });
            }
        });
        assert_eq!(led.into_inner(), 1);
        let locked = Locked::take(&place, "x.job", Duration::ZERO).unwrap().unwrap();
        assert_eq!(locked.read().unwrap().arrived, 8);
        locked.remove(&place);
        assert!(!place.dir().exists());
    }

    #[test]
    fn waiting_has_a_limit() {
        let (_root, place) = place();
        let _held = Locked::take(&place, "x.job", Duration::ZERO).unwrap().unwrap();
        assert!(Locked::take(&place, "x.job", Duration::from_millis(30)).unwrap().is_none());
    }

    #[test]
    fn a_record_without_its_stage_is_swept() {
        let (_root, place) = place();
        let locked = Locked::take(&place, "x.job", Duration::ZERO).unwrap().unwrap();
        locked
            .write(&Record { stage: Some("0123456789abcdef".into()), arrived: 1, left: 0 })
            .unwrap();
        sweep(&place);
        assert!(place.dir().join("by-job/x.job").exists());
        drop(locked);
        sweep(&place);
        assert!(!place.dir().join("by-job").exists());
    }
}
