//! Finds how much memory the control groups of this process leave to it. Files in a memory file system count against
//! the job that writes them, and a job that exceeds its limit is killed.
//!
//! Both versions of control groups are understood: version 1 has the limit in `memory.limit_in_bytes`, version 2 in
//! `memory.max`. Each group up to the root of its hierarchy may have a limit. Cached pages of files do not count as
//! used: the kernel reclaims them first.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

/// A group's memory limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MemoryLimit {
    /// The file that has the limit.
    pub file: PathBuf,
    /// Bytes that the group may still use.
    pub free: u64,
}

/// Names that a version of control groups uses, in this order: the file with the limit, the file with the usage, and
/// the two lines of `memory.stat` that count reclaimable bytes.
type FileNames = (&'static str, &'static str, [&'static str; 2]);

const V1: FileNames = (
    "memory.limit_in_bytes",
    "memory.usage_in_bytes",
    ["total_inactive_file", "total_active_file"],
);
const V2: FileNames = ("memory.max", "memory.current", ["inactive_file", "active_file"]);

/// Finds the limit with the fewest bytes left; `None` when there is no limit.
pub(super) fn tightest() -> Option<MemoryLimit> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    tightest_of(&read("/proc/self/cgroup"), &read("/proc/self/mountinfo"))
}

/// Finds the tightest limit in the texts of `/proc/self/cgroup` and `/proc/self/mountinfo`.
fn tightest_of(groups: &str, mounts: &str) -> Option<MemoryLimit> {
    let mut limits = Vec::new();
    for group in groups.lines() {
        let mut fields = group.splitn(3, ':');
        let (_, Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let (kind, names) = match controllers {
            "" => ("cgroup2", &V2),
            list if list.split(',').any(|c| c == "memory") => ("cgroup", &V1),
            _ => continue,
        };
        let Some((root, mounted)) = mounts.lines().find_map(|line| mount(line, kind)) else {
            continue;
        };
        // In a container, `/proc/self/cgroup` may show the host's path of the group, which does not begin with the
        // mounted root.
        let below = Path::new(path).strip_prefix(root).unwrap_or(Path::new(""));
        let group = mounted.join(below);
        limits.extend(
            group
                .ancestors()
                .take_while(|dir| dir.starts_with(mounted))
                .filter_map(|dir| limit(dir, names)),
        );
    }
    limits.into_iter().min_by_key(|limit| limit.free)
}

/// Parses a line of `mountinfo` into root and mount point; `None` unless the line mounts a hierarchy of this kind with
/// a memory controller.
fn mount<'a>(line: &'a str, kind: &str) -> Option<(&'a Path, &'a Path)> {
    let (first, second) = line.split_once(" - ")?;
    let mut second = second.split(' ');
    let of_kind = second.next() == Some(kind);
    let memory = kind == "cgroup2" || second.nth(1)?.split(',').any(|option| option == "memory");
    let mut first = first.split(' ').skip(3);
    let (root, at) = (first.next()?, first.next()?);
    (of_kind && memory).then_some((Path::new(root), Path::new(at)))
}

/// Reads the limit of the group in `dir`; `None` when it has no limit.
fn limit(dir: &Path, (limit, usage, cached): &FileNames) -> Option<MemoryLimit> {
    let read = |name: &str| std::fs::read_to_string(dir.join(name)).ok();
    let number = |name: &str| read(name)?.trim().parse::<u64>().ok();
    // A group without a limit has "max" in this file in version 2, and a number near 2^63 in version 1.
    let most = number(limit).filter(|most| *most < 1 << 60)?;
    let stat = read("memory.stat").unwrap_or_default();
    let cached: u64 = stat
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter(|(name, _)| cached.contains(name))
        .filter_map(|(_, value)| value.trim().parse::<u64>().ok())
        .sum();
    let used = number(usage).unwrap_or(0).saturating_sub(cached);
    Some(MemoryLimit { file: dir.join(limit), free: most.saturating_sub(used) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(dir: &Path, files: &[(&str, &str)]) {
        std::fs::create_dir_all(dir).unwrap();
        for (name, text) in files {
            std::fs::write(dir.join(name), text).unwrap();
        }
    }

    #[test]
    fn the_tightest_limit_up_to_the_root_is_found_and_cached_files_do_not_count_as_used() {
        let dir = tempfile::tempdir().unwrap();
        let job = dir.path().join("slurm/job_7");
        group(
            &job,
            &[
                ("memory.max", "8000000\n"),
                ("memory.current", "5000000\n"),
                ("memory.stat", "anon 1\nfile 4000000\ninactive_file 900000\nactive_file 100000\n"),
            ],
        );
        group(&job.join("step_0"), &[("memory.max", "max\n"), ("memory.current", "1\n")]);
        group(
            &dir.path().join("slurm"),
            &[("memory.max", "9000000"), ("memory.current", "8500000")],
        );
        let mounts = format!("41 31 0:38 / {} rw - cgroup2 cgroup2 rw", dir.path().display());
        let found = tightest_of("0::/slurm/job_7/step_0", &mounts).unwrap();
        assert_eq!(found, MemoryLimit { file: dir.path().join("slurm/memory.max"), free: 500_000 });
        std::fs::write(dir.path().join("slurm/memory.current"), "1").unwrap();
        let found = tightest_of("0::/slurm/job_7/step_0", &mounts).unwrap();
        assert_eq!(found, MemoryLimit { file: job.join("memory.max"), free: 4_000_000 });
    }

    #[test]
    fn version_1_and_a_container_that_sees_only_its_own_group_are_understood() {
        let dir = tempfile::tempdir().unwrap();
        let files = [
            ("memory.limit_in_bytes", "3000000"),
            ("memory.usage_in_bytes", "1000000"),
            ("memory.stat", "cache 7\ntotal_inactive_file 500000\ntotal_active_file 0\n"),
        ];
        group(dir.path(), &files);
        let mounts = format!(
            "33 31 0:31 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
             35 31 0:32 /docker/abc {} rw,relatime shared:9 - cgroup cgroup rw,memory\n",
            dir.path().display()
        );
        let found = tightest_of("5:cpu:/x\n4:memory:/docker/abc\n0::/", &mounts).unwrap();
        assert_eq!(found.free, 2_500_000);
        std::fs::write(dir.path().join("memory.limit_in_bytes"), "9223372036854771712").unwrap();
        assert_eq!(tightest_of("4:memory:/docker/abc", &mounts), None);
        assert_eq!(tightest_of("", ""), None);
    }
}
