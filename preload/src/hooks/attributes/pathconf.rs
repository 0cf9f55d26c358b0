//! Answers pathconf from the recorded statfs values of the shared file system. Without the hook, libc would ask the
//! shared file system for these values.
//!
//! For a value that depends on no file system, libc is asked about `/`. If libc needs more than the type of the file
//! system, the call passes: for ext2 and its successors libc reads the mount table.

use core::ffi::{c_char, c_int, c_long};

use pyshm_core::base::sys;
use pyshm_core::decide::view::Want;
use pyshm_core::path::argument::PathArg;
use pyshm_core::path::reads::{Answer, read};
use pyshm_core::stage::current::stage;
use pyshm_format::{Entry, Kind};

use crate::hooks::attributes::fsinfo::recorded;

const NFS: u64 = 0x6969;
const LUSTRE: u64 = 0x0bd0_0bd0;
const XFS: u64 = 0x5846_5342;
/// File systems that libc does not know: NFS, FUSE, GPFS, BeeGFS, Ceph, PanFS, CIFS, SMB2, overlayfs, AFS.
const NO_NAMES: [u64; 10] = [
    NFS,
    0x6573_5546,
    0x4750_4653,
    0x1983_0326,
    0x00c3_6400,
    0xaad7_aaea,
    0xff53_4d42,
    0xfe53_4d42,
    0x794c_7630,
    0x5346_414f,
];

/// The answer for an entry, computed as in glibc's `sysdeps/unix/sysv/linux/pathconf.h` and `sysdeps/posix/pathconf.c`.
/// `None` if glibc needs values that are not recorded.
fn value(e: &Entry<'static>, name: c_int) -> Option<c_long> {
    let fs = recorded(e)?;
    let (kind, block, names, fragment) = (fs[0], fs[1], fs[8], fs[9]);
    let default = NO_NAMES.contains(&kind);
    let known = default || matches!(kind, LUSTRE | XFS);
    let value = match name {
        libc::_PC_LINK_MAX if default => 127,
        libc::_PC_LINK_MAX if kind == LUSTRE => 160_000,
        libc::_PC_LINK_MAX if kind == XFS => 2_147_483_647,
        libc::_PC_FILESIZEBITS if default => 32,
        libc::_PC_FILESIZEBITS if known => 64,
        libc::_PC_2_SYMLINKS if known => 1,
        libc::_PC_CHOWN_RESTRICTED => 1,
        libc::_PC_NAME_MAX => names as c_long,
        libc::_PC_REC_MIN_XFER_SIZE => block as c_long,
        libc::_PC_REC_XFER_ALIGN | libc::_PC_ALLOC_SIZE_MIN => fragment as c_long,
        libc::_PC_ASYNC_IO => {
            let block_device = e.stat().mode & libc::S_IFMT == libc::S_IFBLK;
            if e.kind() == Kind::File || block_device { 1 } else { -1 }
        }
        _ => return None,
    };
    Some(value)
}

/// Whether the answer is the same for every path.
fn is_constant(name: c_int) -> bool {
    matches!(
        name,
        libc::_PC_PATH_MAX
            | libc::_PC_MAX_CANON
            | libc::_PC_MAX_INPUT
            | libc::_PC_NO_TRUNC
            | libc::_PC_VDISABLE
            | libc::_PC_SYNC_IO
            | libc::_PC_PRIO_IO
            | libc::_PC_SOCK_MAXBUF
            | libc::_PC_REC_INCR_XFER_SIZE
            | libc::_PC_REC_MAX_XFER_SIZE
            | libc::_PC_SYMLINK_MAX
            | libc::_PC_PIPE_BUF
    )
}

/// # Safety
/// `path` as pathconf requires.
unsafe fn by_path(
    path: *const c_char,
    name: c_int,
    real: impl Fn(*const c_char) -> c_long,
) -> c_long {
    // SAFETY: the caller guarantees the path.
    unsafe {
        read(PathArg::followed(path), Want::Attributes, |answer| match answer {
            Answer::Pass(_, path) => real(path),
            _ if is_constant(name) => real(c"/".as_ptr()),
            Answer::Absent(e) => sys::fail(e) as c_long,
            Answer::Redirect(e) => value(&e, name).unwrap_or_else(|| real(path)),
        })
    }
}

fn by_fd(fd: c_int, name: c_int, real: impl Fn() -> c_long) -> c_long {
    let Some(e) = stage().and_then(|s| s.entry_of_fd(fd)) else { return real() };
    match value(&e, name) {
        Some(value) => value,
        // SAFETY: a path of the index has a NUL behind it.
        None if !is_constant(name) => unsafe { pathconf::real()(e.path().as_ptr().cast(), name) },
        None => real(),
    }
}

hooks! {
    fn pathconf(path: *const c_char, name: c_int) -> c_long
        = |real| by_path(path, name, |p| real(p, name));
    fn fpathconf(fd: c_int, name: c_int) -> c_long
        = |real| by_fd(fd, name, || real(fd, name));
}
