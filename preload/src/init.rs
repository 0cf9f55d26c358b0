//! Runs as the library's constructor.
//!
//! If another library's constructor called a hook before, that hook has found the stage. This constructor does the work
//! that must be done before the program's `main`. It remembers which objects are loaded, while none of them can be
//! unloaded. If the program is the original of a staged program, the constructor starts the staged copy in the
//! program's place. If the program is a launcher or rank that needs a stage first, the constructor starts `pyshm-run`
//! in the program's place. Otherwise the constructor restores the visible environment.

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
/// Only the loader may call this, with the arguments of `main`.
unsafe extern "C" fn init(_argc: c_int, argv: Strings, _envp: Strings) {
    link_map::remember();
    let stage = stage();
    match stage {
        Some(stage) => restart(stage, argv),
        None if !inert(Inert::OtherLibc) => {
            // SAFETY: the loader passes the program's arguments to the constructor.
            unsafe { detect_launcher::consider(argv) }
        }
        None => {}
    }
    log::start(stage);
    // A program with another C library may start a glibc program, which needs the variables that the rest of this
    // function would remove.
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

/// Whether `why` is the reason why the process has no stage.
fn inert(why: Inert) -> bool {
    why_inert() == why as u8
}

/// Starts the staged copy of this program in this process, if a process without the shim started the original. Returns
/// if the program is not such an original, or if the start fails.
///
/// This cannot loop, because the path of a staged program is not under a prefix.
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

/// The name by which the kernel was asked to start this program (getauxval(3), AT_EXECFN). `None` if the name may mean
/// another file in another process.
///
/// The name may be a link into a prefix, so only the kernel knows which file the name means. Asking the kernel takes
/// longer than any other call at a start. So the answer "outside every prefix" is remembered by name for later starts.
fn started_as() -> Option<&'static [u8]> {
    // SAFETY: getauxval reads the process's own vector.
    let name = unsafe { libc::getauxval(libc::AT_EXECFN) } as *const c_char;
    // SAFETY: the name is not null, so the kernel wrote a C string there.
    let name = (!name.is_null()).then(|| unsafe { CStr::from_ptr(name) }.to_bytes())?;
    // These names mean another file in each process.
    let own = name.starts_with(b"/dev/fd/") || name.starts_with(b"/proc/");
    (name.first() == Some(&b'/') && !own).then_some(name)
}

#[inline(never)]
fn restart_long(stage: &Stage, argv: Strings, name: Option<&[u8]>) {
    let mut long = [0u8; PATH_MAX];
    let n = own_program(&mut long);
    restart_as(stage, argv, long.get(..n).unwrap_or_default(), name);
}

/// Writes the path of this process's program file into `to` and returns the path's length in bytes. A longer path is
/// cut off.
fn own_program(to: &mut [u8]) -> usize {
    // SAFETY: the path is a C string, and the kernel writes only into `to`.
    unsafe { sys::readlinkat(AT_FDCWD, c"/proc/self/exe".as_ptr(), to) }.unwrap_or(0)
}

/// Restarts the program at `exe` if `exe` lies under a prefix. Otherwise remembers that the program that is started as
/// `name` lies outside every prefix.
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
    // If the shim was not preloaded by LD_PRELOAD (but by /etc/ld.so.preload, say), the restarted program would not get
    // the shim.
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
    // SAFETY: these are the program's own arguments and environment, and an entry's path has a NUL behind it.
    unsafe {
        start(e.path().as_ptr().cast(), argv, envp, Exchange::Program, &mut |path, argv, envp| {
            // The original is this program, which already runs. So only the staged file is started.
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
