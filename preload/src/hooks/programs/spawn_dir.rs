//! Tells in which directory a spawned child starts its program: file actions of posix_spawn may change it, and libc has no
//! function that reads them.
//!
//! glibc has kept the actions in this layout since 2.29, when it got those that change the directory (`posix/spawn_int.h`;
//! newer versions add kinds behind the others). Each pointer in it is checked before it is followed, and what is unknown
//! makes the answer unknown.

use core::ffi::{CStr, c_char, c_int, c_void};
use core::slice;

use libc::AT_FDCWD;
use pyshm_core::base::buffer::Buffer;
use pyshm_core::base::readable::is_readable;
use pyshm_core::base::text::put;
use pyshm_core::path::argument::bytes;

/// `posix_spawn_file_actions_t`.
#[repr(C)]
struct Actions {
    allocated: c_int,
    used: c_int,
    all: *const Action,
}

/// `struct __spawn_action`.
#[repr(C)]
struct Action {
    kind: c_int,
    /// Where a path or a descriptor is, depends on the kind.
    words: [usize; 3],
}

const DUP2: c_int = 1;
const OPEN: c_int = 2;
const CHDIR: c_int = 3;
const FCHDIR: c_int = 4;
/// Kinds that change no directory and open nothing: close, closefrom and tcsetpgrp.
const OTHERS: [c_int; 3] = [0, 5, 6];

/// More actions than this make the answer unknown.
const MOST: usize = 64;

impl Action {
    /// The number in the first place.
    fn first(&self) -> c_int {
        self.words[0] as u32 as c_int
    }

    /// The number behind the first one.
    fn second(&self) -> c_int {
        (self.words[0] >> 32) as u32 as c_int
    }
}

/// The directory of a child: a descriptor of the parent's, or AT_FDCWD, and a path from there.
pub(super) struct ChildDir {
    from: c_int,
    path: Buffer,
    len: usize,
}

/// Which directory a program is started in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Changes {
    /// That of the parent.
    No,
    /// Another one.
    Yes,
    /// That cannot be found out.
    Unknown,
}

/// The actions of a call.
///
/// # Safety
/// `actions` must be null or file actions of posix_spawn's.
unsafe fn list<'a>(actions: *const c_void) -> Option<&'a [Action]> {
    if actions.is_null() {
        return Some(&[]);
    }
    // SAFETY: the caller guarantees file actions, which hold as many as they say.
    unsafe {
        let Actions { allocated, used, all } = actions.cast::<Actions>().read();
        if used <= 0 {
            return Some(&[]);
        }
        let count = used as usize;
        let last = (all as usize).checked_add((count - 1).checked_mul(size_of::<Action>())?)?;
        let sound = allocated >= used
            && all.is_aligned()
            && count <= MOST
            && is_readable(all as usize, size_of::<Action>())
            && is_readable(last, size_of::<Action>());
        sound.then(|| slice::from_raw_parts(all, count))
    }
}

/// Whether file actions change the directory.
///
/// # Safety
/// As in [`list`].
pub(super) unsafe fn changes(actions: *const c_void) -> Changes {
    // SAFETY: the caller guarantees file actions.
    let Some(all) = (unsafe { list(actions) }) else { return Changes::Unknown };
    let known = |kind| matches!(kind, DUP2..=FCHDIR) || OTHERS.contains(&kind);
    if !all.iter().all(|action| known(action.kind)) {
        Changes::Unknown
    } else if all.iter().any(|action| matches!(action.kind, CHDIR | FCHDIR)) {
        Changes::Yes
    } else {
        Changes::No
    }
}

impl ChildDir {
    /// The directory after all actions. `None` if it cannot be found out.
    ///
    /// # Safety
    /// As in [`list`].
    pub(super) unsafe fn of(actions: *const c_void) -> Option<Self> {
        let mut dir = Self { from: AT_FDCWD, path: Buffer::zeroed(), len: 0 };
        // SAFETY: the caller guarantees file actions.
        unsafe {
            let all = list(actions)?;
            dir.after(all)?;
        }
        Some(dir)
    }

    /// The directory that a descriptor will be after all actions. `None` if it cannot be found out.
    ///
    /// # Safety
    /// As in [`list`].
    pub(super) unsafe fn of_descriptor(actions: *const c_void, fd: c_int) -> Option<Self> {
        let mut dir = Self { from: AT_FDCWD, path: Buffer::zeroed(), len: 0 };
        // SAFETY: the caller guarantees file actions.
        unsafe { dir.enter_descriptor(list(actions)?, fd)? };
        Some(dir)
    }

    /// A descriptor of the parent's, or AT_FDCWD, and the path from there, if there is one.
    pub(super) fn place(&mut self) -> (c_int, Option<&CStr>) {
        let end = self.len;
        if end == 0 {
            return (self.from, None);
        }
        if let Some(last) = self.path.get_mut(end) {
            *last = 0;
        }
        let path = self.path.get(..=end).and_then(|path| CStr::from_bytes_with_nul(path).ok());
        (self.from, path)
    }

    /// Goes where the child is after some actions.
    ///
    /// # Safety
    /// The actions must be those of a call.
    unsafe fn after(&mut self, actions: &[Action]) -> Option<()> {
        let moves = |action: &Action| matches!(action.kind, CHDIR | FCHDIR);
        let Some(last) = actions.iter().rposition(moves) else { return Some(()) };
        let (before, action) = (actions.get(..last)?, actions.get(last)?);
        // SAFETY: the caller guarantees the actions: a path is in the place of this kind.
        unsafe {
            match action.kind {
                CHDIR => self.enter(before, action.words[0] as *const c_char),
                _ => self.enter_descriptor(before, action.first()),
            }
        }
    }

    /// Goes to a path, from where the child is after some actions.
    ///
    /// # Safety
    /// As in [`after`](Self::after); `path` must be that of an action.
    unsafe fn enter(&mut self, before: &[Action], path: *const c_char) -> Option<()> {
        // SAFETY: the caller guarantees the actions, and `bytes` checks the pointer.
        unsafe {
            let path = bytes(path)?;
            if path.first() != Some(&b'/') {
                self.after(before)?;
            }
            self.add(path)
        }
    }

    /// Goes to the directory of a descriptor, as it is after some actions.
    ///
    /// # Safety
    /// As in [`after`](Self::after).
    unsafe fn enter_descriptor(&mut self, before: &[Action], fd: c_int) -> Option<()> {
        let makes = |action: &Action| {
            action.kind == OPEN && action.first() == fd
                || action.kind == DUP2 && action.second() == fd
        };
        let Some(last) = before.iter().rposition(makes) else {
            (self.from, self.len) = (fd, 0);
            return Some(());
        };
        let (before, action) = (before.get(..last)?, before.get(last)?);
        // SAFETY: the caller guarantees the actions: a path is in the place of this kind.
        unsafe {
            match action.kind {
                OPEN => self.enter(before, action.words[1] as *const c_char),
                _ => self.enter_descriptor(before, action.first()),
            }
        }
    }

    /// Goes from the directory to a path.
    fn add(&mut self, path: &[u8]) -> Option<()> {
        if path.first() == Some(&b'/') {
            (self.from, self.len) = (AT_FDCWD, 0);
        } else if self.len > 0 {
            self.len = put(&mut self.path, self.len, b"/")?;
        }
        self.len = put(&mut self.path, self.len, path)?;
        Some(())
    }

    /// Goes on to a file, whose place is given as in [`place`](Self::place). `None` if the path is too long.
    pub(super) fn enter_file(&mut self, file: &[u8]) -> Option<(c_int, &CStr)> {
        self.add(file)?;
        let (from, path) = self.place();
        Some((from, path?))
    }
}
