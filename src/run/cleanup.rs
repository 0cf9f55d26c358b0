//! What must not stay behind when a signal ends one of our processes in the middle of its work: temporary files, the
//! unfinished stage, and a published one that nobody else uses.
//!
//! Work that is stopped this way is never resumed: a thread removes what is registered while others may still write,
//! and then the process dies.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::hold::{Hold, Released};
use crate::error::{Error, Result};
use crate::stage::{Place, elsewhere};

/// How long removal is tried while other threads of this process still write.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Default)]
struct Registered {
    files: Vec<PathBuf>,
    places: Vec<Place>,
    hold: Option<Hold>,
}

static REGISTERED: Mutex<Registered> =
    Mutex::new(Registered { files: Vec::new(), places: Vec::new(), hold: None });

fn registered() -> MutexGuard<'static, Registered> {
    REGISTERED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes `file` if the process is stopped before [`forget`].
pub fn register(file: &Path) {
    registered().files.push(file.to_path_buf());
}

/// `file` is gone or shall stay.
pub fn forget(file: &Path) {
    registered().files.retain(|f| f != file);
}

/// Removes what this process builds in `place` if it is stopped.
pub fn register_place(place: &Place) {
    registered().places.push(place.clone());
}

/// Keeps `hold` until [`release`], or lets it go if the process is stopped.
pub fn keep(hold: Hold) {
    registered().hold = Some(hold);
}

/// Hands back what was kept.
pub fn release() -> Option<Hold> {
    registered().hold.take()
}

/// Removes the user's own directory where nothing is left in it.
pub fn tidy() {
    for place in &registered().places {
        place.tidy();
    }
}

/// Held while something is removed: whoever comes second must not end the process before the first one is done.
static REMOVING: Mutex<()> = Mutex::new(());

/// Lets go of what was kept, which the last user removes, and says what was found.
pub fn let_go() -> Option<Released> {
    let _removing = REMOVING.lock().unwrap_or_else(PoisonError::into_inner);
    release().map(Hold::release)
}

/// Removes everything that is registered. Called before the process dies.
pub fn now() {
    let _removing = REMOVING.lock().unwrap_or_else(PoisonError::into_inner);
    let Registered { files, places, hold } = std::mem::take(&mut *registered());
    for file in files {
        let _ = std::fs::remove_file(file);
    }
    if let Some(hold) = hold {
        hold.release();
    }
    for place in places {
        remove_unfinished(&place);
        place.tidy();
    }
}

/// Removes the names of what this process has mapped from `/dev/shm` itself: MPI's segments, which a process that is
/// killed would leave. For processes that are alone on their node, so that nobody else will look for them.
pub fn remove_mapped() {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    for line in maps.lines() {
        // Only what lies in /dev/shm itself: below it, stages and the like have removers of their own.
        let path = line.find("/dev/shm/").map(|at| Path::new(&line[at..]));
        if let Some(path) = path.filter(|p| p.parent() == Some(Path::new("/dev/shm"))) {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Removes what this process is building in `place`: renamed first, so that threads that write by name stop doing so.
fn remove_unfinished(place: &Place) {
    let mine = format!("-{}", std::process::id());
    let Ok(entries) = std::fs::read_dir(place.dir()) else { return };
    for dir in entries.flatten().map(|e| e.path()) {
        let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !(name.starts_with(".new-") && name.ends_with(&mine)) {
            continue;
        }
        let renamed = dir.with_file_name(format!("{name}-stopped"));
        let dir = if std::fs::rename(&dir, &renamed).is_ok() { renamed } else { dir };
        let elsewhere = elsewhere::of(&dir);
        let begun = Instant::now();
        while std::fs::remove_dir_all(&dir).is_err() && dir.exists() && begun.elapsed() < PATIENCE {
        }
        if let Some(dir) = elsewhere {
            elsewhere::remove(&dir);
        }
    }
}

/// Removes what is registered when one of `signals` arrives, then dies of it. For processes of our own that have
/// nothing else to do with signals.
///
/// # Errors
/// [`Error::System`] when no handler can be installed.
pub fn on_signals(signals: &[i32]) -> Result<()> {
    let failed = Error::system("handle signals");
    let mut arriving = signal_hook::iterator::Signals::new(signals).map_err(failed)?;
    std::thread::spawn(move || {
        if let Some(signal) = arriving.forever().next() {
            now();
            let _ = signal_hook::low_level::emulate_default_handler(signal);
            signal_hook::low_level::exit(128 + signal);
        }
    });
    Ok(())
}

/// Lets `signals` do nothing. Resource managers send every process of a job what they mean for the application, and what
/// it makes of that is not known here: by default most end a process.
///
/// # Errors
/// As [`on_signals`].
pub fn leave_to_the_command(signals: &[i32]) -> Result<()> {
    for signal in signals {
        signal_hook::flag::register(*signal, Arc::default())
            .map_err(Error::system("handle signals"))?;
    }
    Ok(())
}

/// Removes what is registered when this process's parent goes, then exits.
pub fn on_orphaned() {
    let parent = rustix::process::getppid();
    // Process 1 never goes, and in a container it may be the parent from the start.
    let Some(parent) = parent.filter(|p| !p.is_init()) else { return };
    std::thread::spawn(move || {
        while rustix::process::getppid() == Some(parent) {
            std::thread::sleep(Duration::from_millis(250));
        }
        now();
        signal_hook::low_level::exit(1);
    });
}

/// Lets this process run on all processors that it may use: launchers bind a rank to one, and decompressing is done by
/// several threads.
pub fn spread() {
    let mut all = rustix::thread::CpuSet::new();
    for cpu in 0..rustix::thread::CpuSet::MAX_CPU {
        all.set(cpu);
    }
    let _ = rustix::thread::sched_setaffinity(None, &all);
}
