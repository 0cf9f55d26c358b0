//! Who the calling thread is: whether it may do what the process could do that built the index, and what its capabilities are.
//!
//! Invariants:
//! - What a process is when it starts is asked once, at the first path that is closed to somebody. From the first call on that may
//!   change it ([`may_change`]) it is asked each time: the kernel keeps identities by thread, and a program changes them back and
//!   forth.
//! - A thread of another user namespace is never who built the index: the kernel knows which owners its capabilities concern, and
//!   how it sees them.

use core::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use pyshm_format::barrier::{Builder, group_digest};

use crate::base::sys::{self, Ids};

/// Nothing was asked yet.
const UNKNOWN: u8 = 0;
/// The process has been what built the index ever since it started.
const SAME: u8 = 1;
/// It has to be asked each time.
const ASK: u8 = 2;

static STATE: AtomicU8 = AtomicU8::new(UNKNOWN);
/// Whether this process is in another user namespace than the one that built the index.
pub static OTHER_NAMESPACE: AtomicBool = AtomicBool::new(false);

/// Whether this process sees other owners than the one that built the index: because of its user namespace, or because a library
/// that stands behind the shim pretends them, as that of fakeroot does.
pub static OTHER_OWNERS: AtomicBool = AtomicBool::new(false);

/// The capabilities CAP_SETGID and CAP_SETUID.
const SETGID: u32 = 1 << 6;
const SETUID: u32 = 1 << 7;

/// Number of supplementary groups that are looked at.
const GROUPS: usize = 256;

/// Notes that the calling thread, or the process, may become somebody else.
pub fn may_change() {
    STATE.store(ASK, Ordering::Release);
}

/// Whether the calling thread, or the process, may have become somebody else since it started.
pub fn may_have_changed() -> bool {
    STATE.load(Ordering::Acquire) == ASK
}

/// Notes that the process is in another user namespace now.
pub fn namespace_changed() {
    OTHER_NAMESPACE.store(true, Ordering::Release);
    OTHER_OWNERS.store(true, Ordering::Release);
    may_change();
}

/// Notes that a library behind the shim pretends to know who the process is, and so whose the files are.
pub fn owners_pretended() {
    OTHER_OWNERS.store(true, Ordering::Release);
}

/// Whether the calling thread certainly may do what the process could do that built the index.
pub fn is_builder(builder: &Builder) -> bool {
    let state = STATE.load(Ordering::Acquire);
    state == SAME || asked(builder, state)
}

#[cold]
#[inline(never)]
fn asked(builder: &Builder, state: u8) -> bool {
    if OTHER_NAMESPACE.load(Ordering::Acquire) {
        return false;
    }
    let Ok(held) = sys::capabilities() else { return false };
    let same = is(builder, held.effective, state);
    // Groups may change where no hook sees it; they do not matter to who passes over modes.
    let lasts = builder.powers != 0 || held.permitted & (SETUID | SETGID) == 0;
    if same && lasts && state == UNKNOWN {
        let _ = STATE.compare_exchange(UNKNOWN, SAME, Ordering::AcqRel, Ordering::Relaxed);
    }
    same
}

/// Whether the calling thread, with these effective capabilities, is `builder` for the kernel's checks by its effective and by its
/// real user.
fn is(builder: &Builder, effective: u32, state: u8) -> bool {
    let uid = Some(builder.uid);
    if effective & builder.powers != builder.powers
        || Some(sys::uid(Ids::Real)) != uid
        || Some(sys::uid(Ids::Effective)) != uid
        // An exec makes it equal to the effective one.
        || state == ASK && sys::fsuid() != uid
    {
        return false;
    }
    if builder.powers != 0 {
        return true;
    }
    let gid = sys::gid(Ids::Real);
    let mut groups = [0; GROUPS];
    gid == sys::gid(Ids::Effective)
        && sys::getgroups(&mut groups)
            .is_ok_and(|n| group_digest(gid, groups.get(..n).unwrap_or_default()) == builder.groups)
}

/// The capabilities with which the kernel checks what the user with these `ids` may do.
pub fn powers(ids: Ids) -> u32 {
    let Ok(held) = sys::capabilities() else { return 0 };
    match ids {
        Ids::Effective => held.effective,
        // access(2) takes the real user's: all that it may have, if that is root.
        Ids::Real if sys::uid(Ids::Real) == 0 => held.permitted,
        Ids::Real => 0,
    }
}

/// The user and group with which the kernel checks what the user with these `ids` may do.
pub fn user(ids: Ids) -> (u32, u32) {
    if ids == Ids::Effective
        && may_have_changed()
        && let (Some(uid), Some(gid)) = (sys::fsuid(), sys::fsgid())
    {
        return (uid, gid);
    }
    (sys::uid(ids), sys::gid(ids))
}

/// Whether the calling thread has this supplementary group.
pub fn in_group(gid: u32) -> bool {
    let mut groups = [0; GROUPS];
    let n = sys::getgroups(&mut groups).unwrap_or(0);
    groups.get(..n).is_some_and(|groups| groups.contains(&gid))
}
