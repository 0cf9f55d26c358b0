//! Cleans up when this process is stopped: removes the stage that this process builds, and releases the stage that it
//! uses.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, Instant};

use crate::process::temp_files;
use crate::stage::hold::{Hold, Released};
use crate::stage::noexec;
use crate::stage::user_dir::UserDir;

/// How long a removal is repeated while other threads of this process still write.
const PATIENCE: Duration = Duration::from_secs(2);

struct Registered {
    user_dirs: Vec<UserDir>,
    hold: Option<Hold>,
}

static REGISTERED: Mutex<Registered> = Mutex::new(Registered { user_dirs: Vec::new(), hold: None });

fn registered() -> MutexGuard<'static, Registered> {
    static UNDO: Once = Once::new();
    UNDO.call_once(|| temp_files::register_undo(undo));
    REGISTERED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// If this process is stopped from now on, it removes the stage that it is building in `user_dir`.
pub fn register_user_dir(user_dir: &UserDir) {
    registered().user_dirs.push(user_dir.clone());
}

/// Stores `hold` until [`release`], or until the process is stopped.
pub fn store(hold: Hold) {
    registered().hold = Some(hold);
}

/// Releases the stored hold, which removes the stage if this was its last use. `None` when no hold is stored.
pub fn release() -> Option<Released> {
    temp_files::exclusively(|| registered().hold.take().map(Hold::release))
}

/// Removes the registered directories that are empty.
pub fn tidy() {
    for user_dir in &registered().user_dirs {
        user_dir.tidy();
    }
}

fn undo() {
    let (user_dirs, hold) = {
        let mut registered = registered();
        (std::mem::take(&mut registered.user_dirs), registered.hold.take())
    };
    if let Some(hold) = hold {
        hold.release();
    }
    for user_dir in user_dirs {
        for unfinished in unfinished(&user_dir) {
            remove(unfinished);
        }
        user_dir.tidy();
    }
}

/// The directories of stages in `user_dir` that this process has not published.
fn unfinished(user_dir: &UserDir) -> Vec<PathBuf> {
    let own = format!("-{}", std::process::id());
    let is_own =
        |dir: &PathBuf| dir.file_name().is_some_and(|name| name.to_string_lossy().ends_with(&own));
    user_dir.unfinished().unwrap_or_default().into_iter().filter(is_own).collect()
}

/// Removes an unpublished stage. Its directory is renamed first, so that threads which still write by name fail.
fn remove(dir: PathBuf) {
    let mut name = dir.file_name().unwrap_or_default().to_os_string();
    name.push("-stopped");
    let renamed = dir.with_file_name(name);
    let dir = if std::fs::rename(&dir, &renamed).is_ok() { renamed } else { dir };
    let exec_dir = noexec::exec_dir_of(&dir);
    let begun = Instant::now();
    while std::fs::remove_dir_all(&dir).is_err() && dir.exists() && begun.elapsed() < PATIENCE {}
    if let Some(dir) = exec_dir {
        noexec::remove(&dir);
    }
}
