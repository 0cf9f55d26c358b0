//! Removes shared-memory segments from `/dev/shm`, which MPI would leave there when its process is killed.
#![forbid(unsafe_code)]

use std::path::Path;

const SHM: &str = "/dev/shm";

/// Removes the files in `/dev/shm` that this process has mapped. Only a process that is alone in its job on its node may
/// call this, as no other process can attach to them afterwards.
pub fn remove_mapped() {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    for line in maps.lines() {
        let path = line.find("/dev/shm/").map(|at| Path::new(&line[at..]));
        // Directories there, such as those of stages, are not MPI's.
        if let Some(path) = path.filter(|p| p.parent() == Some(Path::new(SHM))) {
            let _ = std::fs::remove_file(path);
        }
    }
}
