//! system and popen: libc starts the shell with the visible environment, in which the shim is not named. They are
//! done here with our own posix_spawn. Where state of the process would need a lock (two threads in system at once,
//! too many streams), libc's own function is called: its shell merely runs without the shim.

use core::ffi::{c_char, c_int};
use core::mem::MaybeUninit;
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, Ordering};

use libc::{FILE, pid_t};

use crate::env;
use crate::hooks::spawn::my_posix_spawn;
use crate::stage::stage;
use crate::sys;

static IN_SYSTEM: AtomicBool = AtomicBool::new(false);

const STREAMS: usize = 16;
static OPEN: [AtomicPtr<FILE>; STREAMS] = [const { AtomicPtr::new(ptr::null_mut()) }; STREAMS];
static PIDS: [AtomicI32; STREAMS] = [const { AtomicI32::new(0) }; STREAMS];
static FDS: [AtomicI32; STREAMS] = [const { AtomicI32::new(-1) }; STREAMS];

/// Starts `sh -c command`.
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
    // SAFETY: by the caller's word.
    unsafe {
        my_posix_spawn(pid, c"/bin/sh".as_ptr(), actions.cast(), attr.cast(), argv.as_ptr(), envp)
    }
}

/// Waits for a child; its status, or -1 with errno set.
fn wait(pid: pid_t) -> c_int {
    let mut status = 0;
    loop {
        // SAFETY: `status` is ours.
        let r = unsafe { libc::waitpid(pid, &raw mut status, 0) };
        if r == pid {
            return status;
        }
        if r < 0 && sys::errno() != libc::EINTR {
            return -1;
        }
    }
}

hooks! {
    unsafe fn system(command: *const c_char) -> c_int => my_system {
        if command.is_null() || stage().is_none() || IN_SYSTEM.swap(true, Ordering::AcqRel) {
            // SAFETY: the caller's own arguments.
            return unsafe { real!(system)(command) };
        }
        // SAFETY: the caller's command is a C string.
        let status = unsafe { run(command) };
        IN_SYSTEM.store(false, Ordering::Release);
        status
    }
    unsafe fn popen(command: *const c_char, mode: *const c_char) -> *mut FILE => my_popen {
        // SAFETY: the caller's own arguments.
        unsafe {
            match stage() {
                Some(_) if !command.is_null() && !mode.is_null() => {
                    match open_stream(command, mode) {
                        Some(file) => file,
                        None => real!(popen)(command, mode),
                    }
                }
                _ => real!(popen)(command, mode),
            }
        }
    }
    unsafe fn pclose(file: *mut FILE) -> c_int => my_pclose {
        for ((stream, pid), fd) in OPEN.iter().zip(&PIDS).zip(&FDS) {
            let pid = pid.load(Ordering::Acquire);
            if !file.is_null() && stream.load(Ordering::Acquire) == file {
                fd.store(-1, Ordering::Release);
                stream.store(ptr::null_mut(), Ordering::Release);
                // SAFETY: the caller's own stream.
                unsafe { libc::fclose(file) };
                return wait(pid);
            }
        }
        // SAFETY: the caller's own arguments.
        unsafe { real!(pclose)(file) }
    }
}

/// `system`, as POSIX describes it.
///
/// # Safety
/// `command` must be a C string.
unsafe fn run(command: *const c_char) -> c_int {
    // SAFETY: every structure is initialized by the call that is documented to do so before it is read, and lives
    // to the end of this function.
    unsafe {
        let mut ignore: libc::sigaction = core::mem::zeroed();
        ignore.sa_sigaction = libc::SIG_IGN;
        let (mut int, mut quit): (libc::sigaction, libc::sigaction) =
            (core::mem::zeroed(), core::mem::zeroed());
        let (mut block, mut mask, mut default) =
            (MaybeUninit::uninit(), MaybeUninit::uninit(), MaybeUninit::uninit());
        libc::sigaction(libc::SIGINT, &raw const ignore, &raw mut int);
        libc::sigaction(libc::SIGQUIT, &raw const ignore, &raw mut quit);
        libc::sigemptyset(block.as_mut_ptr());
        libc::sigaddset(block.as_mut_ptr(), libc::SIGCHLD);
        libc::sigprocmask(libc::SIG_BLOCK, block.as_ptr(), mask.as_mut_ptr());

        libc::sigemptyset(default.as_mut_ptr());
        for (signal, old) in [(libc::SIGINT, &int), (libc::SIGQUIT, &quit)] {
            if old.sa_sigaction != libc::SIG_IGN {
                libc::sigaddset(default.as_mut_ptr(), signal);
            }
        }
        let mut attr = MaybeUninit::uninit();
        libc::posix_spawnattr_init(attr.as_mut_ptr());
        libc::posix_spawnattr_setsigdefault(attr.as_mut_ptr(), default.as_ptr());
        libc::posix_spawnattr_setsigmask(attr.as_mut_ptr(), mask.as_ptr());
        let flags = libc::POSIX_SPAWN_SETSIGDEF | libc::POSIX_SPAWN_SETSIGMASK;
        libc::posix_spawnattr_setflags(attr.as_mut_ptr(), flags as _);
        let mut pid = 0;
        let failed = shell(&mut pid, command, ptr::null(), attr.as_ptr());
        // A shell that cannot be started counts as one that exited with 127.
        let status = if failed == 0 { wait(pid) } else { 127 << 8 };
        libc::posix_spawnattr_destroy(attr.as_mut_ptr());
        let e = if failed == 0 { sys::errno() } else { failed };
        libc::sigaction(libc::SIGINT, &raw const int, ptr::null_mut());
        libc::sigaction(libc::SIGQUIT, &raw const quit, ptr::null_mut());
        libc::sigprocmask(libc::SIG_SETMASK, mask.as_ptr(), ptr::null_mut());
        sys::set_errno(e);
        status
    }
}

/// `popen`; `None` where libc's own is to do it.
///
/// # Safety
/// Both must be C strings.
unsafe fn open_stream(command: *const c_char, mode: *const c_char) -> Option<*mut FILE> {
    // SAFETY: by the caller's word; descriptors and structures are ours until they are handed out.
    unsafe {
        let letters = core::ffi::CStr::from_ptr(mode).to_bytes();
        let (reads, writes) = (letters.contains(&b'r'), letters.contains(&b'w'));
        if reads == writes {
            return None;
        }
        let place = OPEN.iter().position(|s| {
            s.compare_exchange(
                ptr::null_mut(),
                ptr::dangling_mut(),
                Ordering::AcqRel,
                Ordering::Relaxed,
            )
            .is_ok()
        })?;
        let give_up = || OPEN[place].store(ptr::null_mut(), Ordering::Release);
        let mut ends = [0; 2];
        if libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) < 0 {
            give_up();
            return None;
        }
        let (ours, theirs, their_fd) =
            if reads { (ends[0], ends[1], 1) } else { (ends[1], ends[0], 0) };
        let mut actions = MaybeUninit::uninit();
        libc::posix_spawn_file_actions_init(actions.as_mut_ptr());
        // POSIX: the streams of earlier popen calls are closed in the new child.
        for (stream, fd) in OPEN.iter().zip(&FDS) {
            let fd = fd.load(Ordering::Acquire);
            if fd >= 0 && fd != their_fd && !stream.load(Ordering::Acquire).is_null() {
                libc::posix_spawn_file_actions_addclose(actions.as_mut_ptr(), fd);
            }
        }
        libc::posix_spawn_file_actions_adddup2(actions.as_mut_ptr(), theirs, their_fd);
        let mut pid = 0;
        let failed = shell(&mut pid, command, actions.as_ptr(), ptr::null());
        libc::posix_spawn_file_actions_destroy(actions.as_mut_ptr());
        sys::close(theirs);
        let file = if failed == 0 {
            libc::fdopen(ours, if reads { c"r" } else { c"w" }.as_ptr())
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
        PIDS[place].store(pid, Ordering::Release);
        FDS[place].store(ours, Ordering::Release);
        OPEN[place].store(file, Ordering::Release);
        Some(file)
    }
}
