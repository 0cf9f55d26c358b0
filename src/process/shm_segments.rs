//! Removes MPI's shared-memory segments from `/dev/shm`, which MPI would leave there when its process is killed.
#![forbid(unsafe_code)]

use std::path::Path;

const SHM: &str = "/dev/shm";

/// Removes the files in `/dev/shm` that this process has mapped. No other process can attach to these files afterwards,
/// so a process may call this only if no other process of its job runs on its node.
pub fn remove_mapped() {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    for line in maps.lines() {
        let path = line.find("/dev/shm/").map(|at| Path::new(&line[at..]));
        // Files in directories below `/dev/shm`, such as those of stages, do not belong to MPI.
        if let Some(path) = path.filter(|p| p.parent() == Some(Path::new(SHM))) {
            let _ = std::fs::remove_file(path);
        }
    }
}
