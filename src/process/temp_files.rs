//! Removes temporary files when a signal, or the end of the parent, stops this process in the middle of its work. A
//! module registers a function if it must undo more than the creation of files.
//!
//! Invariants:
//! - Work that is stopped in this way is never resumed: one thread removes what is registered, while other threads may
//!   still write, and then the process ends.
//! - Removals never overlap: a second removal waits, so that it cannot end the process before the first one is done.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

struct Registered {
    files: Vec<PathBuf>,
    undo: Vec<fn()>,
}

static REGISTERED: Mutex<Registered> =
    Mutex::new(Registered { files: Vec::new(), undo: Vec::new() });

static REMOVING: Mutex<()> = Mutex::new(());

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes `file` if the process is stopped before [`forget`] is called.
pub fn register(file: &Path) {
    lock(&REGISTERED).files.push(file.to_path_buf());
}

/// Ends the registration of `file`, because the file is gone or is to stay.
pub fn forget(file: &Path) {
    lock(&REGISTERED).files.retain(|f| f != file);
}

/// Calls `undo` after the registered files are removed, if the process is stopped.
pub fn register_undo(undo: fn()) {
    lock(&REGISTERED).undo.push(undo);
}

/// Runs `remove` while no other removal runs.
pub fn exclusively<T>(remove: impl FnOnce() -> T) -> T {
    let _removing = lock(&REMOVING);
    remove()
}

/// Removes the registered files and calls the registered functions. The process ends after this.
pub fn remove_all() {
    exclusively(|| {
        let (files, undo) = {
            let mut registered = lock(&REGISTERED);
            (std::mem::take(&mut registered.files), registered.undo.clone())
        };
        for file in files {
            let _ = std::fs::remove_file(file);
        }
        for undo in undo {
            undo();
        }
    });
}
