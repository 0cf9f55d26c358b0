//! The constructor.
//!
//! Other libraries' constructors may have called hooks before; they found the stage by themselves. What is done here
//! is what must happen before the program's `main`: what is loaded is remembered while nothing can be unloaded, and
//! the environment gets its visible values.

use core::ffi::{CStr, c_char, c_int};

use libc::AT_FDCWD;
use pyshm_format::Kind;
use pyshm_format::layout::{ENV_SAVED_LIBRARY_PATH, ENV_SAVED_PRELOAD};
use pyshm_format::state::Mark;

use pyshm_core::base::env;
use pyshm_core::base::env::Strings;
use pyshm_core::base::link_map;
use pyshm_core::base::scratch::PATH_MAX;
use pyshm_core::base::sys;
use pyshm_core::exec::start::start;
use pyshm_core::exec::visible_env;
use pyshm_core::launch::detect_launcher;
use pyshm_core::stage::current::stage;
use pyshm_core::stage::current::why_inert;
use pyshm_core::stage::inert::Inert;
use pyshm_core::stage::log;
use pyshm_core::stage::mapped::Stage;

#[used]
#[unsafe(link_section = ".init_array")]
static INIT: unsafe extern "C" fn(c_int, Strings, Strings) = init;

/// # Safety
/// Called by the loader, which passes what `main` gets.
unsafe extern "C" fn init(_argc: c_int, argv: Strings, _envp: Strings) {
    link_map::remember();
    let stage = stage();
    match stage {
        Some(stage) => restart(stage, argv),
        None if !inert(Inert::OtherLibc) => detect_launcher::consider(argv),
        None => {}
    }
    log::start(stage);
    // With another C library the child may be a program of glibc's, which needs what we would hide.
    if inert(Inert::OtherLibc) {
        return;
    }
    let set = |name: &str| env::get(name.as_bytes()).is_some();
    if set("LD_PRELOAD") || set(ENV_SAVED_PRELOAD) || set(ENV_SAVED_LIBRARY_PATH) {
        let own = link_map::own_file().map_or(&b""[..], |own| own.to_bytes());
        // SAFETY: constructors of preloaded libraries run before the program can make threads.
        unsafe { visible_env::restore(Some(own)) };
    }
    if inert(Inert::Container) {
        // SAFETY: the same.
        unsafe { visible_env::remove_shim() };
    }
}

fn inert(why: Inert) -> bool {
    why_inert() == why as u8
}

/// Starts the staged copy of this program in its place, if it was started from the original by something that does
/// not have the shim. Returns if there is nothing to do or it does not work.
///
/// It cannot loop: a staged program's name is not under a prefix.
fn restart(stage: &Stage, argv: Strings) {
    let name = started_as();
    if name.is_some_and(|name| stage.outsiders.has(name)) {
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

/// By which name the kernel was asked to start this program (getauxval(3), AT_EXECFN), if that says which file it is.
///
/// It can be a link into a prefix, so it alone does not decide. But no other call at a start takes the kernel as long as
/// saying which file it is, and a program that was outside every prefix once will be the next time.
fn started_as() -> Option<&'static [u8]> {
    // SAFETY: getauxval reads the process's own vector.
    let name = unsafe { libc::getauxval(libc::AT_EXECFN) } as *const c_char;
    // SAFETY: the kernel's own C string, or null.
    let name = (!name.is_null()).then(|| unsafe { CStr::from_ptr(name) }.to_bytes())?;
    // These mean something else in each process.
    let own = name.starts_with(b"/dev/fd/") || name.starts_with(b"/proc/");
    (name.first() == Some(&b'/') && !own).then_some(name)
}

#[inline(never)]
fn restart_long(stage: &Stage, argv: Strings, name: Option<&[u8]>) {
    let mut long = [0u8; PATH_MAX];
    let n = own_program(&mut long);
    restart_as(stage, argv, long.get(..n).unwrap_or_default(), name);
}

/// The file that this process runs; as many bytes of its path as fit.
fn own_program(to: &mut [u8]) -> usize {
    // SAFETY: a C string; the kernel writes into `to`.
    unsafe { sys::readlinkat(AT_FDCWD, c"/proc/self/exe".as_ptr(), to) }.unwrap_or(0)
}

fn restart_as(stage: &Stage, argv: Strings, exe: &[u8], name: Option<&[u8]>) {
    if stage.view.prefix_of(exe).is_some() {
        restart_staged(stage, argv, exe);
    } else if let Some(name) = name.filter(|_| !exe.is_empty()) {
        stage.outsiders.add(name);
    }
}

#[inline(never)]
fn restart_staged(stage: &Stage, argv: Strings, exe: &[u8]) {
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
