//! Recognises programs that start others in another root file system, container runtimes above all.
//!
//! In a container the library's path leads nowhere, so that the loader would complain in every process. Where it does
//! lead to the library (in a stage, if `/dev/shm` is mounted), a prefix's path may mean the container's own files. So
//! such a program is started without the shim, whether there is a stage or not. If it has the shim all the same,
//! because a launcher's daemon started it, the shim is inert and takes itself out of the program's environment.
//!
//! `PYSHM_CONTAINERS=keep` hands the shim on, for jobs that mount library, stage and prefixes at their own paths. Any
//! other value names further such programs, separated by colons.

use core::ffi::{CStr, c_char};

use pyshm_format::layout::ENV_CONTAINERS;

use crate::base::env;
use crate::base::text::at_last_slash;
use crate::stage::may_write::Rights;

/// File names of the runtimes. All of these hand their environment on to the programs that they start, or can be told
/// to. runc, crun and their like read the environment from a file. `unshare` and `nsenter` by default start programs in
/// the same file system.
///
/// One text, because pointers to many would be relocations in every process.
const RUNTIMES: &[u8] =
    b"apptainer singularity ch-run podman docker nerdctl buildah shifter sarus enroot udocker \
proot bwrap systemd-nspawn chroot";

/// Whether `program`, a path or a file name, is a container runtime; `setting` is the value of `PYSHM_CONTAINERS`.
pub fn is_runtime(program: &[u8], setting: Option<&[u8]>) -> bool {
    let name = at_last_slash(program).map_or(program, |(_, name)| name.get(1..).unwrap_or(b""));
    let setting = setting.unwrap_or(b"");
    let named = |list: &[u8], separator| list.split(|&b| b == separator).any(|n| n == name);
    !name.is_empty() && setting != b"keep" && (named(RUNTIMES, b' ') || named(setting, b':'))
}

/// What the programs may do that a container runtime starts: more than this user, where a service of root's starts them.
pub fn rights(program: &[u8]) -> Rights {
    let by_root = [&b"docker"[..], b"podman-remote", b"nerdctl", b"systemd-nspawn"];
    if by_root.iter().any(|name| program.ends_with(name)) { Rights::All } else { Rights::Own }
}

/// Whether this process runs a container runtime, by the name that the kernel was given (getauxval(3), AT_EXECFN).
pub fn is_this_program() -> bool {
    // SAFETY: getauxval reads the process's own vector.
    let name = unsafe { libc::getauxval(libc::AT_EXECFN) } as *const c_char;
    // SAFETY: a C string that the kernel wrote.
    let name = if name.is_null() { b"" } else { unsafe { CStr::from_ptr(name) }.to_bytes() };
    is_runtime(name, env::get(ENV_CONTAINERS.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn container_runtimes_are_known_by_their_file_names() {
        for name in ["apptainer", "./ch-run", "/opt/site/bin/singularity", "/chroot"] {
            assert!(is_runtime(name.as_bytes(), None), "{name}");
            assert!(is_runtime(name.as_bytes(), Some(b"")), "{name}");
            assert!(!is_runtime(name.as_bytes(), Some(b"keep")), "{name}");
        }
        for name in
            ["", "/", "podman/", "podman/x", "ch-run2", "h-run", "apptainer singularity", "nsenter"]
        {
            assert!(!is_runtime(name.as_bytes(), None), "{name}");
        }
    }

    #[test]
    fn further_container_runtimes_are_named_by_the_site() {
        let setting = Some(&b"run-in-image::pcocc"[..]);
        for name in ["/site/run-in-image", "pcocc", "ch-run"] {
            assert!(is_runtime(name.as_bytes(), setting), "{name}");
        }
        for name in ["run", "", "keep"] {
            assert!(!is_runtime(name.as_bytes(), setting), "{name}");
        }
    }
}
