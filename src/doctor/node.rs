//! Examines a node: its kernel, its libc, and the file system in which stages lie.
#![forbid(unsafe_code)]

use std::path::Path;

use crate::bundle::Size;
use crate::doctor::Finding;
use crate::doctor::libc_version::libc_version;
use crate::error::Error;
use crate::stage::UserDir;
use crate::stage::limits::space;
use crate::text::bytes;

/// The oldest versions of kernel and libc with all system calls and symbols that pyshm uses.
const KERNEL: (u32, u32) = (3, 10);
const GLIBC: (u32, u32) = (2, 17);
/// The least free space in bytes into which an environment is likely to fit.
const SMALL: u64 = 1_000_000_000;

/// Examines the kernel's version and the processor.
pub(super) fn kernel() -> Finding {
    let name = rustix::system::uname();
    let (release, machine) = (name.release().to_string_lossy(), name.machine().to_string_lossy());
    let cause = format!("Linux {release} on {machine}");
    if is_older(&release, KERNEL) {
        let advice = "pyshm needs Linux 3.10 or later: try it, and report what does not work";
        return Finding::warning("kernel", &cause, advice);
    }
    match &*machine {
        "x86_64" => Finding::ok("kernel", &cause),
        _ => Finding::note("kernel", &cause, "pyshm has only been tested on x86_64"),
    }
}

/// Examines the version of libc.
pub(super) fn c_library() -> Finding {
    let version = libc_version();
    let cause = format!("glibc {version}");
    if is_older(&version, GLIBC) {
        let advice = "the shim needs glibc 2.17 or later: use nodes with a newer system";
        return Finding::failure("C library", &cause, advice);
    }
    Finding::ok("C library", &cause)
}

/// Examines the file system in which stages lie.
pub(super) fn root(root: &Path) -> Vec<Finding> {
    let what = "root";
    let shown = root.display();
    let user_dir = match UserDir::open(root) {
        Ok(user_dir) => user_dir,
        Err(error @ Error::Untrusted { .. }) => {
            let advice = "make sure that root or you own it, and that it has the sticky bit if others may write to it";
            return vec![Finding::failure(what, &error.to_string(), advice)];
        }
        Err(error) => {
            let advice = "mount a tmpfs there, or choose another node-local directory with --root or PYSHM_ROOT";
            return vec![Finding::failure(what, &error.to_string(), advice)];
        }
    };
    user_dir.tidy();
    let mut findings = Vec::new();
    if space::is_noexec(root) {
        let cause = format!(
            "{shown} is mounted noexec: programs and libraries load from the shared file system"
        );
        findings.push(Finding::warning(
            what,
            &cause,
            "mount it with exec, or choose another node-local directory with --root or PYSHM_ROOT",
        ));
    }
    if !space::is_memory(root) {
        let cause = format!("{shown} is not a file system in memory");
        findings.push(Finding::note(what, &cause, "it may be slower than /dev/shm"));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(
            what,
            &format!("{shown} is in memory, and programs can run from it"),
        ));
    }
    findings
}

/// Examines whether the bundles fit into `root` and leave `reserve` bytes free.
pub(super) fn room(root: &Path, needed: Size, reserve: Option<u64>) -> Finding {
    let what = "room";
    let free = match space::free(root) {
        Ok(free) => free,
        Err(error) => {
            return Finding::failure(what, &error.to_string(), "see the finding about the root");
        }
    };
    let of: Vec<_> =
        free.iter().map(|(what, free)| format!("{what} has {} free", bytes(*free))).collect();
    let least = free.iter().map(|(_, free)| *free).min();
    if let Err(error) = space::check(root, needed, reserve) {
        let advice = "free some, request more memory for the job, mount a larger file system there, or choose another with --root";
        return Finding::failure(what, &error.to_string(), advice);
    }
    let cause = match needed.bytes {
        0 => of.join(", "),
        n => format!("{}; the bundles need {}", of.join(", "), bytes(n)),
    };
    if needed.bytes == 0 && least.is_some_and(|least| least < SMALL) {
        let advice = "an environment with numpy and scipy takes hundreds of megabytes: check that yours fits";
        return Finding::warning(what, &cause, advice);
    }
    Finding::ok(what, &cause)
}

/// Whether a version that begins with two numbers is older than `least`.
fn is_older(version: &str, least: (u32, u32)) -> bool {
    let mut numbers = version.split(|c: char| !c.is_ascii_digit()).map_while(|n| n.parse().ok());
    let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    found < least
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    #[test]
    fn versions_are_compared_by_their_numbers() {
        assert!(!is_older("5.4.0-generic", KERNEL) && !is_older("3.10.0-1160.el7", KERNEL));
        assert!(is_older("2.6.32", KERNEL) && is_older("2.9", GLIBC) && !is_older("2.36", GLIBC));
    }

    #[test]
    fn a_lack_of_space_is_reported_with_the_numbers() {
        let dir = tempfile::tempdir().unwrap();
        let size = |bytes| Size { bytes, entries: 1, at_least: false };
        let found = room(dir.path(), size(1 << 60), None);
        assert_eq!(found.level, Level::Failure);
        assert!(found.cause.contains("free but") && found.advice.is_some(), "{found:?}");
        assert_eq!(room(dir.path(), size(1), Some(0)).level, Level::Ok);
        assert_eq!(root(Path::new("/no/such"))[0].level, Level::Failure);
    }
}
