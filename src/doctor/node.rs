//! A node: its kernel, its libc, and the file system in its memory.
#![forbid(unsafe_code)]

use std::path::Path;

use crate::bundle::reader::Size;
use crate::doctor::Finding;
use crate::doctor::libc_version::libc_version;
use crate::error::Error;
use crate::stage::UserDir;
use crate::stage::limits::space;
use crate::text::bytes;

/// The oldest versions on which pyshm is expected to run: what its system calls and symbols need.
const KERNEL: (u32, u32) = (3, 10);
const GLIBC: (u32, u32) = (2, 17);
/// With less room than that hardly an environment fits.
const SMALL: u64 = 1_000_000_000;

pub(super) fn kernel() -> Finding {
    let name = rustix::system::uname();
    let (release, machine) = (name.release().to_string_lossy(), name.machine().to_string_lossy());
    let cause = format!("Linux {release} on {machine}");
    if is_older(&release, KERNEL) {
        let advice = "pyshm was made for 3.10 and later: try it, and say what does not work";
        return Finding::warning("kernel", &cause, advice);
    }
    match &*machine {
        "x86_64" => Finding::ok("kernel", &cause),
        _ => Finding::note("kernel", &cause, "pyshm was tested on x86_64 only"),
    }
}

pub(super) fn c_library() -> Finding {
    let version = libc_version();
    let cause = format!("glibc {version}");
    match is_older(&version, GLIBC) {
        false => Finding::ok("C library", &cause),
        true => {
            Finding::failure("C library", &cause, "the shim needs 2.17 or later: use newer nodes")
        }
    }
}

/// The file system in which stages are to lie.
pub(super) fn root(root: &Path) -> Vec<Finding> {
    let what = "root";
    let shown = root.display();
    let place = match UserDir::open(root) {
        Ok(place) => place,
        Err(error @ Error::Untrusted { .. }) => {
            let advice = "see to it that it belongs to root, or to you alone, and that it has the sticky bit where others write";
            return vec![Finding::failure(what, &error.to_string(), advice)];
        }
        Err(error) => {
            let advice = "mount a tmpfs there, or name another node-local directory with --root or PYSHM_ROOT";
            return vec![Finding::failure(what, &error.to_string(), advice)];
        }
    };
    place.tidy();
    let mut findings = Vec::new();
    if space::is_noexec(root) {
        let cause = format!(
            "{shown} is mounted noexec: programs and libraries are loaded from the shared file system"
        );
        findings.push(Finding::warning(
            what,
            &cause,
            "mount it with exec, or name another node-local directory with --root or PYSHM_ROOT",
        ));
    }
    if !space::is_memory(root) {
        let cause = format!("{shown} is no file system in memory");
        findings.push(Finding::note(what, &cause, "it may be slower than /dev/shm"));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(
            what,
            &format!("{shown}, in memory, programs can be started from it"),
        ));
    }
    findings
}

/// Whether the bundles fit.
pub(super) fn room(root: &Path, needed: Size, reserve: Option<u64>) -> Finding {
    let what = "room";
    let free = match space::free(root) {
        Ok(free) => free,
        Err(error) => {
            return Finding::failure(what, &error.to_string(), "see what is said of the root");
        }
    };
    let of: Vec<_> =
        free.iter().map(|(what, free)| format!("{what} has {} free", bytes(*free))).collect();
    let least = free.iter().map(|(_, free)| *free).min();
    if let Err(error) = space::check(root, needed, reserve) {
        let advice = "free some, ask for more memory for the job, mount a larger file system there, or name another with --root";
        return Finding::failure(what, &error.to_string(), advice);
    }
    let cause = match needed.bytes {
        0 => of.join(", "),
        n => format!("{}; the bundles take {}", of.join(", "), bytes(n)),
    };
    if needed.bytes == 0 && least.is_some_and(|least| least < SMALL) {
        let advice =
            "an environment with numpy and scipy takes some hundred megabytes: see that yours fits";
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
    fn what_the_bundles_take_and_the_node_has_is_said_with_the_numbers() {
        let dir = tempfile::tempdir().unwrap();
        let size = |bytes| Size { bytes, entries: 1, at_least: false };
        let found = room(dir.path(), size(1 << 60), None);
        assert_eq!(found.level, Level::Failure);
        assert!(found.cause.contains("free but") && found.advice.is_some(), "{found:?}");
        assert_eq!(room(dir.path(), size(1), Some(0)).level, Level::Ok);
        assert_eq!(root(Path::new("/no/such"))[0].level, Level::Failure);
    }
}
