//! Answers statfs and related functions with the shared file system's values from when the stage was made. MPI-IO and
//! HDF5 choose their drivers by these values.

use core::ffi::{c_char, c_int};

use pyshm_core::base::sys;
use pyshm_core::decide::view::Want;
use pyshm_core::path::argument::PathArg;
use pyshm_core::path::reads::{Answer, read};
use pyshm_core::stage::current::stage;
use pyshm_format::Entry;

/// The recorded values of an entry's file system: type, bsize, blocks, bfree, bavail, files, ffree, fsid, namelen,
/// frsize, flags. `None` if the values were not recorded.
pub fn recorded(e: &Entry<'static>) -> Option<[u64; 11]> {
    let values = stage()?.index().prefix(e.prefix())?.statfs;
    // A type of 0 means that the values were not recorded.
    (values[0] != 0).then_some(values)
}

/// The kernel's `struct statfs`.
#[repr(C)]
struct Statfs {
    kind: i64,
    bsize: i64,
    blocks: u64,
    bfree: u64,
    bavail: u64,
    files: u64,
    ffree: u64,
    fsid: [u32; 2],
    namelen: i64,
    frsize: i64,
    flags: i64,
    spare: [i64; 4],
}

const _: () = assert!(size_of::<Statfs>() == size_of::<libc::statfs>());

impl From<[u64; 11]> for Statfs {
    fn from(v: [u64; 11]) -> Self {
        Self {
            kind: v[0] as i64,
            bsize: v[1] as i64,
            blocks: v[2],
            bfree: v[3],
            bavail: v[4],
            files: v[5],
            ffree: v[6],
            fsid: [v[7] as u32, (v[7] >> 32) as u32],
            namelen: v[8] as i64,
            frsize: v[9] as i64,
            flags: v[10] as i64,
            spare: [0; 4],
        }
    }
}

/// Writes a `struct statvfs`.
///
/// # Safety
/// `to` must be writable.
unsafe fn fill_v(to: *mut libc::statvfs, v: [u64; 11]) {
    // The kernel's flag ST_VALID, which says that the other flags are valid, is not a flag of statvfs.
    const ST_VALID: u64 = 0x20;
    // SAFETY: a struct of integers may be zero, and the caller guarantees `to`.
    unsafe {
        let mut s: libc::statvfs = core::mem::zeroed();
        (s.f_bsize, s.f_frsize) = (v[1], if v[9] == 0 { v[1] } else { v[9] });
        (s.f_blocks, s.f_bfree, s.f_bavail) = (v[2], v[3], v[4]);
        (s.f_files, s.f_ffree, s.f_favail) = (v[5], v[6], v[6]);
        (s.f_fsid, s.f_flag, s.f_namemax) = (v[7], v[10] & !ST_VALID, v[8]);
        to.write(s);
    }
}

/// Calls `fill` with the recorded values of the file system that a path lies on. Calls `real` if the values are not
/// recorded or the path passes.
///
/// # Safety
/// `path` as the real function requires.
unsafe fn by_path(
    path: *const c_char,
    fill: impl Fn([u64; 11]),
    real: impl Fn(*const c_char) -> c_int,
) -> c_int {
    // SAFETY: the caller guarantees the path.
    unsafe {
        read(PathArg::followed(path), Want::Attributes, |answer| match answer {
            Answer::Pass(_, path) => real(path),
            Answer::Absent(e) => sys::fail(e),
            Answer::Redirect(e) => match recorded(&e) {
                Some(values) => {
                    fill(values);
                    0
                }
                None => real(path),
            },
        })
    }
}

/// For a redirected descriptor, calls `fill` with the recorded values of the original's file system. For any other
/// descriptor, calls `real`.
fn by_fd(fd: c_int, fill: impl Fn([u64; 11]), real: impl Fn() -> c_int) -> c_int {
    match stage().and_then(|s| s.entry_of_fd(fd)).and_then(|e| recorded(&e)) {
        Some(values) => {
            fill(values);
            0
        }
        None => real(),
    }
}

// On 64-bit systems both names of a pair take the same structure.
hooks! {
    fn statfs, statfs64(path: *const c_char, to: *mut libc::statfs) -> c_int
        = |real| by_path(path, |v| to.cast::<Statfs>().write(v.into()), |p| real(p, to));
    fn fstatfs, fstatfs64(fd: c_int, to: *mut libc::statfs) -> c_int
        = |real| by_fd(fd, |v| to.cast::<Statfs>().write(v.into()), || real(fd, to));
    fn statvfs, statvfs64(path: *const c_char, to: *mut libc::statvfs) -> c_int
        = |real| by_path(path, |v| fill_v(to, v), |p| real(p, to));
    fn fstatvfs, fstatvfs64(fd: c_int, to: *mut libc::statvfs) -> c_int
        = |real| by_fd(fd, |v| fill_v(to, v), || real(fd, to));
}
