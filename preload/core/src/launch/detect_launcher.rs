//! Recognises a launcher or a rank's first program, and starts `pyshm-run` in its place. The constructor calls this
//! once, if the process has no stage.
//!
//! Invariant: in any other program the check only looks at the program's name and passes once over the environment. It
//! makes no system call, because the library may be preloaded into every program.

use core::ffi::{CStr, c_char};

use pyshm_format::launch::{self, Bundles, Context, Role};

use crate::base::env::{self, Strings};
use crate::base::text::at_last_slash;
use crate::launch::exec_pyshm_run::exec_pyshm_run;
use crate::stage::current::why_inert;
use crate::stage::inert::Inert;

/// Starts `pyshm-run` in this program's place if the program is a launcher or a rank. Returns if the program is
/// neither, or if the start fails.
///
/// # Safety
/// `argv` must be the arguments of this program.
pub unsafe fn consider(argv: Strings) {
    // The shim does nothing if the program gains privileges or PYSHM_DISABLE is set.
    if why_inert() <= Inert::Disabled as u8 {
        return;
    }
    // SAFETY: getauxval reads the process's own vector, where AT_EXECFN is a C string of the kernel's or null.
    let file = unsafe { libc::getauxval(libc::AT_EXECFN) } as *const c_char;
    if file.is_null() {
        return;
    }
    // SAFETY: the kernel wrote the name as a C string.
    let file = unsafe { CStr::from_ptr(file) };
    let path = file.to_bytes();
    // A path of a descriptor shows that pyshm started one of its own helpers. A helper is not a rank's first program.
    if path.starts_with(b"/proc/") || path.starts_with(b"/dev/fd/") {
        return;
    }
    let name = at_last_slash(path).map_or(path, |(_, rest)| rest.get(1..).unwrap_or_default());
    let (mut context, mut launched, mut bundles) = (Context::default(), None, Bundles::None);
    // SAFETY: this is libc's environment, before the program can change it.
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
