//! Calls by which a process becomes somebody else. From then on the shim asks the kernel who the calling thread is before it
//! answers for a path that is closed to somebody ([`pyshm_core::stage::identity`]).

use core::ffi::{c_int, c_void};

use libc::{CLONE_NEWNS, CLONE_NEWUSER, uid_t};
use pyshm_core::base::sys::{self, Ids};
use pyshm_core::stage::current::stage;
use pyshm_core::stage::identity::{may_change, may_have_changed, namespace_changed};
use pyshm_core::stage::swap_fd::{Covers, take_originals};

/// Calls `real`, which may make the thread, or the process, somebody else.
#[inline]
pub fn changing<R>(real: impl FnOnce() -> R) -> R {
    take_closed();
    may_change();
    real()
}

/// Exchanges this process's descriptors of what is closed to somebody, if the process can become somebody else: who it becomes
/// may be unable to open the originals, whose descriptors it keeps.
#[inline(never)]
fn take_closed() {
    let Some(stage) = stage() else { return };
    let can_change = may_have_changed()
        || sys::capabilities().is_ok_and(|held| held.permitted != 0)
        || sys::uid(Ids::Real) != sys::uid(Ids::Effective);
    if can_change {
        take_originals(stage, Covers::Closed);
    }
}

/// Exchanges all this process's descriptors of staged files, if it may go where other files have their names.
pub fn take_all() {
    const CAP_SYS_CHROOT: u32 = 1 << 18;
    if let Some(stage) = stage()
        && sys::capabilities().is_ok_and(|held| held.effective & CAP_SYS_CHROOT != 0)
    {
        take_originals(stage, Covers::Everything);
    }
}

/// Calls `real`, which takes this process into namespaces of these types; 0 stands for that of its descriptor.
pub fn entering(types: c_int, real: impl FnOnce() -> c_int) -> c_int {
    if types == 0 || types & CLONE_NEWUSER != 0 {
        take_closed();
    }
    let result = real();
    if result == 0 && (types == 0 || types & CLONE_NEWUSER != 0) {
        namespace_changed();
    }
    result
}

// Groups have no hooks: who can change them by a capability is asked each time, or passes over modes anyway.
hooks! {
    fn setuid, seteuid, setfsuid(uid: uid_t) -> c_int = |real| changing(|| real(uid));
    fn setreuid(user: uid_t, effective: uid_t) -> c_int = |real| changing(|| real(user, effective));
    fn setresuid(user: uid_t, effective: uid_t, saved: uid_t) -> c_int
        = |real| changing(|| real(user, effective, saved));
    fn capset(head: *mut c_void, sets: *const c_void) -> c_int = |real| changing(|| real(head, sets));
    fn unshare(types: c_int) -> c_int = |real| entering(types, || real(types));
    fn setns(fd: c_int, types: c_int) -> c_int = |real| {
        if types == 0 || types & CLONE_NEWNS != 0 {
            take_all();
        }
        entering(types, || real(fd, types))
    };
}
