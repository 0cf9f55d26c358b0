//! Calls by which a process becomes somebody else. From then on the shim asks the kernel who the calling thread is before it
//! answers for a path that is closed to somebody ([`pyshm_core::stage::identity`]).

use core::ffi::{c_char, c_int, c_void};

use libc::{CLONE_NEWUSER, gid_t, size_t, uid_t};
use pyshm_core::stage::identity::{may_change, namespace_changed};

/// Calls `real`, which may make the thread, or the process, somebody else.
#[inline]
pub fn changing<R>(real: impl FnOnce() -> R) -> R {
    may_change();
    real()
}

/// Calls `real`, which takes this process into namespaces of these types; 0 stands for that of its descriptor.
pub fn entering(types: c_int, real: impl FnOnce() -> c_int) -> c_int {
    let result = real();
    if result == 0 && (types == 0 || types & CLONE_NEWUSER != 0) {
        namespace_changed();
    }
    result
}

hooks! {
    fn setuid, seteuid, setfsuid(uid: uid_t) -> c_int = |real| changing(|| real(uid));
    fn setgid, setegid, setfsgid(gid: gid_t) -> c_int = |real| changing(|| real(gid));
    fn setreuid, setregid(real_id: uid_t, effective: uid_t) -> c_int = |real| changing(|| real(real_id, effective));
    fn setresuid, setresgid(real_id: uid_t, effective: uid_t, saved: uid_t) -> c_int
        = |real| changing(|| real(real_id, effective, saved));
    fn setgroups(count: size_t, groups: *const gid_t) -> c_int = |real| changing(|| real(count, groups));
    fn initgroups(user: *const c_char, group: gid_t) -> c_int = |real| changing(|| real(user, group));
    fn capset(head: *mut c_void, sets: *const c_void) -> c_int = |real| changing(|| real(head, sets));
    fn unshare(types: c_int) -> c_int = |real| entering(types, || real(types));
    fn setns(fd: c_int, types: c_int) -> c_int = |real| entering(types, || real(fd, types));
}
