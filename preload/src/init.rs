//! The constructor.
//!
//! Another library's constructor may have called hooks before; they have found the stage. The constructor does what
//! must happen before the program's `main`: it remembers which objects are loaded, while none can be unloaded, and
//! restores the visible environment.

use core::ffi::{CStr, c_char, c_int};

use libc::AT_FDCWD;
use pyshm_core::base::env::{self, Strings};
use pyshm_core::base::scratch::PATH_MAX;
use pyshm_core::base::{link_map, sys};
use pyshm_core::exec::start::{Exchange, start};
use pyshm_core::exec::visible_env;
use pyshm_core::launch::detect_launcher;
use pyshm_core::stage::current::{stage, why_inert};
use pyshm_core::stage::inert::Inert;
use pyshm_core::stage::log;
use pyshm_core::stage::mapped::Stage;
use pyshm_format::Kind;
use pyshm_format::layout::{ENV_SAVED_LIBRARY_PATH, ENV_SAVED_PRELOAD};
use pyshm_format::state::Mark;

#[used]
#[unsafe(link_section = ".init_array")]
static INIT: unsafe extern "C" fn(c_int, Strings, Strings) = init;

/// # Safety
/// The loader calls it, with the arguments of `main`.
unsafe extern "C" fn init(_argc: c_int, argv: Strings, _envp: Strings) {
    if !link_map::remember() {
        return;
    }
    let stage = stage();
    match stage {
        Some(stage) => restart(stage, argv),
        None if !inert(Inert::OtherLibc) => {
            // SAFETY: the loader hands the constructor the program's arguments.
            unsafe { detect_launcher::consider(argv) }
        }
        None => {}
    }
    log::start(stage);
    // With another C library the program may start one of glibc, which needs what would be hidden here.
    if inert(Inert::OtherLibc) {
        return;
    }
    let set = |name: &str| env::get(name.as_bytes()).is_some();
    if set("LD_PRELOAD") || set(ENV_SAVED_PRELOAD) || set(ENV_SAVED_LIBRARY_PATH) {
        let own = link_map::own_file().map_or(&b""[..], |own| own.to_bytes());
        // SAFETY: constructors of preloaded libraries run before the program can start threads.
        unsafe { visible_env::restore(Some(own)) };
    }
    if inert(Inert::Container) {
        // SAFETY: as above.
        unsafe { visible_env::remove_shim() };
    }
}

/// Whether this is why the process has no stage.
fn inert(why: Inert) -> bool {
    why_inert() == why as u8
}

/// Starts the staged copy of this program in its place, if a process without the shim started the original. Returns if
/// that is not so, or if it fails.
///
/// It cannot loop: the path of a staged program is not under a prefix.
fn restart(stage: &Stage, argv: Strings) {
    let name = started_as();
    if name.is_some_and(|name| stage.outside_programs.has(name)) {
        return;
    }
    // A larger buffer would touch a page of the stack that most programs never use.
    let mut short = [0u8; 512];
    let n = own_program(&mut short);
    if n < short.len() {
        restart_as(stage, argv, short.get(..n).unwrap_or_default(), name);
    } else {
        restart_long(stage, argv, name);
    }
}

/// The name by which the kernel was asked to start this program (getauxval(3), AT_EXECFN), if it means the same file in
/// every process.
///
/// The name may be a link into a prefix, so it alone does not decide. But asking the kernel which file it is takes
/// longer than any other call at a start, and a program that was outside every prefix once will be the next time.
fn started_as() -> Option<&'static [u8]> {
    // SAFETY: getauxval reads the process's own vector.
    let name = unsafe { libc::getauxval(libc::AT_EXECFN) } as *const c_char;
    // SAFETY: null or a C string that the kernel wrote.
    let name = (!name.is_null()).then(|| unsafe { CStr::from_ptr(name) }.to_bytes())?;
    // Such a name means another file in each process.
    let own = name.starts_with(b"/dev/fd/") || name.starts_with(b"/proc/");
    (name.first() == Some(&b'/') && !own).then_some(name)
}

#[inline(never)]
fn restart_long(stage: &Stage, argv: Strings, name: Option<&[u8]>) {
    let mut long = [0u8; PATH_MAX];
    let n = own_program(&mut long);
    restart_as(stage, argv, long.get(..n).unwrap_or_default(), name);
}

/// Writes the path of the file that this process runs into `to`, as far as it fits; its length in bytes.
fn own_program(to: &mut [u8]) -> usize {
    // SAFETY: a C string; the kernel writes into `to`.
    unsafe { sys::readlinkat(AT_FDCWD, c"/proc/self/exe".as_ptr(), to) }.unwrap_or(0)
}

/// Restarts the program at `exe`, started as `name`, if it lies under a prefix; else remembers that it does not.
fn restart_as(stage: &Stage, argv: Strings, exe: &[u8], name: Option<&[u8]>) {
    if stage.view.prefix_of(exe).is_some() {
        restart_staged(stage, argv, exe);
    } else if let Some(name) = name.filter(|_| !exe.is_empty()) {
        stage.outside_programs.add(name);
    }
}

#[inline(never)]
fn restart_staged(stage: &Stage, argv: Strings, exe: &[u8]) {
    let Some(e) = stage.view.index.lookup(exe) else { return };
    let changed = stage.view.diverged.has(Mark::Path, e.hash());
    // If the shim was preloaded in another way than by LD_PRELOAD, the new program would not have it.
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
        start(e.path().as_ptr().cast(), argv, envp, Exchange::Program, &mut |path, argv, envp| {
            // The original runs already, so only the staged file is worth a start.
            if CStr::from_ptr(path).to_bytes() == e.staged() {
                let _ = sys::syscall(
                    libc::SYS_execve,
                    [path as usize, argv as usize, envp as usize, 0, 0, 0],
                );
            }
            libc::ENOEXEC
        });
    }
}
