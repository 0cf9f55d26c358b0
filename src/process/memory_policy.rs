//! Sets how a process that stages uses memory: the process writes to all memory nodes (NUMA) of the machine in turn,
//! and returns freed memory to the system.
//!
//! The stage is spread because ranks on every socket read it; otherwise the stage would fill one memory node. The
//! policy of the thread that first writes to a page of a memory file system decides where the page lies. A thread
//! inherits the policy of the thread that starts it.

#[cfg(target_env = "gnu")]
use std::ffi::c_int;
use std::ffi::{c_long, c_ulong};

/// From `linux/mempolicy.h`.
const MPOL_INTERLEAVE: c_long = 3;
/// More memory nodes than any machine has.
const MAX_NODES: usize = 1024;
const BITS: usize = c_ulong::BITS as usize;

/// The allocator maps blocks of this size or more one by one, and unmaps them when they are freed.
#[cfg(target_env = "gnu")]
const MAPPED_BLOCK: c_int = 4 << 20;

/// Sets the memory policy and the allocator of this process, which must not have started threads yet.
pub fn prepare() {
    interleave();
    // By default, glibc stops mapping large blocks when the first one is freed. From then on it would keep the memory
    // of freed chunks and frames, a third of the memory of staging, which the job needs. SAFETY: mallopt only sets a
    // parameter of the allocator.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_BLOCK);
    }
}

/// Sets the policy for this thread and those that it will start. Nothing changes on a machine with one memory node, or
/// in a container that forbids the change.
fn interleave() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let nodes = status.lines().find_map(|line| line.strip_prefix("Mems_allowed_list:"));
    let nodes = parse(nodes.unwrap_or_default().trim());
    if nodes.len() > 1 {
        let _ = interleave_over(&nodes);
    }
}

/// Interleaves over these memory nodes. Returns whether the kernel has accepted that.
fn interleave_over(nodes: &[usize]) -> bool {
    let mut mask = [0 as c_ulong; MAX_NODES / BITS];
    for node in nodes.iter().filter(|node| **node < MAX_NODES) {
        mask[node / BITS] |= 1 << (node % BITS);
    }
    // SAFETY: the kernel reads MAX_NODES bits of `mask`, and `mask` has MAX_NODES bits.
    let done = unsafe {
        libc::syscall(
            libc::SYS_set_mempolicy,
            MPOL_INTERLEAVE,
            mask.as_ptr(),
            MAX_NODES as c_ulong + 1,
        )
    };
    done == 0
}

/// Parses a list of numbers and ranges, such as `0-3,8`.
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
    fn lists_of_memory_nodes_are_parsed() {
        assert_eq!(parse("0-2,8"), [0, 1, 2, 8]);
        assert_eq!(parse("0"), [0]);
        assert!(parse("").is_empty());
    }

    #[test]
    fn a_thread_and_those_it_starts_interleave() {
        let policies = std::thread::spawn(|| {
            // Without policies in the kernel, or in a container that forbids them, there is nothing to see.
            interleave_over(&[0]).then(|| {
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
