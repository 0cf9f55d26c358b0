//! Recognises container runtimes and other programs that start a program in another root file system.
//!
//! In a container the library's path usually does not exist, so the loader would complain in every process. If the
//! container mounts `/dev/shm`, the path of a staged library exists, but a prefix's path may name the container's own
//! files. So the shim starts a container runtime without the shim, whether there is a stage or not. A runtime may still
//! get the shim if a launcher's daemon starts it. The shim is then inert and removes itself from the runtime's
//! environment.
//!
//! `PYSHM_CONTAINERS=keep` passes the shim on, for jobs that mount library, stage and prefixes at the same paths in the
//! container. Any other value names further runtimes, separated by colons.

use core::ffi::{CStr, c_char};

use pyshm_format::layout::ENV_CONTAINERS;

use crate::base::env;
use crate::base::text::at_last_slash;

/// File names of the runtimes. Each runtime passes its environment on to the programs that it starts, or has an option
/// to do so. runc and crun are not listed, because they read the environment from a file. `unshare` and `nsenter` are
/// not listed, because by default they start programs in the same file system.
///
/// This is one text, because pointers to many texts would be relocations in every process.
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

/// Whether this process runs a container runtime, judged by the name that the kernel was given (getauxval(3),
/// AT_EXECFN).
pub fn is_this_program() -> bool {
    // SAFETY: getauxval reads the process's own vector.
    let name = unsafe { libc::getauxval(libc::AT_EXECFN) } as *const c_char;
    // SAFETY: the kernel wrote the name as a C string.
    let name = if name.is_null() { b"" } else { unsafe { CStr::from_ptr(name) }.to_bytes() };
    is_runtime(name, env::get(ENV_CONTAINERS.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn container_runtimes_are_recognised_by_their_file_names() {
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
    fn the_setting_names_further_container_runtimes() {
        let setting = Some(&b"run-in-image::pcocc"[..]);
        for name in ["/site/run-in-image", "pcocc", "ch-run"] {
            assert!(is_runtime(name.as_bytes(), setting), "{name}");
        }
        for name in ["run", "", "keep"] {
            assert!(!is_runtime(name.as_bytes(), setting), "{name}");
        }
    }
}
