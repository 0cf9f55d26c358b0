//! Whether this process is a launcher, or a rank's first program, in whose place `pyshm-run` is to be started. Asked once,
//! by the constructor, where there is no stage.
//!
//! What must stay true: the library is preloaded everywhere, so for any other program this costs a look at the name that
//! the kernel was given and one pass over the environment, and no system call.

use core::ffi::{CStr, c_char};

use pyshm_format::launch::{self, Context, Role};

use crate::base::env;
use crate::base::env::Strings;
use crate::base::text::at_last_slash;
use crate::launch::exec_pyshm_run;
use crate::stage::current::why_inert;
use crate::stage::inert::Inert;

/// Starts `pyshm-run` in this program's place if it is one of those. Returns if not, or if that does not work.
pub fn consider(argv: Strings) {
    // Programs that gain privileges, and PYSHM_DISABLE.
    if why_inert() <= Inert::Disabled as u8 {
        return;
    }
    // SAFETY: getauxval reads the process's own vector (AT_EXECFN: the kernel's own C string, or null).
    let file = unsafe { libc::getauxval(libc::AT_EXECFN) } as *const c_char;
    if file.is_null() {
        return;
    }
    // SAFETY: as above.
    let file = unsafe { CStr::from_ptr(file) };
    let path = file.to_bytes();
    // What is started by a descriptor, as our own helpers are, is nobody's first program.
    if path.starts_with(b"/proc/") || path.starts_with(b"/dev/fd/") {
        return;
    }
    let name = at_last_slash(path).map_or(path, |(_, rest)| rest.get(1..).unwrap_or_default());
    let (mut context, mut launched, mut bundles) = (Context::default(), None, false);
    // SAFETY: libc's environment, before the program can change it.
    for text in unsafe { env::strings(env::environ().cast_const().cast()) } {
        let text = text.to_bytes();
        context.add(text);
        if let Some(value) = env::value(text, launch::ENV_LAUNCHED.as_bytes()) {
            launched = launch::read_mark(value);
        } else if let Some(value) = env::value(text, launch::ENV_BUNDLES.as_bytes()) {
            bundles = !value.is_empty();
        }
    }
    match launch::role(name, context, launched, bundles) {
        Role::None => {}
        Role::Launcher => exec_pyshm_run::to_run(launch::AS_LAUNCHER, file, argv),
        Role::Rank => exec_pyshm_run::to_run(launch::AS_RANK, file, argv),
    }
}
