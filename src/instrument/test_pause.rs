//! Pauses this process at a chosen moment of staging, for tests only, so that a test can kill the process there.
//!
//! `PYSHM_TEST_PAUSE=MOMENT:COUNT:NODE:FILE`: when a process on NODE comes to MOMENT for the COUNT-th time, it writes
//! its process id to FILE and sleeps for five minutes. If the variable is not set, [`at`] costs one read of memory.
#![forbid(unsafe_code)]

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// A moment of staging.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// `read`: before rank 0 reads a chunk.
    Read,
    /// `broadcast`: before chunks are broadcast.
    Broadcast,
    /// `decode`: before a frame is decompressed.
    Decode,
    /// `write`: before a frame is written.
    Write,
    /// `adopt`: before a file is linked.
    Adopt,
    /// `publish`: before a stage is finished, and again before it is renamed.
    Publish,
}

impl Moment {
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "read" => Self::Read,
            "broadcast" => Self::Broadcast,
            "decode" => Self::Decode,
            "write" => Self::Write,
            "adopt" => Self::Adopt,
            "publish" => Self::Publish,
            _ => return None,
        })
    }
}

struct Pause {
    moment: Moment,
    file: String,
    left: AtomicU32,
}

static PAUSE: OnceLock<Option<Pause>> = OnceLock::new();

/// Pauses if this is the moment that the variable names.
pub fn at(moment: Moment) {
    let Some(pause) = PAUSE.get_or_init(requested).as_ref().filter(|p| p.moment == moment) else {
        return;
    };
    // The count wraps around below 0, and comes back to 1 only after four thousand million calls.
    if pause.left.fetch_sub(1, Ordering::Relaxed) == 1 {
        let _ = std::fs::write(&pause.file, std::process::id().to_string());
        std::thread::sleep(Duration::from_secs(300));
    }
}

fn requested() -> Option<Pause> {
    let text = std::env::var("PYSHM_TEST_PAUSE").ok()?;
    let mut parts = text.splitn(4, ':');
    let (moment, count, node, file) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let here = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let left = AtomicU32::new(count.parse().ok()?);
    let moment = Moment::parse(moment)?;
    (node == here).then(|| Pause { moment, file: file.into(), left })
}
