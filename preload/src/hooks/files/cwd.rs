//! The working directory. chdir passes, so the process really stands in the original directory and getcwd is right
//! without a hook. Only a redirected descriptor, or its name, could lead into the stage. get_current_dir_name compares
//! `$PWD` with the place where the process stands, by calls inside libc.

use core::ffi::{c_char, c_int};
use core::ptr;

use libc::AT_FDCWD;
use pyshm_core::base::buffer::Buffer;
use pyshm_core::base::{env, sys};
use pyshm_core::decide::view::Want;
use pyshm_core::exec::unshimmed;
use pyshm_core::path::argument::PathArg;
use pyshm_core::path::originals::{EmptyPath, original};
use pyshm_core::path::reads::{Answer, read};
use pyshm_core::stage::close;
use pyshm_core::stage::current::{root_changed, stage};
use pyshm_core::stage::may_write::Rights;

use crate::hooks::attributes::stat::stat_at;
use crate::hooks::programs::identity::take_all;
use crate::libc_calls::lazy_libc;

/// Changes to the original if the directory `fd` is redirected, else calls `real`.
fn change_to(fd: c_int, real: impl FnOnce() -> c_int) -> c_int {
    if let Some(stage) = stage()
        && sys::fstat(fd).is_ok_and(|st| st.st_dev == stage.dev)
    {
        let mut buf = Buffer::zeroed();
        if let Some(path) = stage.c_path_of_fd(fd, &mut buf) {
            if stage.is_replaced(path.to_bytes()) {
                return sys::fail(libc::ENOENT);
            }
            let a = [path.as_ptr() as usize, 0, 0, 0, 0, 0];
            // SAFETY: `path` is a C string on this stack.
            return sys::ret(unsafe { sys::syscall(libc::SYS_chdir, a) });
        }
    }
    real()
}

/// Implements get_current_dir_name: `$PWD` if it names the working directory, else the result of getcwd. Calls `real` if the stage
/// answers for neither directory.
fn current_name(real: impl FnOnce() -> *mut c_char) -> *mut c_char {
    // SAFETY: a struct of integers may be zero, and the variable is null or a C string. By the contract the caller
    // frees the result.
    unsafe {
        let (mut here, mut there): (libc::stat, libc::stat) =
            (core::mem::zeroed(), core::mem::zeroed());
        let pwd = lazy_libc::getenv(c"PWD".as_ptr());
        let passes = |path| {
            let arg = PathArg::followed(path);
            read(arg, Want::Attributes, |answer| matches!(answer, Answer::Pass(..)))
        };
        if pwd.is_null() || passes(c".".as_ptr()) && passes(pwd) {
            return real();
        }
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
            unsafe {
                unshimmed::starts(stage, close::own_name(), core::ptr::null(), envp, Rights::Own)
            };
        }
        root_changed();
    }
    result
}

/// Goes to a directory by `real`.
///
/// # Safety
/// `path` as chdir requires.
unsafe fn change_by_name(path: *const c_char, real: impl FnOnce(*const c_char) -> c_int) -> c_int {
    // SAFETY: the caller guarantees the path.
    unsafe { original(PathArg::followed(path), EmptyPath::Refused, |_, path| real(path)) }
}

hooks! {
    fn chdir(path: *const c_char) -> c_int = |real| change_by_name(path, real);
    fn fchdir(fd: c_int) -> c_int = |real| change_to(fd, || real(fd));
    fn get_current_dir_name() -> *mut c_char
        = |real| if stage().is_some() { current_name(real) } else { real() };
    fn chroot(path: *const c_char) -> c_int = |real| {
        take_all();
        after_chroot(real(path))
    };
}
