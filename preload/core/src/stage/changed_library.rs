//! Leads the dynamic loader to the original of a library that changed.
//!
//! The loader searches the stage's directories itself and asks no index, so marks do not reach it. Where the name of a
//! library is marked, the stage gets a symbolic link to the original in the place of its copy. A library that is made
//! gets one too. A process that has mapped or opened the copy keeps it.

use core::ffi::c_char;

use pyshm_format::{Entry, Kind};

use crate::base::buffer::Buffer;
use crate::base::sys;
use crate::base::text::{at_last_slash, decimal, join};
use crate::stage::mapped::Stage;

/// Whether a path may be a library's, by its name.
fn is_library(path: &[u8]) -> bool {
    let name = at_last_slash(path).map_or(path, |(_, name)| name);
    // `libx.so`, `libx.so.1`; not `x.sock`.
    name.windows(3)
        .enumerate()
        .any(|(at, w)| w == b".so" && matches!(name.get(at + 3), None | Some(b'.')))
}

/// The entry of the directory in which a path lies, if the stage has it and it is what was staged.
fn staged_parent(stage: &Stage, path: &[u8]) -> Option<Entry<'static>> {
    let (parent, _) = at_last_slash(path)?;
    let e = stage.index().lookup(parent)?;
    (e.kind() == Kind::Directory && !stage.view.entry_diverged(&e)).then_some(e)
}

/// Gives a staged directory the time back that shows that it is whole.
fn restore_time(e: &Entry<'static>) {
    let time = e.stat().mtime;
    // SAFETY: an entry's staged name is a C string.
    unsafe { sys::set_modified(e.staged().as_ptr().cast(), time.sec, time.nsec) };
}

/// Leads to the original of an entry that is about to change, or has changed.
pub fn lead_to_original(stage: &Stage, e: &Entry<'static>) {
    if is_library(e.path())
        && !stage.noexec
        && let Some(parent) = staged_parent(stage, e.path())
    {
        // Names of the index have a NUL behind them.
        replace(stage, e.path().as_ptr().cast(), e.staged().as_ptr().cast());
        restore_time(&parent);
    }
}

/// Leads to a library that the index does not have, in a directory that it has.
pub fn lead_to_new(stage: &Stage, path: &[u8]) {
    if is_library(path)
        && !stage.noexec
        && let Some(parent) = staged_parent(stage, path)
    {
        link(stage, path);
        restore_time(&parent);
    }
}

/// Puts a link in the place of a file, at once.
#[inline(never)]
fn replace(stage: &Stage, original: *const c_char, staged: *const c_char) {
    let mut name = Buffer::zeroed();
    let mut digits = [0; 10];
    let thread = decimal(sys::thread_number(), &mut digits);
    let parts = [stage.dir(), b"/link.", thread, b"\0"];
    if join(&mut name, &parts).is_none() {
        return;
    }
    let name: *const c_char = name.as_ptr().cast();
    // SAFETY: C strings.
    unsafe {
        // A killed process may have left a link of this name.
        sys::unlink(name);
        if sys::symlink(original, name).is_ok() && sys::rename(name, staged).is_err() {
            sys::unlink(name);
        }
    }
}

#[inline(never)]
fn link(stage: &Stage, path: &[u8]) {
    let mut name = Buffer::zeroed();
    let Some(()) = stage.staged_name(path, &mut name) else { return };
    let staged: *const c_char = name.as_ptr().cast();
    // The original's name is the tail of the staged one. If the stage has a file of this name, or no such directory,
    // the call fails, and nothing has to be done.
    // SAFETY: C strings.
    let _ = unsafe { sys::symlink(staged.add(stage.index().fs_len()), staged) };
}
