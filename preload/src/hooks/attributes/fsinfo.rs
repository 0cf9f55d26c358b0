//! statfs and its kin: the shared file system's values, as they were when the stage was made. MPI-IO and HDF5
//! choose their drivers by them.

use core::ffi::{c_char, c_int};

use libc::AT_FDCWD;
use pyshm_format::Entry;

use pyshm_core::base::sys;
use pyshm_core::decide::view::Want;
use pyshm_core::path::resolve::Answer;
use pyshm_core::path::resolve::ask;
use pyshm_core::stage::current::stage;

/// The recorded values for an entry: type, bsize, blocks, bfree, bavail, files, ffree, fsid, namelen, frsize, flags.
pub(crate) fn recorded(e: &Entry<'static>) -> Option<[u64; 11]> {
    let values = stage()?.index().prefix(e.prefix())?.statfs;
    // A type of 0 says that nobody asked when the stage was made.
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

/// Fills a `struct statvfs`.
///
/// # Safety
/// `to` must be writable.
unsafe fn fill_v(to: *mut libc::statvfs, v: [u64; 11]) {
    // The kernel's "the flags are valid" bit is not one of statvfs's.
    const ST_VALID: u64 = 0x20;
    // SAFETY: a struct of integers may be all zero; `to` by the caller's word.
    unsafe {
        let mut s: libc::statvfs = core::mem::zeroed();
        (s.f_bsize, s.f_frsize) = (v[1], if v[9] == 0 { v[1] } else { v[9] });
        (s.f_blocks, s.f_bfree, s.f_bavail) = (v[2], v[3], v[4]);
        (s.f_files, s.f_ffree, s.f_favail) = (v[5], v[6], v[6]);
        (s.f_fsid, s.f_flag, s.f_namemax) = (v[7], v[10] & !ST_VALID, v[8]);
        to.write(s);
    }
}

/// # Safety
/// As the real function.
unsafe fn by_path(
    path: *const c_char,
    fill: impl Fn([u64; 11]),
    real: impl Fn(*const c_char) -> c_int,
) -> c_int {
    // SAFETY: by the caller's word.
    unsafe {
        ask(AT_FDCWD, path, true, Want::Attributes, |answer| match answer {
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

fn by_fd(fd: c_int, fill: impl Fn([u64; 11]), real: impl Fn() -> c_int) -> c_int {
    match stage().and_then(|s| s.entry_of_fd(fd)).and_then(|e| recorded(&e)) {
        Some(values) => {
            fill(values);
            0
        }
        None => real(),
    }
}

hooks! {
    unsafe fn statfs(path: *const c_char, to: *mut libc::statfs) -> c_int => my_statfs {
        // SAFETY: the caller's own arguments; the layout is the kernel's.
        unsafe { by_path(path, |v| to.cast::<Statfs>().write(v.into()), |p| real!(statfs)(p, to)) }
    }
    unsafe fn statfs64(path: *const c_char, to: *mut libc::statfs) -> c_int => my_statfs64 {
        // SAFETY: as above; on 64-bit systems both structures are one.
        unsafe { by_path(path, |v| to.cast::<Statfs>().write(v.into()), |p| real!(statfs64)(p, to)) }
    }
    unsafe fn fstatfs(fd: c_int, to: *mut libc::statfs) -> c_int => my_fstatfs {
        // SAFETY: as above.
        unsafe { by_fd(fd, |v| to.cast::<Statfs>().write(v.into()), || real!(fstatfs)(fd, to)) }
    }
    unsafe fn fstatfs64(fd: c_int, to: *mut libc::statfs) -> c_int => my_fstatfs64 {
        // SAFETY: as above.
        unsafe { by_fd(fd, |v| to.cast::<Statfs>().write(v.into()), || real!(fstatfs64)(fd, to)) }
    }
    unsafe fn statvfs(path: *const c_char, to: *mut libc::statvfs) -> c_int => my_statvfs {
        // SAFETY: as above.
        unsafe { by_path(path, |v| fill_v(to, v), |p| real!(statvfs)(p, to)) }
    }
    unsafe fn statvfs64(path: *const c_char, to: *mut libc::statvfs) -> c_int => my_statvfs64 {
        // SAFETY: as above.
        unsafe { by_path(path, |v| fill_v(to, v), |p| real!(statvfs64)(p, to)) }
    }
    unsafe fn fstatvfs(fd: c_int, to: *mut libc::statvfs) -> c_int => my_fstatvfs {
        // SAFETY: as above.
        unsafe { by_fd(fd, |v| fill_v(to, v), || real!(fstatvfs)(fd, to)) }
    }
    unsafe fn fstatvfs64(fd: c_int, to: *mut libc::statvfs) -> c_int => my_fstatvfs64 {
        // SAFETY: as above.
        unsafe { by_fd(fd, |v| fill_v(to, v), || real!(fstatvfs64)(fd, to)) }
    }
}
