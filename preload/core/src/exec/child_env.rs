//! Makes the environment for a child, which differs from the visible one ([`crate::exec::visible_env`]).

use core::ffi::{CStr, c_char, c_int};

use pyshm_format::Kind;
use pyshm_format::layout::{
    ENV_CONTAINERS, ENV_DISABLE, ENV_SAVED_LIBRARY_PATH, ENV_SAVED_PRELOAD, SHIM,
};

use crate::base::arena::{self, Arena};
use crate::base::env::{Strings, strings, value};
use crate::base::scratch::Scratch;
use crate::base::sys;
use crate::decide::view::{Follow, Found};
use crate::decide::walk::walk;
use crate::exec::visible_env::{PRELOAD, elements, is_shim};
use crate::path::argument::bytes;
use crate::stage::containers;
use crate::stage::mapped::Stage;

const LIBRARY_PATH: &[u8] = b"LD_LIBRARY_PATH";
/// Separators of the elements of `LD_PRELOAD`, `LD_LIBRARY_PATH`, or both.
const SEPARATORS: &[u8] = b":; ";

/// An upper bound for the number of bytes that [`environment`] takes from an arena.
///
/// # Safety
/// `envp` must be null or a null-terminated array of C strings.
pub unsafe fn room(stage: &Stage, envp: *const *const c_char) -> usize {
    let mut bytes = 512 + stage.dir().len();
    // SAFETY: the caller guarantees a null-terminated array of C strings.
    for s in unsafe { strings(envp) } {
        bytes += 8;
        let text = s.to_bytes();
        if let Some(list) = value(text, PRELOAD).or(value(text, LIBRARY_PATH)) {
            let elements = 1 + list.iter().filter(|b| SEPARATORS.contains(b)).count();
            bytes += 2 * text.len() + elements * (stage.index().fs_len() + longest(stage, list));
        }
    }
    bytes
}

/// An upper bound for the number of bytes by which an element of a list can grow in addition to `<stage>/fs`, because a
/// symbolic link or an alias may stand for a longer path.
fn longest(stage: &Stage, list: &[u8]) -> usize {
    if list.split(|b| SEPARATORS.contains(b)).any(|d| stage.view.prefix_of(d).is_some()) {
        1024
    } else {
        0
    }
}

/// Makes the environment for a child. Gives `envp` itself if nothing has to differ, and `None` if `arena` is too small.
///
/// # Safety
/// `envp` must be null or a null-terminated array of C strings that outlive the result.
pub unsafe fn environment(
    stage: &Stage,
    envp: *const *const c_char,
    arena: &mut Arena<'_>,
) -> Option<*const *const c_char> {
    let (mut count, mut preload, mut dirs) = (0, None, None);
    // SAFETY: the caller guarantees a null-terminated array of C strings.
    for s in unsafe { strings(envp) } {
        let text = s.to_bytes();
        if value(text, ENV_DISABLE.as_bytes()).is_some_and(|v| !matches!(v, b"" | b"0")) {
            return Some(envp);
        }
        if let Some(v) = value(text, PRELOAD) {
            preload = preload.or(Some((count, v)));
        } else if let Some(v) = value(text, LIBRARY_PATH) {
            dirs = dirs.or(Some((count, v)));
        }
        count += 1;
    }
    let named = preload.is_some_and(|(_, v)| elements(v).next().is_some_and(|e| stage.is_shim(e)));
    // On a noexec stage, libraries cannot be mapped executable, so the loader gets the originals.
    let dirs = dirs.filter(|(_, v)| {
        !stage.noexec
            && v.split(|&b| b == b':' || b == b';').any(|d| stage.view.prefix_of(d).is_some())
    });
    if (named && dirs.is_none()) || !stage.shim_exists() {
        return Some(envp);
    }
    let array = arena.array(count + 4)?;
    // SAFETY: the caller guarantees a null-terminated array of C strings.
    for (to, s) in array.iter_mut().zip(unsafe { strings(envp) }) {
        *to = s.as_ptr();
    }
    let mut end = count;
    if !named {
        let others = preload.map_or(&b""[..], |(_, v)| v);
        let ours = preload_string(stage, others, arena)?;
        match preload {
            Some((at, visible)) => {
                *array.get_mut(at)? = ours;
                *array.get_mut(end)? =
                    arena.string(&[ENV_SAVED_PRELOAD.as_bytes(), b"=", visible])?;
            }
            None => *array.get_mut(end)? = ours,
        }
        end += 1;
    }
    if let Some((at, visible)) = dirs {
        *array.get_mut(at)? = library_path(stage, visible, arena)?;
        *array.get_mut(end)? = arena.string(&[ENV_SAVED_LIBRARY_PATH.as_bytes(), b"=", visible])?;
    }
    Some(array.as_ptr())
}

/// Makes an `LD_PRELOAD` with the staged shim in front and no other copy of the shim.
fn preload_string(stage: &Stage, others: &[u8], arena: &mut Arena<'_>) -> Option<*const c_char> {
    let others = elements(others).filter(|e| !is_shim(e));
    let others = others.flat_map(|e| [b":", library(stage, e).unwrap_or(e)]);
    arena.string_of([PRELOAD, b"=", stage.dir(), b"/", SHIM.as_bytes()].into_iter().chain(others))
}

/// Calls `run` with an environment without the shim if `program` is a container runtime. `None` for any other program.
///
/// # Safety
/// `program` must be a C string or a pointer that the kernel refuses, and `envp` as execve requires.
pub unsafe fn without_shim(
    program: *const c_char,
    envp: Strings,
    run: &mut dyn FnMut(Strings) -> c_int,
) -> Option<c_int> {
    // SAFETY: the caller guarantees a null-terminated array of C strings.
    unsafe {
        let setting = strings(envp).find_map(|s| value(s.to_bytes(), ENV_CONTAINERS.as_bytes()));
        if !containers::is_runtime(bytes(program)?, setting) {
            return None;
        }
        let room = strings(envp).map(|s| 8 + 2 * shimmed(s).map_or(0, <[u8]>::len)).sum::<usize>();
        let done = arena::with(room + 512, |arena| {
            let array = arena.array(strings(envp).count() + 1)?;
            let mut places = array.iter_mut();
            for s in strings(envp) {
                let variable = match shimmed(s) {
                    Some(list) if elements(list).all(is_shim) => continue,
                    Some(list) => others_alone(list, arena)?,
                    None => s.as_ptr(),
                };
                *places.next()? = variable;
            }
            Some(run(array.as_ptr()))
        });
        Some(done.flatten().unwrap_or_else(|| run(envp)))
    }
}

/// The value of a variable if it is `LD_PRELOAD` and lists the shim.
fn shimmed(variable: &CStr) -> Option<&[u8]> {
    value(variable.to_bytes(), PRELOAD).filter(|list| elements(list).any(is_shim))
}

/// Makes an `LD_PRELOAD` without the shim.
fn others_alone(list: &[u8], arena: &mut Arena<'_>) -> Option<*const c_char> {
    let others = elements(list).filter(|e| !is_shim(e)).enumerate();
    let others = others.flat_map(|(i, e)| [if i > 0 { b":" } else { &b""[..] }, e]);
    arena.string_of([PRELOAD, b"="].into_iter().chain(others))
}

/// The staged copy of a library under a prefix. `None` if the library is not under a prefix or the stage no longer has
/// the copy.
fn library(stage: &Stage, name: &[u8]) -> Option<&'static [u8]> {
    if name.first() != Some(&b'/') || stage.noexec {
        return None;
    }
    let Found::Entry(e) = find(stage, name) else { return None };
    if e.kind() != Kind::File || e.is_remote() {
        return None;
    }
    // SAFETY: a name of the index is a C string.
    unsafe { sys::faccessat(libc::AT_FDCWD, e.staged().as_ptr().cast(), libc::R_OK, 0) }.ok()?;
    Some(e.staged())
}

/// Makes an `LD_LIBRARY_PATH` with the stage's directories in place of directories under a prefix. A directory that
/// does not exist is left out, because the loader would look for that directory on the shared file system. An empty
/// element, which means the working directory, stays.
fn library_path(stage: &Stage, dirs: &[u8], arena: &mut Arena<'_>) -> Option<*const c_char> {
    let dirs = dirs.split(|&b| b == b':' || b == b';').filter_map(|dir| directory(stage, dir));
    // Each element except the first gets a colon in front.
    let dirs = dirs.enumerate().flat_map(|(i, dir)| [if i > 0 { b":" } else { &b""[..] }, dir]);
    arena.string_of([LIBRARY_PATH, b"="].into_iter().chain(dirs))
}

/// The directory that replaces `dir` in a search path. `None` if `dir` does not exist.
fn directory<'a>(stage: &Stage, dir: &'a [u8]) -> Option<&'a [u8]> {
    if dir.first() != Some(&b'/') {
        return Some(dir);
    }
    match find(stage, dir) {
        Found::Entry(e) if !stage.view.listing_diverged(&e) => Some(e.staged()),
        Found::Absent { .. } => None,
        _ => Some(dir),
    }
}

/// Finds where a path leads.
#[inline(never)]
fn find(stage: &Stage, dir: &[u8]) -> Found<'static> {
    match stage.view.find_fast(dir, Follow::Yes) {
        Some(found) => found,
        None => walk(&stage.view, dir, Follow::Yes, &mut Scratch::zeroed()).found,
    }
}
