//! The trampoline: starts the staged PROGRAM. The trampoline lies in the stage and stands in PROGRAM's place on a
//! launcher's command line, so that not even the launcher's exec touches the shared file system.
//!
//! `pyshm-exec [--env] [--argv0 NAME] [--] PROGRAM ARGUMENTS…`
//!
//! The trampoline searches the index for PROGRAM along PATH, and starts the staged file under its original name with
//! the shim preloaded. The trampoline shares the code of the shim's exec hooks but does not load the shim into itself.
//! For a program that the shim cannot enter, `--env` uses environment variables instead of the shim: they lead PROGRAM
//! into the stage. NAME becomes PROGRAM's `argv[0]`. PROGRAM gets the launcher's environment. Without a usable stage
//! the trampoline starts the original PROGRAM.
//!
//! The trampoline is started once for every rank. So it has C's `main`, because std's runtime would first read
//! `/proc/self/maps`.
#![no_main]

use std::ffi::{CStr, CString, c_char, c_int};
use std::io::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::{fs, ptr};

use pyshm_format::layout;

use pyshm_core::base::env::Strings;
use pyshm_core::base::{env, sys};
use pyshm_core::exec::{by_name, visible_env};
use pyshm_core::stage::current as stage;

// Without this, std's unwinder would come from libgcc_s.so.1, which every rank would have to search for.
#[link(name = "gcc_eh", kind = "static")]
unsafe extern "C" {}

/// A copy of the environment, which `--env` changes.
type Variables = Vec<Vec<u8>>;

/// Starts PROGRAM. Returns only if the start fails: 2 for wrong usage, 127 if PROGRAM is missing, else 126.
///
/// # Safety
/// Only libc may call this, with the program's arguments.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn main(_argc: c_int, argv: Strings) -> c_int {
    let mut reroute = false;
    let mut own_name = ptr::null();
    let mut args = argv;
    // SAFETY: argv is a null-terminated array of C strings, and nothing behind its null is read.
    let first = unsafe {
        loop {
            if (*args).is_null() {
                break None;
            }
            // The first argument is the trampoline's own name.
            args = args.add(1);
            if (*args).is_null() {
                break None;
            }
            match CStr::from_ptr(*args).to_bytes() {
                b"--env" => reroute = true,
                b"--argv0" if !(*args.add(1)).is_null() => {
                    args = args.add(1);
                    own_name = *args;
                }
                b"--" => {
                    args = args.add(1);
                    break (!(*args).is_null()).then(|| CStr::from_ptr(*args));
                }
                _ => break Some(CStr::from_ptr(*args)),
            }
        }
    };
    let Some(program) = first else {
        let usage = "usage: pyshm-exec [--env] [--argv0 NAME] [--] PROGRAM ARGUMENTS...";
        let _ = writeln!(std::io::stderr(), "{usage}");
        return 2;
    };
    if !own_name.is_null() {
        // SAFETY: this is PROGRAM's place in this program's own arguments, which lie on the initial stack (execve(2)).
        unsafe { *args.cast_mut() = own_name };
    }
    // The process that started the trampoline may have had another stage. Then LD_PRELOAD still names the shim of that
    // other stage.
    // SAFETY: no other thread runs.
    unsafe { visible_env::restore(None) };
    let dir = own_stage();
    let error = match dir {
        // In a `noexec` stage no program can be executed, so `--env` has no effect there.
        Some(dir) if reroute && !is_outside_stage(&dir) => start_rerouted(&dir, program, args),
        dir => {
            if let Some(dir) = dir {
                stage::use_directory(&dir);
            }
            start(program, args, env::environ().cast_const().cast())
        }
    };
    let missing = matches!(error, libc::ENOENT | libc::ENOTDIR);
    // SAFETY: these are the program's own arguments.
    let error = if missing { unsafe { start_unstaged(program, args) } } else { error };
    let missing = matches!(error, libc::ENOENT | libc::ENOTDIR);
    let name = program.to_string_lossy();
    let _ = if missing && !program.to_bytes().contains(&b'/') {
        writeln!(std::io::stderr(), "pyshm-run: {name}: command not found")
    } else {
        // SAFETY: strerror returns a C string that lives until its next call.
        let text = unsafe { CStr::from_ptr(libc::strerror(error)) }.to_string_lossy();
        writeln!(std::io::stderr(), "pyshm-run: {name}: {text}")
    };
    if missing { 127 } else { 126 }
}

/// The stage that contains this program.
fn own_stage() -> Option<Vec<u8>> {
    let mut exe = fs::read_link("/proc/self/exe").ok()?.into_os_string().into_vec();
    exe.truncate(exe.strip_suffix(layout::TRAMPOLINE.as_bytes())?.strip_suffix(b"/")?.len());
    // For a `noexec` stage, the trampoline lies elsewhere, beside a link back to the stage.
    let back = Path::new(std::ffi::OsStr::from_bytes(&exe)).join(layout::BACK);
    match fs::read_link(back) {
        Ok(stage) => Some(stage.into_os_string().into_vec()),
        Err(_) => Some(exe),
    }
}

/// Whether the shim and the trampoline lie outside the stage, because the stage is mounted `noexec`.
fn is_outside_stage(dir: &[u8]) -> bool {
    let link = Path::new(std::ffi::OsStr::from_bytes(dir)).join(layout::SHIM);
    link.parent().is_some_and(Path::is_symlink)
}

/// Starts a program as `execvp` does. Returns an error number if the start fails.
fn start(program: &CStr, args: Strings, envp: Strings) -> c_int {
    // SAFETY: these are the program's own arguments and environment.
    unsafe {
        by_name::start_by_name(program.as_ptr(), args, envp, &mut |path, argv, envp| {
            sys::syscall(libc::SYS_execve, [path as usize, argv as usize, envp as usize, 0, 0, 0])
                .err()
                .unwrap_or(0)
        })
    }
}

/// Starts a program that is on the shared file system but not in the stage, because it was installed after the bundle
/// was packed. Other files that the program uses may be missing from the stage too, so the program runs without pyshm.
/// Returns an error number if the start fails.
///
/// # Safety
/// `args` must be a null-terminated array of C strings with at least one.
unsafe fn start_unstaged(program: &CStr, args: Strings) -> c_int {
    let mut path: Option<CString> = None;
    let mut find = |candidate: *const c_char| {
        // The kernel is asked, not the index. SAFETY: a C string.
        match unsafe { sys::faccessat(libc::AT_FDCWD, candidate, libc::X_OK, 0) } {
            Ok(_) => {
                // SAFETY: a C string.
                path = Some(unsafe { CStr::from_ptr(candidate) }.to_owned());
                0
            }
            Err(error) => error,
        }
    };
    let name = program.to_bytes();
    let error = if name.contains(&b'/') {
        find(program.as_ptr())
    } else {
        by_name::search(name, &mut find)
    };
    let Some(path) = path else { return error };
    if is_first_rank() {
        let _ = writeln!(
            std::io::stderr(),
            "pyshm-run: warning: {} is not in its bundle: it runs without pyshm; pack the bundle again",
            path.to_string_lossy()
        );
    }
    let os = |text: &CStr| std::ffi::OsStr::from_bytes(text.to_bytes()).to_os_string();
    // SAFETY: the caller guarantees a null-terminated array.
    let mut words = unsafe { env::strings(args) }.map(os);
    let mut command = Command::new(os(&path));
    command.arg0(words.next().unwrap_or_default()).args(words).env(layout::ENV_DISABLE, "1");
    command.exec().raw_os_error().unwrap_or(libc::ENOENT)
}

/// Whether this process is the one that prints a message for all ranks: the first rank, or a process that is no rank.
fn is_first_rank() -> bool {
    let names = [
        "PMI_RANK",
        "PMIX_RANK",
        "OMPI_COMM_WORLD_RANK",
        "SLURM_PROCID",
        "PALS_RANKID",
        "FLUX_TASK_RANK",
        "JSM_NAMESPACE_RANK",
    ];
    names.iter().find_map(std::env::var_os).is_none_or(|rank| rank == "0")
}

/// Starts a program in an environment that the stage's `env` file has changed. Returns an error number if the start
/// fails.
fn start_rerouted(dir: &[u8], program: &CStr, args: Strings) -> c_int {
    // SAFETY: this is libc's environment, and no other thread runs.
    let mut variables: Variables = unsafe { env::strings(env::environ().cast_const().cast()) }
        .map(|s| s.to_bytes().to_vec())
        .collect();
    apply_env_file(
        &mut variables,
        &Path::new(std::ffi::OsStr::from_bytes(dir)).join(layout::ENVIRONMENT),
    );
    let variables: Vec<CString> =
        variables.into_iter().filter_map(|v| CString::new(v).ok()).collect();
    let pointers: Vec<*const c_char> =
        variables.iter().map(|v| v.as_ptr()).chain([ptr::null()]).collect();
    // `start` reads PATH from the process's own environment. Once the stage is turned off, `start` redirects nothing.
    // SAFETY: the null-terminated array of C strings lives until the program ends or is replaced.
    unsafe { env::replace(pointers.as_ptr()) };
    stage::turn_off();
    let Some(staged) = staged(dir, program) else { return start(program, args, pointers.as_ptr()) };
    // A program that is named by an absolute path gets its staged path as `argv[0]`, so that the program finds the
    // staged files in its own directory.
    // SAFETY: the first argument is the program, so reading starts at the second and ends at the null.
    let rest = unsafe { (1..).map(|i| *args.add(i)).take_while(|a| !a.is_null()) };
    let args: Vec<*const c_char> =
        [staged.as_ptr()].into_iter().chain(rest).chain([ptr::null()]).collect();
    start(&staged, args.as_ptr(), pointers.as_ptr())
}

/// The staged copy of a program that is named by an absolute path. `None` if there is none.
fn staged(dir: &[u8], program: &CStr) -> Option<CString> {
    let name = program.to_bytes();
    let path = [dir, b"/", layout::FS.as_bytes(), name].concat();
    let exists = name.starts_with(b"/") && Path::new(std::ffi::OsStr::from_bytes(&path)).exists();
    if exists { CString::new(path).ok() } else { None }
}

/// Applies the stage's `env` file. Each item ends with a NUL. `NAME=VALUE` sets a variable, `NAME+=VALUE` puts VALUE
/// and a colon in front of the variable's value, and `NAME` unsets the variable.
fn apply_env_file(variables: &mut Variables, file: &Path) {
    let Ok(text) = fs::read(file) else { return };
    for line in text.split(|&b| b == 0).filter(|l| !l.is_empty()) {
        let Some(equals) = line.iter().position(|&b| b == b'=') else {
            unset(variables, line);
            continue;
        };
        let (name, new) = (&line[..equals], &line[equals + 1..]);
        let (name, new) = match name.strip_suffix(b"+") {
            Some(name) => match value(variables, name) {
                Some(old) if !old.is_empty() => (name, [new, b":", old].concat()),
                _ => (name, new.to_vec()),
            },
            None => (name, new.to_vec()),
        };
        let text = [name, b"=", &new].concat();
        match variables.iter_mut().find(|s| is(s, name)) {
            Some(old) => *old = text,
            None => variables.push(text),
        }
    }
}

fn is(variable: &[u8], name: &[u8]) -> bool {
    variable.strip_prefix(name).is_some_and(|rest| rest.first() == Some(&b'='))
}

fn value<'a>(variables: &'a Variables, name: &[u8]) -> Option<&'a [u8]> {
    variables.iter().find(|s| is(s, name)).map(|s| &s[name.len() + 1..])
}

fn unset(variables: &mut Variables, name: &[u8]) -> bool {
    let before = variables.len();
    variables.retain(|s| !is(s, name));
    variables.len() < before
}
