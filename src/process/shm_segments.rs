//! Shared-memory segments that MPI leaves in `/dev/shm` when its process is killed.
#![forbid(unsafe_code)]

use std::path::Path;

const SHM: &str = "/dev/shm";

/// Removes the names in `/dev/shm` of the files that this process has mapped. Only a process that is alone on its node may
/// call this: nobody else will attach to them.
pub fn remove_mapped() {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    for line in maps.lines() {
        let path = line.find("/dev/shm/").map(|at| Path::new(&line[at..]));
        // Deeper down lie stages and the like, which are removed elsewhere.
        if let Some(path) = path.filter(|p| p.parent() == Some(Path::new(SHM))) {
            let _ = std::fs::remove_file(path);
        }
    }
}
