//! The working directory. chdir passes, so the process really stands in the original directory and getcwd is right
//! without a hook. Only a redirected descriptor could lead into the stage. get_current_dir_name compares `$PWD` with
//! the place where the process stands, by calls inside libc.

use core::ffi::{c_char, c_int};
use core::ptr;

use libc::AT_FDCWD;
use pyshm_core::base::scratch::PATH_MAX;
use pyshm_core::base::{env, sys};
use pyshm_core::exec::unshimmed;
use pyshm_core::stage::close;
use pyshm_core::stage::current::{root_changed, stage};
use pyshm_core::stage::may_write::Rights;

use crate::hooks::attributes::stat::stat_at;
use crate::libc_calls::lazy_libc;

/// Goes to the original of a redirected directory, to any other by `real`.
fn change_to(fd: c_int, real: impl FnOnce() -> c_int) -> c_int {
    if let Some(stage) = stage()
        && sys::fstat(fd).is_ok_and(|st| st.st_dev == stage.dev)
    {
        let mut buf = [0u8; PATH_MAX];
        if let Some(path) = stage.c_path_of_fd(fd, &mut buf) {
            if stage.is_replaced(path.to_bytes()) {
                return sys::fail(libc::ENOENT);
            }
            let a = [path.as_ptr() as usize, 0, 0, 0, 0, 0];
            // SAFETY: a C string of ours.
            return sys::ret(unsafe { sys::syscall(libc::SYS_chdir, a) });
        }
    }
    real()
}

/// get_current_dir_name: `$PWD` if that is where the process stands, else what getcwd gives.
fn current_name() -> *mut c_char {
    // SAFETY: structures of integers may be all zero; the variable is a C string; libc's contract is memory that the
    // caller frees.
    unsafe {
        let (mut here, mut there): (libc::stat, libc::stat) =
            (core::mem::zeroed(), core::mem::zeroed());
        let pwd = lazy_libc::getenv(c"PWD".as_ptr());
        let before = sys::errno();
        if !pwd.is_null()
            && stat_at(AT_FDCWD, c".".as_ptr(), &raw mut here, 0) == 0
            && stat_at(AT_FDCWD, pwd, &raw mut there, 0) == 0
            && (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)
        {
            return libc::strdup(pwd);
        }
        sys::set_errno(before);
        lazy_libc::getcwd(ptr::null_mut(), 0)
    }
}

/// Turns the shim off if chroot succeeded. What the process writes from then on is not marked.
fn after_chroot(result: c_int) -> c_int {
    if result == 0 {
        if let Some(stage) = stage() {
            let envp = env::environ().cast_const().cast();
            // SAFETY: libc keeps a null-terminated array of C strings.
            unsafe { unshimmed::starts(stage, close::own_name(), envp, Rights::Own) };
        }
        root_changed();
    }
    result
}

hooks! {
    fn fchdir(fd: c_int) -> c_int = |real| change_to(fd, || real(fd));
    fn get_current_dir_name() -> *mut c_char
        = |real| if stage().is_some() { current_name() } else { real() };
    fn chroot(path: *const c_char) -> c_int = |real| after_chroot(real(path));
}
