//! Programs that start without the shim: static ones, those that gain privileges, container runtimes, and others. What
//! they write is not marked, so the stage is closed before one starts.
//!
//! It stays open where the program cannot write under a prefix ([`crate::stage::may_write`]), or is known not to: some by
//! their names and arguments ([`known_programs`]), others by `PYSHM_UNSHIMMED`, which has names, separated by colons, or
//! `keep` for all.

use core::ffi::{CStr, c_char, c_int};

use libc::AT_FDCWD;
use pyshm_format::layout::{ENV_UNSHIMMED, TRAMPOLINE};
use pyshm_format::{Entry, Kind, Reason};

use crate::base::buffer::Buffer;
use crate::base::env::{self, Strings, strings, value};
use crate::base::sys::{self, Ids};
use crate::base::text::{at_last_slash, join};
use crate::exec::elf::{self, Program};
use crate::exec::known_programs;
use crate::exec::script::{self, HEAD, Head};
use crate::path::argument::bytes;
use crate::stage::descriptor::is_redirected;
use crate::stage::mapped::Stage;
use crate::stage::may_write::Rights;
use crate::stage::swap_fd::swap_fd;

/// Number of scripts of which each is the interpreter of the one before.
const LEVELS: usize = 5;

/// Closes the stage, unless the program cannot write under a prefix or is known not to. `program` names it, `argv` are its
/// arguments or null where nobody knows them, and `envp` is its environment.
///
/// # Safety
/// `argv` and `envp` must each be null or a null-terminated array of C strings.
#[cold]
#[inline(never)]
pub unsafe fn starts(stage: &Stage, program: &[u8], argv: Strings, envp: Strings, rights: Rights) {
    hand_over_directories();
    if stage.view.diverged.is_closed() {
        return;
    }
    let name = at_last_slash(program).map_or(program, |(_, name)| name.get(1..).unwrap_or(b""));
    // SAFETY: the caller guarantees the arrays.
    let (setting, known) = unsafe {
        let setting = strings(envp)
            .find_map(|s| value(s.to_bytes(), ENV_UNSHIMMED.as_bytes()))
            .or(env::get(ENV_UNSHIMMED.as_bytes()))
            .unwrap_or(b"");
        (setting, known_programs::writes_nothing(program, argv))
    };
    let named = !name.is_empty() && setting.split(|&b| b == b':').any(|n| n == name);
    if setting != b"keep" && !named && !known && stage.may_be_written(rights) {
        stage.close(Reason::Unshimmed, program);
    }
}

/// Exchanges redirected descriptors of directories, in which a program without the shim that inherits them may change
/// something, for ones of the originals. A file's stays one of the staged copy: its offset is shared with the processes
/// that have it too, such as the shell whose script this program reads from.
fn hand_over_directories() {
    /// Descriptors that are looked at; programs leave few to others.
    const MOST: c_int = 256;
    for fd in 0..MOST {
        let inherited =
            || sys::fcntl(fd, libc::F_GETFD, 0).is_ok_and(|f| f as c_int & libc::FD_CLOEXEC == 0);
        let is_directory =
            || sys::fstat(fd).is_ok_and(|st| st.st_mode & libc::S_IFMT == libc::S_IFDIR);
        if is_redirected(fd) && inherited() && is_directory() {
            // One that cannot be exchanged, as of a directory that was read already, stays what it is.
            let _ = swap_fd(fd);
        }
    }
}

/// [`starts`] for a program that is not given the shim, if it exists. `rights` are what it has beside those that its file
/// gives.
///
/// # Safety
/// `path` may be any pointer, as [`bytes`] takes; `argv` and `envp` as in [`starts`].
#[cold]
#[inline(never)]
pub unsafe fn starts_unseen(
    stage: &Stage,
    path: *const c_char,
    argv: Strings,
    envp: Strings,
    rights: Rights,
) {
    // SAFETY: the caller guarantees what `bytes` asks for; the kernel checks the pointer.
    unsafe {
        let Some(name) = bytes(path) else { return };
        if name.is_empty() || sys::faccessat(AT_FDCWD, path, libc::X_OK, libc::AT_EACCESS).is_ok() {
            starts(stage, name, argv, envp, rights);
            if !stage.view.diverged.is_closed() {
                examine(stage, AT_FDCWD, path, name, argv, envp);
            }
        }
    }
}

/// [`starts`] for the program at `path` if the shim will not enter it: its loader does not run, or it gains privileges.
/// `known` says that the shim enters it if it has a loader; `head` are its first bytes, `program` is its name.
///
/// # Safety
/// `path` must be a C string; `argv` and `envp` as in [`starts`].
pub unsafe fn starts_from(
    stage: &Stage,
    path: *const c_char,
    known: bool,
    head: &[u8],
    program: &[u8],
    argv: Strings,
    envp: Strings,
) {
    if !known || matches!(elf::parse(head), Program::Static | Program::Headers(..)) {
        // SAFETY: the caller guarantees the strings.
        unsafe { examine(stage, AT_FDCWD, path, program, argv, envp) };
    }
}

/// Looks whether the shim will enter the program at `path`, and calls [`starts`] if it will not. An empty path is the
/// program that `dirfd` was opened from.
///
/// # Safety
/// As [`starts_from`].
#[cold]
#[inline(never)]
pub unsafe fn examine(
    stage: &Stage,
    dirfd: c_int,
    path: *const c_char,
    program: &[u8],
    argv: Strings,
    envp: Strings,
) {
    // SAFETY: the caller guarantees a C string and the arrays.
    unsafe {
        if let Seen::Unshimmed(rights) = seen(stage, dirfd, path)
            && !enters(stage, dirfd, path, argv)
        {
            starts(stage, program, argv, envp, rights);
        }
    }
}

/// Whether a program is this stage's own trampoline, which marks what it changes and starts its program with the shim.
///
/// # Safety
/// `path` must be a C string, and `argv` as in [`starts`].
unsafe fn enters(stage: &Stage, dirfd: c_int, path: *const c_char, argv: Strings) -> bool {
    let mut name = Buffer::zeroed();
    if join(&mut name, &[stage.dir(), b"/", TRAMPOLINE.as_bytes(), b"\0"]).is_none() {
        return false;
    }
    // SAFETY: `join` wrote the NUL, and the caller guarantees the other string and the array.
    unsafe {
        let Ok(own) = sys::stat(name.as_ptr().cast()) else { return false };
        let same = sys::fstatat(dirfd, path, libc::AT_EMPTY_PATH)
            .is_ok_and(|st| (st.st_dev, st.st_ino) == (own.st_dev, own.st_ino));
        // It finds its stage by its name, so a second name may lead it elsewhere. With `--env` its program runs without
        // the shim.
        let shimmed = !argv.is_null() && strings(argv).all(|word| word != c"--env");
        same && own.st_nlink == 1 && shimmed
    }
}

/// Whether the dynamic loader runs for the program at `path`, or for the interpreter of the script that is there.
///
/// # Safety
/// `path` must be a C string.
#[cold]
#[inline(never)]
pub unsafe fn has_loader(stage: &Stage, path: *const c_char) -> bool {
    // SAFETY: the caller guarantees a C string.
    matches!(unsafe { seen(stage, AT_FDCWD, path) }, Seen::Shimmed)
}

/// Looks at the program at `path`, and at the interpreters of scripts. An empty path is the program that `dirfd` was
/// opened from.
///
/// # Safety
/// `path` must be a C string.
unsafe fn seen(stage: &Stage, dirfd: c_int, path: *const c_char) -> Seen {
    let mut interpreter = [0; HEAD + 1];
    let mut file = (dirfd, path);
    // SAFETY: the caller guarantees a C string.
    if unsafe { *path } == 0
        && let Some(e) = entry_of(stage, dirfd)
    {
        // A descriptor that only names cannot be read, and the staged copy says the same of the file.
        if e.stat().mode & (libc::S_ISUID | libc::S_ISGID) != 0 {
            return Seen::Unshimmed(Rights::All);
        }
        file = (AT_FDCWD, e.staged().as_ptr().cast());
    }
    for _ in 0..LEVELS {
        // SAFETY: the caller's path, or the one in `interpreter`, which ends with a NUL.
        match unsafe { look(file.0, file.1, &mut interpreter) } {
            Seen::Script => file = (AT_FDCWD, interpreter.as_ptr().cast()),
            seen => return seen,
        }
    }
    Seen::Nothing
}

/// The entry of the file that a descriptor is of.
fn entry_of(stage: &Stage, fd: c_int) -> Option<Entry<'static>> {
    let st = sys::fstat(fd).ok()?;
    let mut numbers = stage.index().of_inode(st.st_dev, st.st_ino)?;
    let e = stage.index().entry(numbers.next()?)?;
    (e.kind() == Kind::File && !e.is_remote() && !stage.view.entry_diverged(&e)).then_some(e)
}

/// What a program file is.
enum Seen {
    /// There is no such file, so that no program starts.
    Nothing,
    /// The loader runs, and the shim with it.
    Shimmed,
    /// The shim does not run.
    Unshimmed(Rights),
    /// A script; the name of its interpreter was written.
    Script,
}

/// # Safety
/// `path` must be a C string.
unsafe fn look(dirfd: c_int, path: *const c_char, interpreter: &mut [u8; HEAD + 1]) -> Seen {
    // SAFETY: the caller guarantees a C string.
    let (fd, own) = unsafe {
        if *path == 0 {
            (dirfd, false)
        } else {
            match sys::openat(dirfd, path, libc::O_RDONLY | libc::O_CLOEXEC | libc::O_NONBLOCK) {
                Ok(fd) => (fd, true),
                // A program that may be executed and not read.
                Err(libc::EACCES) => {
                    let can = sys::faccessat(dirfd, path, libc::X_OK, libc::AT_EACCESS).is_ok();
                    return if can { Seen::Unshimmed(unread(dirfd, path)) } else { Seen::Nothing };
                }
                // No descriptor is left.
                Err(libc::EMFILE | libc::ENFILE | libc::ENOMEM) => {
                    let can = sys::faccessat(dirfd, path, libc::X_OK, libc::AT_EACCESS).is_ok();
                    return if can { Seen::Unshimmed(Rights::All) } else { Seen::Nothing };
                }
                Err(_) => return Seen::Nothing,
            }
        }
    };
    let is_loader = {
        // SAFETY: as above.
        let text = unsafe { CStr::from_ptr(path) }.to_bytes();
        let name = at_last_slash(text).map_or(text, |(_, name)| name.get(1..).unwrap_or(b""));
        name.starts_with(b"ld-linux") || name.starts_with(b"ld-2.") || name.starts_with(b"ld.so")
    };
    let mut head = [0; HEAD];
    let seen = match (sys::fstat(fd), sys::pread(fd, &mut head, 0)) {
        // Nobody may execute it.
        (Ok(st), _) if st.st_mode & 0o111 == 0 => Seen::Nothing,
        (Ok(st), Ok(n)) if st.st_mode & libc::S_IFMT == libc::S_IFREG => {
            let head = head.get(..n).unwrap_or_default();
            match (script::parse(head), gained(sys::has_xattr(fd, c"security.capability"), &st)) {
                (Head::Script(script), _) => match interpreter.get_mut(..script.path.len()) {
                    Some(place) => {
                        place.copy_from_slice(script.path);
                        interpreter[script.path.len()..].fill(0);
                        Seen::Script
                    }
                    None => Seen::Nothing,
                },
                (_, Some(rights)) => Seen::Unshimmed(rights),
                // The loader itself loads what LD_PRELOAD names.
                _ if is_loader || loads(fd, head) => Seen::Shimmed,
                _ => Seen::Unshimmed(Rights::Own),
            }
        }
        // A descriptor of O_PATH cannot be read.
        (Ok(st), _) if !own && st.st_mode & libc::S_IFMT == libc::S_IFREG => {
            Seen::Unshimmed(Rights::All)
        }
        _ => Seen::Nothing,
    };
    if own {
        sys::close(fd);
    }
    seen
}

/// What a program may do that this process may not, because its file says so.
fn gained(capable: bool, st: &libc::stat) -> Option<Rights> {
    if st.st_mode & libc::S_ISUID != 0 && st.st_uid != sys::uid(Ids::Real) || capable {
        return Some(Rights::All);
    }
    let group = libc::S_ISGID | libc::S_IXGRP;
    (st.st_mode & group == group && st.st_gid != sys::gid(Ids::Real))
        .then_some(Rights::Group(st.st_gid))
}

/// The rights of a program that cannot be read.
///
/// # Safety
/// `path` must be a C string.
unsafe fn unread(dirfd: c_int, path: *const c_char) -> Rights {
    // SAFETY: the caller guarantees a C string.
    let Ok(st) = (unsafe { sys::fstatat(dirfd, path, 0) }) else { return Rights::All };
    // A relative name of another directory would lead the kernel elsewhere.
    // SAFETY: as above.
    let here = dirfd == AT_FDCWD || unsafe { *path } == b'/' as c_char;
    // SAFETY: as above.
    let capable = !here || unsafe { sys::path_has_xattr(path, c"security.capability") };
    gained(capable, &st).unwrap_or(Rights::Own)
}

/// Whether the dynamic loader runs for a program that begins with `head`.
fn loads(fd: c_int, head: &[u8]) -> bool {
    let (place, count) = match elf::parse(head) {
        Program::Other | Program::Dynamic => return true,
        Program::Static => return false,
        Program::Headers(place, count) => (place, count),
    };
    const AT_ONCE: usize = 4;
    let mut some = [0; elf::HEADER * AT_ONCE];
    for number in (0..usize::from(count)).step_by(AT_ONCE) {
        let at = usize::try_from(place).unwrap_or(usize::MAX).saturating_add(number * elf::HEADER);
        let Ok(n) = sys::pread(fd, &mut some, at) else { return false };
        let left = usize::from(count) - number;
        if elf::has_interpreter(some.get(..n).unwrap_or_default(), left as u16) {
            return true;
        }
    }
    false
}
