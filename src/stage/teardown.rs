//! What this process does about stages when it is stopped: it removes the stage that it builds, and releases the one that
//! it uses.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, Instant};

use crate::process::temp_files;
use crate::stage::hold::{Hold, Released};
use crate::stage::{Place, noexec};

/// How long a removal is retried while other threads of this process still write.
const PATIENCE: Duration = Duration::from_secs(2);

struct Registered {
    places: Vec<Place>,
    hold: Option<Hold>,
}

static REGISTERED: Mutex<Registered> = Mutex::new(Registered { places: Vec::new(), hold: None });

fn registered() -> MutexGuard<'static, Registered> {
    static UNDO: Once = Once::new();
    UNDO.call_once(|| temp_files::register_undo(undo));
    REGISTERED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes what this process builds in `place` if it is stopped.
pub fn register_place(place: &Place) {
    registered().places.push(place.clone());
}

/// Keeps `hold` until [`release`]; it is released as well if the process is stopped.
pub fn keep(hold: Hold) {
    registered().hold = Some(hold);
}

/// Releases the stage that this process uses, which removes it if this is the last user. `None` when there is none.
pub fn release() -> Option<Released> {
    temp_files::exclusively(|| registered().hold.take().map(Hold::release))
}

/// Removes the user's own directories where nothing is left in them.
pub fn tidy() {
    for place in &registered().places {
        place.tidy();
    }
}

fn undo() {
    let (places, hold) = {
        let mut registered = registered();
        (std::mem::take(&mut registered.places), registered.hold.take())
    };
    if let Some(hold) = hold {
        hold.release();
    }
    for place in places {
        for unfinished in unfinished(&place) {
            remove(unfinished);
        }
        place.tidy();
    }
}

/// The unpublished stages of this process in `place`.
fn unfinished(place: &Place) -> Vec<PathBuf> {
    let own = format!("-{}", std::process::id());
    let Ok(entries) = std::fs::read_dir(place.dir()) else { return Vec::new() };
    let names = entries.flatten().map(|e| (e.path(), e.file_name().to_string_lossy().into_owned()));
    names
        .filter(|(_, name)| name.starts_with(".new-") && name.ends_with(&own))
        .map(|(path, _)| path)
        .collect()
}

/// Removes an unpublished stage. It is renamed first: threads that still write to it by name then fail.
fn remove(dir: PathBuf) {
    let mut name = dir.file_name().unwrap_or_default().to_os_string();
    name.push("-stopped");
    let renamed = dir.with_file_name(name);
    let dir = if std::fs::rename(&dir, &renamed).is_ok() { renamed } else { dir };
    let elsewhere = noexec::of(&dir);
    let begun = Instant::now();
    while std::fs::remove_dir_all(&dir).is_err() && dir.exists() && begun.elapsed() < PATIENCE {}
    if let Some(dir) = elsewhere {
        noexec::remove(&dir);
    }
}
