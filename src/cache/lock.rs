//! Locks a directory on a shared file system by a small file, which is created exclusively, rewritten and renamed.
//! `flock` is not used, because on many such file systems it does nothing, or works on one node only.
//!
//! The owner rewrites the lock file every few seconds. A waiter judges by its own clock only: if the text of the file
//! did not change for [`STALE`], the owner is dead, and the waiter renames its own file over the lock file. An owner
//! may only have been asleep. It writes through the descriptor that it opened, so it never overwrites its successor's
//! lock file. If two processes ever own the lock at the same time, both pack the same bundle under different temporary
//! names, which only costs time.
#![forbid(unsafe_code)]

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::cache::names;
use crate::error::{Error, Result};
use crate::process::temp_files;

/// How often the owner rewrites the file.
const BEAT: Duration = Duration::from_secs(3);
/// How long a waiter sees the same text before it takes the lock over.
const STALE: Duration = Duration::from_secs(30);
/// How often a waiter reads the file.
const LOOK: Duration = Duration::from_millis(250);
/// How long a process that took the lock over waits for other processes that took it over at the same moment.
const SETTLE: Duration = Duration::from_secs(1);

/// A lock that this process owns until it drops it.
pub(super) struct Lock {
    path: PathBuf,
    token: String,
    stop: Option<Sender<()>>,
    beating: Option<JoinHandle<()>>,
}

/// The intervals of a lock; tests use shorter ones.
#[derive(Clone, Copy)]
struct Pace {
    beat: Duration,
    stale: Duration,
    settle: Duration,
}

impl Lock {
    /// Takes the lock of `dir`. If another process owns the lock, calls `waiting` once with the owner's name, and
    /// waits.
    pub fn take(dir: &Path, waiting: &dyn Fn(&str)) -> Result<Self> {
        Self::take_with(dir, waiting, Pace { beat: BEAT, stale: STALE, settle: SETTLE })
    }

    fn take_with(dir: &Path, waiting: &dyn Fn(&str), pace: Pace) -> Result<Self> {
        let path = dir.join(names::LOCK);
        let token = names::unique("", "");
        let mine = dir.join(format!("lock-{token}"));
        let (file, text) = write_lock(&mine, &token)?;
        temp_files::register(&mine);
        let attempt = Attempt { path: &path, mine: &mine, file: &file, text: &text, pace };
        let outcome = attempt.wait(waiting);
        let _ = std::fs::remove_file(&mine);
        temp_files::forget(&mine);
        if outcome? == Outcome::Overtaken {
            return Self::take_with(dir, waiting, pace);
        }
        temp_files::register(&path);
        let (stop, stopped) = mpsc::channel();
        let name = token.clone();
        let beating = std::thread::spawn(move || {
            let mut count = 1u64;
            while stopped.recv_timeout(pace.beat) == Err(RecvTimeoutError::Timeout) {
                let _ = file
                    .write_all_at(line(&name, count).as_bytes(), 0)
                    .and_then(|()| file.sync_data());
                count += 1;
            }
        });
        Ok(Self { path, token, stop: Some(stop), beating: Some(beating) })
    }
}

/// How an attempt to take a lock ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// This process owns the lock.
    Taken,
    /// Another process replaced the dead owner's lock first, and this process's file is gone.
    Overtaken,
}

/// An attempt to take a lock.
struct Attempt<'a> {
    /// The lock.
    path: &'a Path,
    /// This process's file, which becomes the lock.
    mine: &'a Path,
    file: &'a File,
    text: &'a str,
    pace: Pace,
}

impl Attempt<'_> {
    /// Waits until the lock is free or its owner is dead, and takes it.
    fn wait(&self, waiting: &dyn Fn(&str)) -> Result<Outcome> {
        let mut seen = (String::new(), Instant::now());
        let mut told = false;
        loop {
            // The result of the call is not reliable: if the server's answer is lost, the client repeats the request,
            // and the second request fails. The link count tells whether the link was made.
            let _ = std::fs::hard_link(self.mine, self.path);
            if self.file.metadata().is_ok_and(|m| m.nlink() == 2) {
                return Ok(Outcome::Taken);
            }
            let now = self.read();
            if now == self.text {
                return Ok(Outcome::Taken);
            }
            if now != seen.0 {
                seen = (now, Instant::now());
            }
            if !told && !seen.0.is_empty() {
                told = true;
                waiting(seen.0.split_whitespace().next().unwrap_or("another process"));
            }
            if seen.1.elapsed() >= self.pace.stale {
                return self.replace(&seen.0);
            }
            std::thread::sleep(LOOK.min(self.pace.stale / 4));
        }
    }

    /// Replaces the lock of a dead owner; `dead` is the text of that lock.
    fn replace(&self, dead: &str) -> Result<Outcome> {
        if self.read() != dead {
            return Ok(Outcome::Overtaken);
        }
        std::fs::rename(self.mine, self.path).map_err(Error::write(self.path))?;
        std::thread::sleep(self.pace.settle);
        Ok(if self.read() == self.text { Outcome::Taken } else { Outcome::Overtaken })
    }

    fn read(&self) -> String {
        std::fs::read_to_string(self.path).unwrap_or_default()
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(beating) = self.beating.take() {
            let _ = beating.join();
        }
        // If another process has taken the lock over, that process's file stays.
        if std::fs::read_to_string(&self.path).is_ok_and(|text| text.starts_with(&self.token)) {
            let _ = std::fs::remove_file(&self.path);
        }
        temp_files::forget(&self.path);
    }
}

/// Creates the file of a lock and returns it with its text.
fn write_lock(path: &Path, token: &str) -> Result<(File, String)> {
    let text = line(token, 0);
    let file = File::create_new(path).map_err(Error::write(path))?;
    file.write_all_at(text.as_bytes(), 0)
        .and_then(|()| file.sync_data())
        .map_err(Error::write(path))?;
    Ok((file, text))
}

/// Makes the text of a lock. Its length never changes, so a rewrite in place leaves nothing of the old text.
fn line(token: &str, count: u64) -> String {
    format!("{token} {count:020}\n")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    const FAST: Pace = Pace {
        beat: Duration::from_millis(50),
        stale: Duration::from_millis(400),
        settle: Duration::from_millis(50),
    };

    #[test]
    fn one_owner_at_a_time_has_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let inside = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| {
                    let _lock = Lock::take_with(dir.path(), &|_| {}, FAST).unwrap();
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                    std::thread::sleep(Duration::from_millis(20));
                    inside.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_living_owner_keeps_the_lock_beyond_the_stale_limit() {
        let dir = tempfile::tempdir().unwrap();
        let held = Lock::take_with(dir.path(), &|_| {}, FAST).unwrap();
        let begun = Instant::now();
        std::thread::scope(|scope| {
            scope.spawn(|| drop(Lock::take_with(dir.path(), &|_| {}, FAST).unwrap()));
            std::thread::sleep(FAST.stale * 3);
            drop(held);
        });
        assert!(begun.elapsed() >= FAST.stale * 3);
    }

    #[test]
    fn the_lock_of_a_dead_owner_is_taken_over_whatever_its_modification_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(names::LOCK);
        std::fs::write(&path, "other-1-0-0 00000000000000000007\n").unwrap();
        let ahead = std::time::SystemTime::now() + Duration::from_secs(86_400);
        File::open(&path).unwrap().set_modified(ahead).unwrap();
        let told = AtomicU32::new(0);
        let waiting = |owner: &str| {
            assert_eq!(owner, "other-1-0-0");
            told.fetch_add(1, Ordering::SeqCst);
        };
        let lock = Lock::take_with(dir.path(), &waiting, FAST).unwrap();
        assert_eq!(told.load(Ordering::SeqCst), 1);
        drop(lock);
        assert!(!path.exists());
    }
}
