//! Finds the stage's directory, checks that it belongs to this user, and maps its files.
//!
//! Invariant: the shim trusts only a directory that belongs to the effective user and that nobody else may write. The
//! user can still change the files after they are mapped. If the user truncates a mapped file, the kernel kills the
//! processes that read the missing part.

use core::slice;
use core::sync::atomic::AtomicU64;

use pyshm_format::index::FLAG_NOEXEC;
use pyshm_format::{Diverged, Index, OutsidePrograms, layout, state};

use crate::base::sys::{Access, Ids};
use crate::base::text::join;
use crate::base::{env, link_map, sys};
use crate::decide::view::View;
use crate::stage::containers;
use crate::stage::inert::Inert;
use crate::stage::mapped::{STAGE_MAX, Stage};

/// Whether this process may use a stage at all.
pub fn allowed() -> Result<(), Inert> {
    // SAFETY: getauxval reads the process's own vector.
    if unsafe { libc::getauxval(libc::AT_SECURE) } != 0 {
        return Err(Inert::Privileged);
    }
    if containers::is_this_program() {
        return Err(Inert::Container);
    }
    match env::get(layout::ENV_DISABLE.as_bytes()) {
        None | Some(b"" | b"0") => Ok(()),
        Some(_) => Err(Inert::Disabled),
    }
}

/// The directory where the stage should be: the value of `PYSHM_STAGE`, else the stage that contains this library.
pub fn directory() -> Result<&'static [u8], Inert> {
    match env::get(layout::ENV_STAGE.as_bytes()) {
        Some(dir) if dir.first() == Some(&b'/') => Ok(dir),
        Some(b"") | None => link_map::own_file()
            .and_then(|own| own.to_bytes().strip_suffix(layout::SHIM.as_bytes()))
            .and_then(|dir| dir.strip_suffix(b"/"))
            .ok_or(Inert::NoStage),
        Some(_) => Err(Inert::Variable),
    }
}

/// Finds and maps the stage of this process. Fails with the reason why the process has no stage.
pub fn find() -> Result<Stage, Inert> {
    if !link_map::with_glibc() {
        return Err(Inert::OtherLibc);
    }
    allowed()?;
    open(directory()?)
}

/// Maps the stage in `dir`. Fails with the reason why the stage cannot be used.
pub fn open(dir: &[u8]) -> Result<Stage, Inert> {
    // Number of bytes for a slash, the longest file name and a NUL. The buffers are small so that they do not touch a
    // page of the stack that most programs never use.
    const ROOM: usize = 32;
    if dir.len() < 256 {
        load(dir, &mut [0; 256 + ROOM])
    } else if dir.len() <= STAGE_MAX {
        load_long(dir, &mut [0; STAGE_MAX + ROOM])
    } else {
        Err(Inert::Variable)
    }
}

#[inline(never)]
fn load_long(dir: &[u8], name: &mut [u8]) -> Result<Stage, Inert> {
    load(dir, name)
}

/// Maps the stage in `dir`; `name` is a buffer for the names of the stage's files.
fn load(dir: &[u8], name: &mut [u8]) -> Result<Stage, Inert> {
    let euid = sys::uid(Ids::Effective);
    join(name, &[dir, b"\0"]).filter(|_| dir.first() == Some(&b'/')).ok_or(Inert::Variable)?;
    // SAFETY: `join` wrote the NUL.
    let st = unsafe { sys::lstat(name.as_ptr().cast()) }.map_err(|_| Inert::Gone)?;
    if st.st_mode & libc::S_IFMT != libc::S_IFDIR {
        return Err(Inert::Gone);
    }
    // After this check no other user can replace a file in the directory.
    if st.st_uid != euid || st.st_mode & 0o022 != 0 {
        return Err(Inert::Foreign);
    }
    join(name, &[dir, b"/", layout::INDEX.as_bytes(), b"\0"]).ok_or(Inert::Variable)?;
    let index = map(name, Access::ReadOnly, euid).ok_or(Inert::NoIndex)?;
    join(name, &[dir, b"/", layout::STATE.as_bytes(), b"\0"]).ok_or(Inert::Variable)?;
    let state = map(name, Access::ReadWrite, euid).ok_or(Inert::NoState)?;
    // SAFETY: the mapping is as long as the slice, readable, and never unmapped. Nothing changes an index after its
    // stage is published, and only the user of this process could.
    let index = Index::parse(unsafe { slice::from_raw_parts(index.0, index.1) })?;
    if index.stage() != dir {
        return Err(Inert::Elsewhere);
    }
    // SAFETY: as above. The slice is only the header, which is never written after the file is made.
    let header = unsafe { slice::from_raw_parts(state.0, state::COUNT) };
    state::check(state.1, header).map_err(|_| Inert::BadState)?;
    // SAFETY: the mapping is page-aligned, as long as the slice, writable and never unmapped. All processes access its
    // words only by atomic operations.
    let words = unsafe { slice::from_raw_parts(state.0.cast::<AtomicU64>(), state.1 / 8) };
    Ok(Stage {
        view: View::new(index, Diverged::new(words).ok_or(Inert::BadState)?),
        dev: st.st_dev,
        noexec: index.flags() & FLAG_NOEXEC != 0,
        stripe: sys::pid() as usize,
        outside_programs: OutsidePrograms::new(words).ok_or(Inert::BadState)?,
    })
}

/// Maps one of the stage's files, if it is a regular file of this user and at least as long as a header. `name` must
/// contain a NUL.
fn map(name: &[u8], access: Access, euid: u32) -> Option<(*mut u8, usize)> {
    let mode = match access {
        Access::ReadOnly => libc::O_RDONLY,
        Access::ReadWrite => libc::O_RDWR,
    };
    let flags = mode | libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
    // SAFETY: `name` contains a NUL.
    let fd = unsafe { sys::openat(libc::AT_FDCWD, name.as_ptr().cast(), flags) }.ok()?;
    let mapped = sys::fstat(fd).ok().and_then(|st| {
        let regular = st.st_mode & libc::S_IFMT == libc::S_IFREG;
        let len = usize::try_from(st.st_size).ok()?;
        if !regular || st.st_uid != euid || len < pyshm_format::index::HEADER_BYTES {
            return None;
        }
        Some((sys::map(fd, len, access).ok()?, len))
    });
    sys::close(fd);
    mapped
}
