//! Ends this process when its parent ends.
#![forbid(unsafe_code)]

use std::time::Duration;

use crate::process::temp_files;

/// Time between two checks of the parent.
const INTERVAL: Duration = Duration::from_millis(250);

/// When the parent of this process ends, removes this process's temporary files and ends this process.
pub fn end_with_parent() {
    let parent = rustix::process::getppid();
    // Process 1 never ends. In a container it may be the parent from the start.
    let Some(parent) = parent.filter(|p| !p.is_init()) else { return };
    std::thread::spawn(move || {
        while rustix::process::getppid() == Some(parent) {
            std::thread::sleep(INTERVAL);
        }
        temp_files::remove_all();
        signal_hook::low_level::exit(1);
    });
}
