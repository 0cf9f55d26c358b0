//! Sets which processors this process runs on.
#![forbid(unsafe_code)]

use rustix::thread::CpuSet;

/// Lets this process use all processors of its job. A launcher binds a rank to one processor, but decompression uses
/// several threads.
pub fn use_all_processors() {
    let mut all = CpuSet::new();
    for cpu in 0..CpuSet::MAX_CPU {
        all.set(cpu);
    }
    let _ = rustix::thread::sched_setaffinity(None, &all);
}
