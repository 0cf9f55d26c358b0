//! Finds the stage, checks that it is ours, maps it.
//!
//! What must stay true:
//! - It happens lazily, at whatever call comes first: other libraries' constructors may run before ours.
//! - Another thread that comes while it is under way finds the stage for itself: were it told that there is none, what
//!   it writes would not be marked. It does not wait either: in the child of a fork at that moment nobody would finish.
//!   The same thread, in a handler or a callback, is told that there is no stage, and passes.
//! - Anything unexpected makes the shim inert for good, silently unless `PYSHM_LOG` asks (see [`crate::log`]).
//! - Nothing is trusted but a directory that belongs to the effective user and that no one else may write. What its
//!   owner alters in the files after they were mapped is beyond us: cutting one short kills whoever looks there.

use core::cell::UnsafeCell;
use core::ffi::{CStr, c_char, c_int};
use core::mem::MaybeUninit;
use core::ptr;
use core::slice;
use core::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use pyshm_format::index::FLAG_NOEXEC;
use pyshm_format::{Diverged, Entry, Index, Kind, Lookup, Outsiders, layout, state};

use crate::log::Inert;
use crate::route::{PATH_MAX, View};
use crate::text::{decimal, join};
use crate::{containers, env, loaded, sys};

/// Longest directory of a stage: paths below it must fit into PATH_MAX.
const STAGE_MAX: usize = 1024;

/// File status flags that mark a descriptor as redirected by the shim.
///
/// A staged file that the program opened by its *staged* path (someone who cleans up /dev/shm, say) must not be taken
/// for the original: removing what it contains would remove the original. Both flags together are set by nobody else,
/// mean nothing on a regular file or directory of tmpfs, belong to the open file itself, and so survive dup, fork and
/// exec.
pub const REDIRECTED: c_int = libc::O_NOATIME | libc::O_ASYNC;

/// With [`REDIRECTED`], and on a directory: opened with O_PATH. A descriptor of O_PATH itself carries no flags, so it could
/// not be marked; this flag means nothing on a directory.
pub const PATH_ONLY: c_int = libc::O_APPEND | libc::O_DIRECTORY;

/// With [`PATH_ONLY`]: O_DIRECTORY was given beside O_PATH.
pub const PATH_ONLY_DIRECTORY: c_int = libc::O_NONBLOCK;

/// Whether these flags of a descriptor say that it stands for one of O_PATH.
pub fn is_path_only(flags: c_int) -> bool {
    let mark = REDIRECTED | PATH_ONLY;
    flags & mark == mark
}

/// A stage that passed all checks. It lives as long as the process.
pub struct Stage {
    /// What decisions are made from.
    pub view: View<'static>,
    /// Device of the stage's file system.
    pub dev: u64,
    /// Whether its files may not be executed or mapped executable.
    pub noexec: bool,
    stripe: usize,
    /// Programs outside every prefix.
    pub outsiders: Outsiders<'static>,
}

const NEW: u8 = 0;
const BUSY: u8 = 1;
const ACTIVE: u8 = 2;
// Anything else is a reason: see `Inert`.
/// Was active; since then the process, or its vfork child, has changed its root directory.
const MOVED: u8 = Inert::OtherRoot as u8;

static STATE: AtomicU8 = AtomicU8::new(NEW);

struct Cell(UnsafeCell<MaybeUninit<Stage>>);
// SAFETY: it is written once, by whoever moved STATE from NEW to BUSY, and read only after STATE is ACTIVE.
unsafe impl Sync for Cell {}
static CELL: Cell = Cell(UnsafeCell::new(MaybeUninit::uninit()));

/// The thread that moved STATE to BUSY; 0 before it says so.
static FINDER: AtomicUsize = AtomicUsize::new(0);
/// What the first of the threads found that came during BUSY.
static LATE: AtomicPtr<Stage> = AtomicPtr::new(ptr::null_mut());
/// Who changed its root directory: this process, and its parent.
static ROOTED: [AtomicU32; 2] = [const { AtomicU32::new(0) }; 2];

/// The stage, if this process has one.
#[inline]
pub fn stage() -> Option<&'static Stage> {
    match STATE.load(Ordering::Acquire) {
        // SAFETY: ACTIVE was stored, with release, after the cell was filled; nobody writes it again.
        ACTIVE => Some(unsafe { (*CELL.0.get()).assume_init_ref() }),
        NEW | BUSY => init(),
        MOVED => of_parent(),
        _ => None,
    }
}

/// The stage of a process whose memory says that someone changed the root directory: a vfork child, which shares it, but
/// not the directory.
#[cold]
#[inline(never)]
fn of_parent() -> Option<&'static Stage> {
    let [child, parent] = &ROOTED;
    let (child, parent) = (child.load(Ordering::Acquire), parent.load(Ordering::Acquire));
    let own = sys::pid();
    // SAFETY: only an active stage is left for MOVED, and its cell is not written again.
    (own == parent && own != child).then(|| unsafe { (*CELL.0.get()).assume_init_ref() })
}

#[cold]
#[inline(never)]
fn init() -> Option<&'static Stage> {
    init_with(find)
}

/// Takes the stage in `dir` before anything asks for one: for the trampoline, which knows where it lies.
#[allow(dead_code)] // the library finds its stage by itself
pub fn use_directory(dir: &[u8]) -> Option<&'static Stage> {
    init_with(|| allowed().and_then(|()| open(dir)))
}

fn init_with(find: impl FnOnce() -> Result<Stage, Inert>) -> Option<&'static Stage> {
    match STATE.compare_exchange(NEW, BUSY, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => FINDER.store(sys::thread(), Ordering::Release),
        Err(BUSY) if FINDER.load(Ordering::Acquire) == sys::thread() => return None,
        Err(BUSY) => return late(find),
        Err(_) => return stage(),
    }
    match find() {
        Ok(found) => {
            // SAFETY: BUSY is ours alone, and no one reads before ACTIVE.
            unsafe { (*CELL.0.get()).write(found) };
            STATE.store(ACTIVE, Ordering::Release);
            stage()
        }
        Err(why) => {
            STATE.store(why as u8, Ordering::Release);
            None
        }
    }
}

/// The stage for a thread that comes while another one is finding it.
fn late(find: impl FnOnce() -> Result<Stage, Inert>) -> Option<&'static Stage> {
    let known = LATE.load(Ordering::Acquire);
    if known.is_null() {
        let found = find().ok()?;
        let mine = sys::memory(size_of::<Stage>()).ok()?.cast::<Stage>();
        // SAFETY: new memory, page-aligned and long enough, which nobody else knows yet.
        unsafe { mine.write(found) };
        // Who comes second uses the first one's; what it found itself stays mapped, unused.
        let _ = LATE.compare_exchange(known, mine, Ordering::AcqRel, Ordering::Acquire);
    }
    // SAFETY: it is null or was filled before it was published; nobody writes or unmaps it again.
    unsafe { LATE.load(Ordering::Acquire).as_ref() }
}

/// Turns the shim off for the rest of the process.
#[allow(dead_code)] // for the trampoline
pub fn turn_off() {
    STATE.store(Inert::OtherRoot as u8, Ordering::Release);
}

/// Why there is no stage: the number of an [`Inert`], or a smaller one.
pub fn why_inert() -> u8 {
    STATE.load(Ordering::Acquire)
}

/// The same after chroot, when no path means what the index says, but not for the parent of a vfork child.
pub fn root_changed() {
    ROOTED[0].store(sys::pid(), Ordering::Release);
    ROOTED[1].store(sys::parent(), Ordering::Release);
    let _ = STATE.compare_exchange(ACTIVE, MOVED, Ordering::AcqRel, Ordering::Relaxed);
}

/// Whether this process may use a stage at all.
fn allowed() -> Result<(), Inert> {
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

/// Where the stage should be: `PYSHM_STAGE`, else around this library.
pub fn directory() -> Result<&'static [u8], Inert> {
    match env::get(layout::ENV_STAGE.as_bytes()) {
        Some(dir) if dir.first() == Some(&b'/') => Ok(dir),
        Some(b"") | None => loaded::own_file()
            .and_then(|own| own.to_bytes().strip_suffix(layout::SHIM.as_bytes()))
            .and_then(|dir| dir.strip_suffix(b"/"))
            .ok_or(Inert::NoStage),
        Some(_) => Err(Inert::Variable),
    }
}

fn find() -> Result<Stage, Inert> {
    if !loaded::with_glibc() {
        return Err(Inert::OtherLibc);
    }
    allowed()?;
    open(directory()?)
}

fn open(dir: &[u8]) -> Result<Stage, Inert> {
    // Room for the longest name in it. A larger buffer would touch a page of the stack that most programs never use.
    const ROOM: usize = 32;
    if dir.len() < 256 {
        load(dir, &mut [0; 256 + ROOM])
    } else if dir.len() <= STAGE_MAX {
        open_long(dir, &mut [0; STAGE_MAX + ROOM])
    } else {
        Err(Inert::Variable)
    }
}

#[inline(never)]
fn open_long(dir: &[u8], name: &mut [u8]) -> Result<Stage, Inert> {
    load(dir, name)
}

/// The stage in `dir`; `name` has room for the names of its files.
fn load(dir: &[u8], name: &mut [u8]) -> Result<Stage, Inert> {
    let euid = sys::uid(true);
    join(name, &[dir, b"\0"]).filter(|_| dir.first() == Some(&b'/')).ok_or(Inert::Variable)?;
    // SAFETY: a C string.
    let st = unsafe { sys::lstat(name.as_ptr().cast()) }.map_err(|_| Inert::Gone)?;
    if st.st_mode & libc::S_IFMT != libc::S_IFDIR {
        return Err(Inert::Gone);
    }
    // Nobody else can exchange what lies in it, once this was seen.
    if st.st_uid != euid || st.st_mode & 0o022 != 0 {
        return Err(Inert::Foreign);
    }
    join(name, &[dir, b"/", layout::INDEX.as_bytes(), b"\0"]).ok_or(Inert::Variable)?;
    let index = map(name, false, euid).ok_or(Inert::NoIndex)?;
    join(name, &[dir, b"/", layout::STATE.as_bytes(), b"\0"]).ok_or(Inert::Variable)?;
    let state = map(name, true, euid).ok_or(Inert::NoState)?;
    // SAFETY: a private view of nothing else: the mapping is as long as the slice, readable, and never unmapped.
    // An index is immutable once its stage is published; only its owner, the user himself, could change it.
    let index = Index::parse(unsafe { slice::from_raw_parts(index.0, index.1) })?;
    if index.stage() != dir {
        return Err(Inert::Elsewhere);
    }
    // SAFETY: as above, for the header alone, which is never written after the file was made.
    let header = unsafe { slice::from_raw_parts(state.0, state::COUNT) };
    state::check(state.1, header).map_err(|_| Inert::BadState)?;
    // SAFETY: the mapping is page-aligned, as long as the slice, writable and never unmapped; all processes
    // access its words by atomic operations only.
    let words = unsafe { slice::from_raw_parts(state.0.cast::<AtomicU64>(), state.1 / 8) };
    Ok(Stage {
        view: View::new(index, Diverged::new(words).ok_or(Inert::BadState)?),
        dev: st.st_dev,
        noexec: index.flags() & FLAG_NOEXEC != 0,
        stripe: sys::pid() as usize,
        outsiders: Outsiders::new(words).ok_or(Inert::BadState)?,
    })
}

/// Maps one of the stage's files, if it is a regular one of this user's and has at least a header. `name` has a NUL.
fn map(name: &[u8], writable: bool, euid: u32) -> Option<(*mut u8, usize)> {
    let access = if writable { libc::O_RDWR } else { libc::O_RDONLY };
    let flags = access | libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
    // SAFETY: a C string of ours.
    let fd = unsafe { sys::openat(libc::AT_FDCWD, name.as_ptr().cast(), flags) }.ok()?;
    let mapped = sys::fstat(fd).ok().and_then(|st| {
        let regular = st.st_mode & libc::S_IFMT == libc::S_IFREG;
        let len = usize::try_from(st.st_size).ok()?;
        if !regular || st.st_uid != euid || len < pyshm_format::index::HEADER_BYTES {
            return None;
        }
        Some((sys::map(fd, len, writable).ok()?, len))
    });
    sys::close(fd);
    mapped
}

impl Stage {
    /// The index.
    pub fn index(&self) -> &Index<'static> {
        &self.view.index
    }

    /// The stage's directory.
    pub fn dir(&self) -> &'static [u8] {
        self.view.index.stage()
    }

    /// Whether `path` names the staged shim.
    pub fn is_shim(&self, path: &[u8]) -> bool {
        let name = path.strip_prefix(self.dir()).and_then(|rest| rest.strip_prefix(b"/"));
        name == Some(layout::SHIM.as_bytes())
    }

    /// Whether a prefix lies on this device.
    pub fn has_prefix_on(&self, dev: u64) -> bool {
        let index = self.index();
        index.prefixes().any(|p| match index.find(p.canonical) {
            Lookup::Found(e) => e.stat().dev == dev,
            // It may.
            Lookup::Absent | Lookup::Damaged => true,
        })
    }

    /// Whether the staged shim is still there.
    pub fn shim_exists(&self) -> bool {
        let mut name = [0; STAGE_MAX + 32];
        join(&mut name, &[self.dir(), b"/", layout::SHIM.as_bytes(), b"\0"]).is_some_and(|_| {
            // SAFETY: a C string.
            unsafe { sys::faccessat(libc::AT_FDCWD, name.as_ptr().cast(), 0, 0) }.is_ok()
        })
    }

    /// Whether a path of the index names another file now than the one that was staged, or none.
    pub fn is_replaced(&self, path: &[u8]) -> bool {
        self.index().lookup(path).is_some_and(|e| self.is_gone(&e))
    }

    /// The same of an entry.
    pub fn is_gone(&self, e: &Entry<'static>) -> bool {
        if !self.view.entry_diverged(e) {
            return false;
        }
        let was = e.stat();
        // SAFETY: an entry's path has a NUL behind it.
        let now = unsafe { sys::lstat(e.path().as_ptr().cast()) };
        !now.is_ok_and(|now| (now.st_dev, now.st_ino) == (was.dev, was.ino))
    }

    /// Counts an operation under a prefix.
    pub fn count(&self, answered: bool) {
        self.view.diverged.count(self.stripe, answered);
    }

    /// Puts `<stage>/fs` and the absolute `path` into `name`, a NUL behind them; `None` where they do not fit.
    pub fn staged_name(&self, path: &[u8], name: &mut [u8; PATH_MAX]) -> Option<()> {
        join(name, &[self.dir(), b"/fs", path, b"\0"]).map(|_| ())
    }

    /// The original path that a path in the stage stands for: its tail.
    pub fn original<'a>(&self, path: &'a [u8]) -> Option<&'a [u8]> {
        let below = path.strip_prefix(self.dir())?;
        let tail = below.strip_prefix(b"/fs").or_else(|| below.strip_prefix(b"/orig"))?;
        (tail.first() == Some(&b'/')).then_some(tail)
    }

    /// An original path without what the kernel appends to a file's name when the staged file was removed.
    pub fn kept<'a>(&self, path: &'a [u8]) -> &'a [u8] {
        path.strip_suffix(b" (deleted)")
            .filter(|_| self.view.index.lookup(path).is_none())
            .unwrap_or(path)
    }

    /// Where in a path of the stage's the original one starts and ends.
    pub fn part_of(&self, path: &[u8]) -> Option<(usize, usize)> {
        let original = self.original(path)?;
        let start = path.len() - original.len();
        Some((start, start + self.kept(original).len()))
    }

    /// The entry that a descriptor was opened from, if it is one of the stage's files.
    pub fn entry_of_fd(&self, fd: c_int) -> Option<Entry<'static>> {
        if sys::fstat(fd).ok()?.st_dev != self.dev || !redirected(fd) {
            return None;
        }
        let mut buf = [0; PATH_MAX];
        self.view.index.lookup(self.path_of_fd(fd, &mut buf)?)
    }

    /// Remembers what a redirected open has just given a descriptor to.
    pub fn remember(&self, fd: c_int, e: &Entry<'static>) {
        let Some(hint) = usize::try_from(fd).ok().and_then(|fd| HINTS.get(fd)) else { return };
        let number = self.index().number(e).and_then(|n| u32::try_from(n + 1).ok());
        hint.store(number.unwrap_or(0), Ordering::Relaxed);
    }

    /// The file a redirected descriptor was opened from, if it is the one remembered: `st` says what the descriptor
    /// has now, and a staged file has its original's size, mode and time of modification, and a time of access of its
    /// own. Asking the kernel for its
    /// name instead costs ten times as much, and every file that Python reads is asked for its size.
    pub fn hint(&self, fd: c_int, st: &libc::stat) -> Option<Entry<'static>> {
        let number =
            HINTS.get(usize::try_from(fd).ok()?)?.load(Ordering::Relaxed).checked_sub(1)?;
        let e = self.index().entry(number as usize)?;
        let s = e.stat();
        let name = layout::staged_access_time(e.hash());
        let same = e.kind() == Kind::File
            && (s.size, s.mode) == (st.st_size as u64, st.st_mode)
            && (s.mtime.sec, i64::from(s.mtime.nsec)) == (st.st_mtime, st.st_mtime_nsec)
            && (name.0, i64::from(name.1)) == (st.st_atime, st.st_atime_nsec);
        (same && redirected(fd)).then_some(e)
    }

    /// The original path of a descriptor that was redirected to one of the stage's files.
    pub fn path_of_fd<'b>(&self, fd: c_int, buf: &'b mut [u8; PATH_MAX]) -> Option<&'b [u8]> {
        if !redirected(fd) {
            return None;
        }
        let path = fd_link(fd, buf)?;
        Some(self.kept(self.original(path)?))
    }

    /// The same as a C string.
    pub fn c_path_of_fd<'b>(&self, fd: c_int, buf: &'b mut [u8; PATH_MAX]) -> Option<&'b CStr> {
        let base = buf.as_ptr() as usize;
        let path = self.path_of_fd(fd, buf)?;
        let (start, len) = (path.as_ptr() as usize - base, path.len());
        *buf.get_mut(start + len)? = 0;
        CStr::from_bytes_until_nul(buf.get(start..)?).ok()
    }
}

/// Entries by descriptor, as redirected opens last left them: number + 1. Only a hint, because descriptors are closed,
/// duplicated and, in a vfork child, opened without our knowledge; [`Stage::hint`] proves it.
static HINTS: [AtomicU32; 1024] = [const { AtomicU32::new(0) }; 1024];

/// Whether the shim opened a staged file in the original's place.
pub fn redirected(fd: c_int) -> bool {
    sys::fcntl(fd, libc::F_GETFL, 0).is_ok_and(|flags| flags as c_int & REDIRECTED == REDIRECTED)
}

/// Marks a descriptor that libc has just opened on a staged file for us, by exchanging its open file for one that is
/// opened with the marking flags: F_SETFL does not set O_ASYNC on what cannot send signals.
///
/// # Safety
/// `path` must be the C string that libc opened.
pub unsafe fn mark_redirected(fd: c_int, path: *const c_char) {
    let (Ok(status), Ok(close)) =
        (sys::fcntl(fd, libc::F_GETFL, 0), sys::fcntl(fd, libc::F_GETFD, 0))
    else {
        return;
    };
    let cloexec = if close as c_int & libc::FD_CLOEXEC != 0 { libc::O_CLOEXEC } else { 0 };
    // SAFETY: by the caller's word; dup3 replaces a descriptor that nobody else knows yet by one of the same kind.
    unsafe {
        let Ok(marked) =
            sys::openat(libc::AT_FDCWD, path, status as c_int | REDIRECTED | libc::O_CLOEXEC)
        else {
            return;
        };
        let _ = sys::dup3(marked, fd, cloexec);
        sys::close(marked);
    }
}

/// What `/proc/self/fd/<fd>` names.
pub fn fd_link(fd: c_int, buf: &mut [u8; PATH_MAX]) -> Option<&[u8]> {
    let mut name = [0; 32];
    join(&mut name, &[b"/proc/self/fd/", decimal(u32::try_from(fd).ok()?, &mut [0; 10])])?;
    // SAFETY: `name` ends with NULs.
    let n = unsafe { sys::readlinkat(libc::AT_FDCWD, name.as_ptr().cast(), buf) }.ok()?;
    buf.get(..n)
}
