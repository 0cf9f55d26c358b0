//! Hooks system, popen and pclose. libc would start the shell with the visible environment, which does not name the
//! shim, so the shell's writes would not be marked. These hooks start the shell by the hooked posix_spawn. They work
//! with any number of threads and streams.
//!
//! Invariant: in a process with a stage, libc's own functions never get a signal or stream that these hooks handle,
//! because libc keeps its own record of its signals and streams.

use core::cell::UnsafeCell;
use core::ffi::{CStr, c_char, c_int};
use core::mem::MaybeUninit;
use core::ptr;
use core::sync::atomic::{AtomicI32, AtomicPtr, AtomicU64, Ordering};

use libc::{FILE, pid_t};
use pyshm_core::base::{env, sys};
use pyshm_core::stage::current::stage;

use crate::hooks::programs::spawn::posix_spawn;
use crate::libc_calls::lazy_libc;

/// A stream of popen.
struct Slot {
    /// The stream; null in a free slot, dangling while the slot is being filled.
    stream: AtomicPtr<FILE>,
    /// The shell's process.
    pid: AtomicI32,
    /// The stream's descriptor plus one; 0 for none.
    fd: AtomicI32,
}

/// Slots, and a link to the next block. A block is added when all slots are in use, and is never freed.
struct Block {
    slots: [Slot; 16],
    more: AtomicPtr<Block>,
}

static STREAMS: Block = Block {
    slots: [const {
        Slot {
            stream: AtomicPtr::new(ptr::null_mut()),
            pid: AtomicI32::new(0),
            fd: AtomicI32::new(0),
        }
    }; 16],
    more: AtomicPtr::new(ptr::null_mut()),
};

fn blocks() -> impl Iterator<Item = &'static Block> {
    // SAFETY: the link is null or leads to a block that is never freed. A block is zeroed memory when it is linked,
    // which is a valid block.
    core::iter::successors(Some(&STREAMS), |b| unsafe { b.more.load(Ordering::Acquire).as_ref() })
}

fn slots() -> impl Iterator<Item = &'static Slot> {
    blocks().flat_map(|b| &b.slots)
}

/// Takes a free slot, which the caller must fill or free. `None` without memory.
fn take() -> Option<&'static Slot> {
    let free = |s: &&Slot| {
        let (from, to) = (ptr::null_mut(), ptr::dangling_mut());
        s.stream.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    };
    loop {
        if let Some(slot) = slots().find(free) {
            return Some(slot);
        }
        let more = sys::memory(size_of::<Block>()).ok()?.cast::<Block>();
        let link = |b: &Block| {
            let none = ptr::null_mut();
            b.more.compare_exchange(none, more, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        };
        // Blocks are only appended, so the new block finds a last block that takes the link.
        while !blocks().any(link) {}
    }
}

/// The process, and the number of its threads that run system: `pid << 32 | threads`.
static IN_SYSTEM: AtomicU64 = AtomicU64::new(0);
/// The number of threads while the first or the last of them changes the signals.
const CHANGING: u64 = u32::MAX as u64;

/// The actions of SIGINT and SIGQUIT from before the first thread entered system.
struct Before(UnsafeCell<MaybeUninit<[libc::sigaction; 2]>>);
// SAFETY: only the thread that set CHANGING writes the cell. Other threads read the cell only while they are counted.
// They are counted only after that thread has cleared CHANGING.
unsafe impl Sync for Before {}
static BEFORE: Before = Before(UnsafeCell::new(MaybeUninit::uninit()));
const INTERRUPTS: [c_int; 2] = [libc::SIGINT, libc::SIGQUIT];

/// Counts this thread in (`step` 1) or out (`step` -1). The first thread in and the last thread out call `change`.
///
/// Other threads wait during `change`, which makes two system calls. The child of a fork at that moment does not wait,
/// because the word holds another process's number.
fn count(step: i64, change: impl FnOnce()) {
    // SAFETY: getpid takes no arguments and cannot fail.
    let me = (unsafe { sys::syscall(libc::SYS_getpid, [0; 6]) }.unwrap_or(0) as u64) << 32;
    loop {
        let word = IN_SYSTEM.load(Ordering::Acquire);
        let threads = if word & !CHANGING == me { word & CHANGING } else { 0 };
        if threads == CHANGING {
            // SAFETY: sched_yield takes no arguments and touches no memory.
            let _ = unsafe { sys::syscall(libc::SYS_sched_yield, [0; 6]) };
            continue;
        }
        let then = threads.saturating_add_signed(step);
        let first_or_last = threads == 0 || then == 0;
        let now = me | if first_or_last { CHANGING } else { then };
        if IN_SYSTEM.compare_exchange(word, now, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            continue;
        }
        if first_or_last {
            change();
            IN_SYSTEM.store(me | then, Ordering::Release);
        }
        return;
    }
}

/// Ignores the terminal's signals while any thread runs system, and returns their previous actions.
fn ignore_interrupts() -> [libc::sigaction; 2] {
    count(1, || {
        // SAFETY: `sigaction` may be zero, and CHANGING gives this thread sole use of the cell.
        unsafe {
            let mut ignore: libc::sigaction = core::mem::zeroed();
            ignore.sa_sigaction = libc::SIG_IGN;
            let mut before = [core::mem::zeroed(); 2];
            for (signal, before) in INTERRUPTS.iter().zip(&mut before) {
                lazy_libc::sigaction(*signal, &raw const ignore, before);
            }
            (*BEFORE.0.get()).write(before);
        }
    });
    // SAFETY: the first thread wrote the cell, and no thread writes it while this one is counted.
    unsafe { (*BEFORE.0.get()).assume_init() }
}

/// Restores the terminal's signals when no more thread runs system.
fn restore_interrupts() {
    count(-1, || {
        // SAFETY: as in `ignore_interrupts`.
        unsafe {
            let before = (*BEFORE.0.get()).assume_init();
            for (signal, before) in INTERRUPTS.iter().zip(&before) {
                lazy_libc::sigaction(*signal, before, ptr::null_mut());
            }
        }
    });
}

/// Starts `sh -c command`. Returns 0 or an error number.
///
/// # Safety
/// The pointers as posix_spawn requires.
unsafe fn shell(
    pid: &mut pid_t,
    command: *const c_char,
    actions: *const libc::posix_spawn_file_actions_t,
    attr: *const libc::posix_spawnattr_t,
) -> c_int {
    let argv = [c"sh".as_ptr(), c"-c".as_ptr(), c"--".as_ptr(), command, ptr::null()];
    let envp = env::environ().cast_const().cast();
    // SAFETY: the caller guarantees the pointers, and the arrays end with null.
    unsafe {
        posix_spawn::hook(
            pid,
            c"/bin/sh".as_ptr(),
            actions.cast(),
            attr.cast(),
            argv.as_ptr(),
            envp,
        )
    }
}

/// Waits for a child and returns its status, or -1 with errno set. Makes the system call, because a thread that is
/// cancelled in libc's function would stay counted.
fn wait(pid: pid_t) -> c_int {
    let mut status: c_int = 0;
    loop {
        let a = [pid as usize, (&raw mut status) as usize, 0, 0, 0, 0];
        // SAFETY: the kernel writes into `status`.
        match unsafe { sys::syscall(libc::SYS_wait4, a) } {
            Err(libc::EINTR) => {}
            Err(e) => return sys::fail(e),
            Ok(_) => return status,
        }
    }
}

/// The hook of popen. Calls `real` in a process without a stage and where [`open_stream`] gives up.
///
/// # Safety
/// As popen.
unsafe fn open_pipe(
    command: *const c_char,
    mode: *const c_char,
    real: impl FnOnce() -> *mut FILE,
) -> *mut FILE {
    let usable = stage().is_some() && !command.is_null() && !mode.is_null();
    // SAFETY: the pointers are not null, and the caller guarantees C strings.
    let opened = if usable { unsafe { open_stream(command, mode) } } else { None };
    opened.unwrap_or_else(real)
}

/// The hook of pclose. Calls `real` for a stream that libc opened.
///
/// # Safety
/// As pclose.
unsafe fn close_pipe(file: *mut FILE, real: impl FnOnce() -> c_int) -> c_int {
    for slot in slots() {
        let pid = slot.pid.load(Ordering::Acquire);
        if !file.is_null() && slot.stream.load(Ordering::Acquire) == file {
            slot.fd.store(0, Ordering::Release);
            slot.stream.store(ptr::null_mut(), Ordering::Release);
            // SAFETY: the caller gives up the stream, which is open.
            unsafe { lazy_libc::fclose(file) };
            return wait(pid);
        }
    }
    real()
}

hooks! {
    fn system(command: *const c_char) -> c_int
        = |real| if command.is_null() || stage().is_none() { real(command) } else { run(command) };
    fn popen(command: *const c_char, mode: *const c_char) -> *mut FILE
        = |real| open_pipe(command, mode, || real(command, mode));
    fn pclose(file: *mut FILE) -> c_int = |real| close_pipe(file, || real(file));
}

/// Implements system as POSIX describes it.
///
/// # Safety
/// `command` must be a C string.
unsafe fn run(command: *const c_char) -> c_int {
    // SAFETY: every structure is initialized by its documented call before it is read, and lives to the end of this
    // function.
    unsafe {
        let before = ignore_interrupts();
        let (mut block, mut mask, mut default) =
            (MaybeUninit::uninit(), MaybeUninit::uninit(), MaybeUninit::uninit());
        lazy_libc::sigemptyset(block.as_mut_ptr());
        lazy_libc::sigaddset(block.as_mut_ptr(), libc::SIGCHLD);
        lazy_libc::sigprocmask(libc::SIG_BLOCK, block.as_ptr(), mask.as_mut_ptr());

        lazy_libc::sigemptyset(default.as_mut_ptr());
        for (signal, before) in INTERRUPTS.iter().zip(&before) {
            if before.sa_sigaction != libc::SIG_IGN {
                lazy_libc::sigaddset(default.as_mut_ptr(), *signal);
            }
        }
        let mut attr = MaybeUninit::uninit();
        lazy_libc::posix_spawnattr_init(attr.as_mut_ptr());
        lazy_libc::posix_spawnattr_setsigdefault(attr.as_mut_ptr(), default.as_ptr());
        lazy_libc::posix_spawnattr_setsigmask(attr.as_mut_ptr(), mask.as_ptr());
        let flags = libc::POSIX_SPAWN_SETSIGDEF | libc::POSIX_SPAWN_SETSIGMASK;
        lazy_libc::posix_spawnattr_setflags(attr.as_mut_ptr(), flags as _);
        let mut pid = 0;
        let failed = shell(&mut pid, command, ptr::null(), attr.as_ptr());
        // If the shell cannot be started, the status is that of a shell that exited with 127.
        let status = if failed == 0 { wait(pid) } else { 127 << 8 };
        lazy_libc::posix_spawnattr_destroy(attr.as_mut_ptr());
        let e = if failed == 0 { sys::errno() } else { failed };
        restore_interrupts();
        lazy_libc::sigprocmask(libc::SIG_SETMASK, mask.as_ptr(), ptr::null_mut());
        sys::set_errno(e);
        status
    }
}

/// Implements popen. `None` if libc's own popen is to be called.
///
/// # Safety
/// Both must be C strings.
unsafe fn open_stream(command: *const c_char, mode: *const c_char) -> Option<*mut FILE> {
    // SAFETY: the caller guarantees C strings. No other code knows the descriptors and structures before this function
    // returns.
    unsafe {
        let letters = CStr::from_ptr(mode).to_bytes();
        let (reads, writes) = (letters.contains(&b'r'), letters.contains(&b'w'));
        if reads == writes {
            return None;
        }
        let place = take()?;
        let give_up = || place.stream.store(ptr::null_mut(), Ordering::Release);
        let mut ends = [0; 2];
        if sys::ret(sys::syscall(
            libc::SYS_pipe2,
            [ends.as_mut_ptr() as usize, libc::O_CLOEXEC as usize, 0, 0, 0, 0],
        )) < 0
        {
            give_up();
            return None;
        }
        let (ours, theirs, their_fd) =
            if reads { (ends[0], ends[1], 1) } else { (ends[1], ends[0], 0) };
        let mut actions = MaybeUninit::uninit();
        lazy_libc::posix_spawn_file_actions_init(actions.as_mut_ptr());
        // POSIX requires that the streams of earlier popen calls are closed in the new child.
        for slot in slots() {
            let fd = slot.fd.load(Ordering::Acquire) - 1;
            if fd >= 0 && fd != their_fd && !slot.stream.load(Ordering::Acquire).is_null() {
                lazy_libc::posix_spawn_file_actions_addclose(actions.as_mut_ptr(), fd);
            }
        }
        lazy_libc::posix_spawn_file_actions_adddup2(actions.as_mut_ptr(), theirs, their_fd);
        let mut pid = 0;
        let failed = shell(&mut pid, command, actions.as_ptr(), ptr::null());
        lazy_libc::posix_spawn_file_actions_destroy(actions.as_mut_ptr());
        sys::close(theirs);
        let file = if failed == 0 {
            lazy_libc::fdopen(ours, if reads { c"r" } else { c"w" }.as_ptr())
        } else {
            ptr::null_mut()
        };
        if file.is_null() {
            sys::close(ours);
            give_up();
            if failed != 0 {
                sys::set_errno(failed);
            }
            return Some(file);
        }
        if !letters.contains(&b'e') {
            let _ = sys::fcntl(ours, libc::F_SETFD, 0);
        }
        place.pid.store(pid, Ordering::Release);
        place.fd.store(ours + 1, Ordering::Release);
        place.stream.store(file, Ordering::Release);
        Some(file)
    }
}
