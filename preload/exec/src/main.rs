//! The trampoline: lies in the stage, on the node itself, and stands in PROGRAM's place on a launcher's command
//! line, so that not even the launcher's exec touches the shared file system.
//!
//! `pyshm-exec [--env] [--argv0 NAME] [--] PROGRAM ARGUMENTS…`
//!
//! It searches PATH in the index and starts the staged program under its original name with the shim preloaded, by
//! the same code as the shim's exec hooks; the shim need not be loaded here. `--env` reroutes by environment
//! variables instead, for programs the shim cannot enter. NAME is what PROGRAM is told that it is called. PROGRAM's environment is the launcher's; without a usable
//! stage PROGRAM is simply started.
//!
//! It is started once for every rank, so it has C's `main`: std's runtime would read `/proc/self/maps` before ours.
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

// Else std's unwinder comes from libgcc_s.so.1, one more library to look for in every rank.
#[link(name = "gcc_eh", kind = "static")]
unsafe extern "C" {}

/// The environment for `--env`.
type Variables = Vec<Vec<u8>>;

/// Entry point.
///
/// # Safety
/// Called by libc with the program's arguments.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn main(_argc: c_int, argv: Strings) -> c_int {
    let mut reroute = false;
    let mut own_name = ptr::null();
    let mut args = argv;
    // SAFETY: argv is a null-terminated array of C strings; nothing is read behind its null.
    let first = unsafe {
        loop {
            if (*args).is_null() {
                break None;
            }
            // The first is our own name.
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
        // SAFETY: the place of PROGRAM in our own argument array, which lies on the initial stack (execve(2)).
        unsafe { *args.cast_mut() = own_name };
    }
    // Who started this may have had another stage.
    // SAFETY: there are no other threads.
    unsafe { visible_env::restore(None) };
    let dir = own_stage();
    let error = match dir {
        // A program that may not be executed in the stage cannot be rerouted to it.
        Some(dir) if reroute && !is_elsewhere(&dir) => start_rerouted(&dir, program, args),
        dir => {
            if let Some(dir) = dir {
                stage::use_directory(&dir);
            }
            start(program, args, env::environ().cast_const().cast())
        }
    };
    let missing = matches!(error, libc::ENOENT | libc::ENOTDIR);
    // SAFETY: the program's own arguments.
    let error = if missing { unsafe { start_unstaged(program, args) } } else { error };
    let missing = matches!(error, libc::ENOENT | libc::ENOTDIR);
    let name = program.to_string_lossy();
    let _ = if missing && !program.to_bytes().contains(&b'/') {
        writeln!(std::io::stderr(), "pyshm-run: {name}: command not found")
    } else {
        // SAFETY: strerror gives a C string that lives until its next call.
        let text = unsafe { CStr::from_ptr(libc::strerror(error)) }.to_string_lossy();
        writeln!(std::io::stderr(), "pyshm-run: {name}: {text}")
    };
    if missing { 127 } else { 126 }
}

/// The stage this program lies in.
fn own_stage() -> Option<Vec<u8>> {
    let mut exe = fs::read_link("/proc/self/exe").ok()?.into_os_string().into_vec();
    exe.truncate(exe.strip_suffix(layout::TRAMPOLINE.as_bytes())?.strip_suffix(b"/")?.len());
    // Where the stage may not be executed from it lies elsewhere, beside a link back.
    let back = Path::new(std::ffi::OsStr::from_bytes(&exe)).join(layout::BACK);
    match fs::read_link(back) {
        Ok(stage) => Some(stage.into_os_string().into_vec()),
        Err(_) => Some(exe),
    }
}

/// Whether shim and trampoline lie outside the stage, because it is mounted `noexec`.
fn is_elsewhere(dir: &[u8]) -> bool {
    let link = Path::new(std::ffi::OsStr::from_bytes(dir)).join(layout::SHIM);
    link.parent().is_some_and(Path::is_symlink)
}

/// Starts a program as `execvp` does; the error number if it cannot.
fn start(program: &CStr, args: Strings, envp: Strings) -> c_int {
    // SAFETY: the program's own arguments and environment.
    unsafe {
        by_name::start_by_name(program.as_ptr(), args, envp, &mut |path, argv, envp| {
            sys::syscall(libc::SYS_execve, [path as usize, argv as usize, envp as usize, 0, 0, 0])
                .err()
                .unwrap_or(0)
        })
    }
}

/// Starts a program that the stage does not have although it exists, one that is younger than its bundle. Its files are
/// too, so it gets nothing from the stage. Returns the error number if there is none.
///
/// # Safety
/// `args` must be a null-terminated array of C strings with at least one.
unsafe fn start_unstaged(program: &CStr, args: Strings) -> c_int {
    let mut path: Option<CString> = None;
    let mut find = |candidate: *const c_char| {
        // SAFETY: a C string. This asks the kernel, not the index.
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
    let error = match name.contains(&b'/') {
        true => find(program.as_ptr()),
        false => by_name::search(name, &mut find),
    };
    let Some(path) = path else { return error };
    if is_first_rank() {
        let _ = writeln!(
            std::io::stderr(),
            "pyshm-run: warning: {} is not in its bundle: it runs without pyshm; pack the bundle anew",
            path.to_string_lossy()
        );
    }
    let os = |text: &CStr| std::ffi::OsStr::from_bytes(text.to_bytes()).to_os_string();
    // SAFETY: by the caller's word.
    let mut words = unsafe { env::strings(args) }.map(os);
    let mut command = Command::new(os(&path));
    command.arg0(words.next().unwrap_or_default()).args(words).env(layout::ENV_DISABLE, "1");
    command.exec().raw_os_error().unwrap_or(libc::ENOENT)
}

/// Whether this rank speaks for all, or is none.
fn is_first_rank() -> bool {
    let names = ["PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK", "SLURM_PROCID", "PALS_RANKID"];
    names.iter().find_map(std::env::var_os).is_none_or(|rank| rank == "0")
}

/// The same after applying the stage's `env` file.
fn start_rerouted(dir: &[u8], program: &CStr, args: Strings) -> c_int {
    // SAFETY: libc's environment, before there are threads.
    let mut variables: Variables = unsafe { env::strings(env::environ().cast_const().cast()) }
        .map(|s| s.to_bytes().to_vec())
        .collect();
    rerouted(
        &mut variables,
        &Path::new(std::ffi::OsStr::from_bytes(dir)).join(layout::ENVIRONMENT),
    );
    let variables: Vec<CString> =
        variables.into_iter().filter_map(|v| CString::new(v).ok()).collect();
    let pointers: Vec<*const c_char> =
        variables.iter().map(|v| v.as_ptr()).chain([ptr::null()]).collect();
    // PATH is looked up in the process's own environment. No stage was taken: nothing is redirected.
    // SAFETY: a null-terminated array of C strings that lives until the program ends or is replaced.
    unsafe { env::replace(pointers.as_ptr()) };
    stage::turn_off();
    let Some(staged) = staged(dir, program) else { return start(program, args, pointers.as_ptr()) };
    // A program that is named by its path is the staged one, and finds its own files beside itself by that name.
    // SAFETY: the arguments up to their null, the first of which is the program.
    let rest = unsafe { (1..).map(|i| *args.add(i)).take_while(|a| !a.is_null()) };
    let args: Vec<*const c_char> =
        [staged.as_ptr()].into_iter().chain(rest).chain([ptr::null()]).collect();
    start(&staged, args.as_ptr(), pointers.as_ptr())
}

/// The staged copy of a program that is named by an absolute path, if there is one.
fn staged(dir: &[u8], program: &CStr) -> Option<CString> {
    let name = program.to_bytes();
    let path = [dir, b"/", layout::FS.as_bytes(), name].concat();
    let exists = name.starts_with(b"/") && Path::new(std::ffi::OsStr::from_bytes(&path)).exists();
    if exists { CString::new(path).ok() } else { None }
}

/// Applies the stage's `env` file: `NAME=VALUE` sets, `NAME+=VALUE` puts in front with a colon, `NAME` unsets;
/// each ends with a NUL.
fn rerouted(variables: &mut Variables, file: &Path) {
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
