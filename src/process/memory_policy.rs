//! How the processes that stage use memory: what they write lies on all memory nodes of the machine, and what they free
//! goes back to the system.
//!
//! Ranks on every socket will read the stage, and one node's memory would be filled by it alone. A page of a memory file
//! system is placed by the policy of the thread that first writes to it, and threads inherit the policy of the one that
//! starts them.

#[cfg(target_env = "gnu")]
use std::ffi::c_int;
use std::ffi::{c_long, c_ulong};

/// From `linux/mempolicy.h`.
const MPOL_INTERLEAVE: c_long = 3;
/// More memory nodes than any machine has.
const MOST: usize = 1024;
const BITS: usize = c_ulong::BITS as usize;

/// Blocks of this size and more are mapped one by one, and unmapped when they are freed.
#[cfg(target_env = "gnu")]
const MAPPED: c_int = 4 << 20;

/// Called by a process that does little else than stage, before it starts threads.
pub fn prepare() {
    spread();
    // By itself glibc stops to map large blocks once one was freed, and keeps what chunks and frames took for later: a
    // third of all that staging takes, which is the job's.
    // SAFETY: it sets a number of the allocator's.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED);
    }
}

/// Sets the policy for this thread and those that it will start. On a machine with one memory node, and where a container
/// forbids it, nothing changes.
fn spread() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let nodes = status.lines().find_map(|line| line.strip_prefix("Mems_allowed_list:"));
    let nodes = parse(nodes.unwrap_or_default().trim());
    if nodes.len() > 1 {
        let _ = over(&nodes);
    }
}

/// Spreads over these nodes; whether the kernel took it.
fn over(nodes: &[usize]) -> bool {
    let mut mask = [0 as c_ulong; MOST / BITS];
    for node in nodes.iter().filter(|node| **node < MOST) {
        mask[node / BITS] |= 1 << (node % BITS);
    }
    // SAFETY: the kernel reads MOST bits of `mask`, which has so many.
    let done = unsafe {
        libc::syscall(libc::SYS_set_mempolicy, MPOL_INTERLEAVE, mask.as_ptr(), MOST as c_ulong + 1)
    };
    done == 0
}

/// `0-3,8`
fn parse(list: &str) -> Vec<usize> {
    let range = |part: &str| -> Option<std::ops::RangeInclusive<usize>> {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        Some(from.parse().ok()?..=to.parse().ok()?)
    };
    list.split(',').filter_map(range).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_nodes_are_read() {
        assert_eq!(parse("0-2,8"), [0, 1, 2, 8]);
        assert_eq!(parse("0"), [0]);
        assert!(parse("").is_empty());
    }

    #[test]
    fn a_thread_and_those_it_starts_interleave() {
        let policies = std::thread::spawn(|| {
            // Where the kernel has no policies, or a container forbids them, there is nothing to see.
            over(&[0]).then(|| {
                let child = std::thread::spawn(|| {
                    std::fs::read_to_string("/proc/thread-self/numa_maps").unwrap_or_default()
                });
                child.join().unwrap()
            })
        });
        if let Some(maps) = policies.join().unwrap() {
            assert!(maps.contains("interleave"), "{maps}");
        }
    }
}
