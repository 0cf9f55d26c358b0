//! The constructor.
//!
//! Other libraries' constructors may have called hooks before; they found the stage by themselves. What is done here
//! is what must happen before the program's `main`: real symbols are looked up while there is one thread, and the
//! environment gets its visible values.

use core::ffi::{c_char, c_int};

use libc::AT_FDCWD;
use pyshm_format::Kind;
use pyshm_format::layout::{ENV_SAVED_LIBRARY_PATH, ENV_SAVED_PRELOAD};
use pyshm_format::state::Mark;

use crate::exec::{Strings, start};
use crate::stage::{Stage, own_file, stage};
use crate::{env, hooks, sys};

#[used]
#[unsafe(link_section = ".init_array")]
static INIT: unsafe extern "C" fn(c_int, Strings, Strings) = init;

/// # Safety
/// Called by the loader, which passes what `main` gets.
unsafe extern "C" fn init(_argc: c_int, argv: Strings, _envp: Strings) {
    let stage = stage();
    if let Some(stage) = stage {
        restart(stage, argv);
        hooks::resolve();
    }
    let set = |name: &str| env::get(name.as_bytes()).is_some();
    if set("LD_PRELOAD") || set(ENV_SAVED_PRELOAD) || set(ENV_SAVED_LIBRARY_PATH) {
        let own = own_file().map_or(&b""[..], |own| own.to_bytes());
        // SAFETY: constructors of preloaded libraries run before the program can make threads.
        unsafe { env::restore(own) };
    }
}

/// Starts the staged copy of this program in its place, if it was started from the original by something that does
/// not have the shim. Returns if there is nothing to do or it does not work.
///
/// It cannot loop: a staged program's name is not under a prefix.
fn restart(stage: &Stage, argv: Strings) {
    let mut buf = [0u8; crate::route::PATH_MAX];
    // SAFETY: a C string; the kernel writes into `buf`.
    let n = unsafe {
        sys::readlinkat(
            AT_FDCWD,
            c"/proc/self/exe".as_ptr(),
            &mut buf[..crate::route::PATH_MAX - 1],
        )
    };
    let Some(exe) = n.ok().and_then(|n| buf.get(..n)) else { return };
    if stage.view.prefix_of(exe).is_none() {
        return;
    }
    let Some(e) = stage.view.index.lookup(exe) else { return };
    let changed = stage.view.diverged.has(Mark::Path, e.hash());
    // Without us in LD_PRELOAD (another way of preloading) the new program would not be ours.
    let named = env::get(b"LD_PRELOAD").is_some_and(|v| v.windows(11).any(|w| w == b"libpyshm.so"));
    if e.kind() != Kind::File
        || e.is_remote()
        || changed
        || stage.noexec
        || !named
        || argv.is_null()
    {
        return;
    }
    let envp: *const *const c_char = env::environ().cast_const().cast();
    // SAFETY: the program's own arguments and environment; an entry's path has a NUL behind it.
    unsafe {
        start(e.path().as_ptr().cast(), argv, envp, true, &mut |path, argv, envp| {
            // The original itself is what runs already: only another file is worth a start.
            if core::ffi::CStr::from_ptr(path).to_bytes() == e.staged() {
                let _ = sys::syscall(
                    libc::SYS_execve,
                    [path as usize, argv as usize, envp as usize, 0, 0, 0],
                );
            }
            libc::ENOEXEC
        });
    }
}
