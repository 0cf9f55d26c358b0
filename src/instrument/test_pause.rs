//! For tests only: stops this process at a chosen moment of staging, so that a test can kill it just there.
//!
//! `PYSHM_TEST_PAUSE=PHASE:COUNT:NODE:FILE`: the COUNT-th time that a process on NODE comes to PHASE (`read`,
//! `broadcast`, `decode`, `write`, `adopt`, `publish`) it writes its number to FILE and sleeps for five minutes. Without the variable
//! this is one look at a word.
#![forbid(unsafe_code)]

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

struct Pause {
    phase: String,
    file: String,
    left: AtomicU32,
}

static PAUSE: OnceLock<Option<Pause>> = OnceLock::new();

/// This process comes to `phase`.
pub fn at(phase: &str) {
    let Some(pause) = PAUSE.get_or_init(asked_for).as_ref().filter(|p| p.phase == phase) else {
        return;
    };
    // Below 0 it goes round, and would come back after four thousand million times.
    if pause.left.fetch_sub(1, Ordering::Relaxed) == 1 {
        let _ = std::fs::write(&pause.file, std::process::id().to_string());
        std::thread::sleep(Duration::from_secs(300));
    }
}

fn asked_for() -> Option<Pause> {
    let text = std::env::var("PYSHM_TEST_PAUSE").ok()?;
    let mut parts = text.splitn(4, ':');
    let (phase, count, node, file) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let here = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let left = AtomicU32::new(count.parse().ok()?);
    (node == here).then(|| Pause { phase: phase.into(), file: file.into(), left })
}
