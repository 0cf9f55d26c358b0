//! Decides whether this process is a launcher, or a rank's first program, in whose place `pyshm-run` is to be started.
//! The constructor asks once, if the process has no stage.
//!
//! Invariant: the library may be preloaded into every program, so in any other program this costs a look at the name
//! that the kernel was given and one pass over the environment, and no system call.

use core::ffi::{CStr, c_char};

use pyshm_format::launch::{self, Bundles, Context, Role};

use crate::base::env::{self, Strings};
use crate::base::text::at_last_slash;
use crate::launch::exec_pyshm_run::exec_pyshm_run;
use crate::stage::current::why_inert;
use crate::stage::inert::Inert;

/// Starts `pyshm-run` in this program's place if it is a launcher or a rank. Returns if it is neither, or if that
/// fails.
///
/// # Safety
/// `argv` must be the arguments of this program.
pub unsafe fn consider(argv: Strings) {
    // The program gains privileges, or PYSHM_DISABLE is set.
    if why_inert() <= Inert::Disabled as u8 {
        return;
    }
    // SAFETY: getauxval reads the process's own vector (AT_EXECFN: the kernel's own C string, or null).
    let file = unsafe { libc::getauxval(libc::AT_EXECFN) } as *const c_char;
    if file.is_null() {
        return;
    }
    // SAFETY: a C string that the kernel wrote.
    let file = unsafe { CStr::from_ptr(file) };
    let path = file.to_bytes();
    // pyshm's own helpers are started by a descriptor; such a program is no rank's first one.
    if path.starts_with(b"/proc/") || path.starts_with(b"/dev/fd/") {
        return;
    }
    let name = at_last_slash(path).map_or(path, |(_, rest)| rest.get(1..).unwrap_or_default());
    let (mut context, mut launched, mut bundles) = (Context::default(), None, Bundles::None);
    // SAFETY: libc's environment, before the program can change it.
    for text in unsafe { env::strings(env::environ().cast_const().cast()) } {
        let text = text.to_bytes();
        context.add(text);
        if let Some(value) = env::value(text, launch::ENV_LAUNCHED.as_bytes()) {
            launched = launch::read_mark(value);
        } else if let Some(value) = env::value(text, launch::ENV_BUNDLES.as_bytes()) {
            bundles = if value.is_empty() { Bundles::None } else { Bundles::Named };
        }
    }
    match launch::role(name, context, launched, bundles) {
        Role::None => {}
        // SAFETY: the caller guarantees the arguments.
        Role::Launcher => unsafe { exec_pyshm_run(launch::AS_LAUNCHER, file, argv) },
        // SAFETY: as above.
        Role::Rank => unsafe { exec_pyshm_run(launch::AS_RANK, file, argv) },
    }
}
