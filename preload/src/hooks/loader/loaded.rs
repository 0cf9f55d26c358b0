//! Tells which loaded library is the file that is to be loaded: a library is loaded once, by whatever names.
//!
//! The loader compares names, and then device and inode of the file that it has opened. A staged copy has another inode
//! than its original, so the loader would load both: the copy that `dlopen` is led to, and the original that an RPATH
//! of a program outside the prefixes names, or that is the right one since the file was touched. So the identity that
//! counts is that of the original, which the index has.

use core::ffi::{CStr, c_char, c_int, c_void};

use libc::size_t;
use pyshm_core::base::buffer::Buffer;
use pyshm_core::base::interned;
use pyshm_core::base::scratch::Scratch;
use pyshm_core::base::sys;
use pyshm_core::base::text::{at_last_slash, put};
use pyshm_core::decide::view::{Follow, Found};
use pyshm_core::decide::walk::walk;
use pyshm_core::stage::mapped::Stage;
use pyshm_format::{Entry, Kind};

use crate::hooks::loader::names::{self, dl_iterate_phdr};

/// A file that is to be loaded.
#[derive(Clone, Copy)]
pub(super) enum Wanted<'a> {
    /// The staged copy of an entry, by this staged name.
    Staged(&'a Entry<'static>, &'a [u8]),
    /// The file that the kernel finds under this name, which lies under a prefix.
    Inside(&'a CStr),
    /// The file that the kernel finds under this name, which lies outside every prefix.
    Outside(&'a CStr),
}

/// Device, inode and time of birth of a file; 0 if that is unknown.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Identity {
    dev: u64,
    ino: u64,
    born: (i64, u32),
}

impl Identity {
    fn of(e: &Entry<'static>) -> Self {
        let s = e.stat();
        Self { dev: s.dev, ino: s.ino, born: (s.btime.sec, s.btime.nsec) }
    }

    fn now(path: *const c_char) -> Option<Self> {
        // SAFETY: the callers in this file pass C strings.
        let x = unsafe { sys::statx(path) }.ok()?;
        let known = x.stx_mask & libc::STATX_BTIME != 0;
        let born = (x.stx_btime.tv_sec, x.stx_btime.tv_nsec);
        let dev = libc::makedev(x.stx_dev_major, x.stx_dev_minor);
        Some(Self { dev, ino: x.stx_ino, born: if known { born } else { (0, 0) } })
    }

    /// Whether both are one file. The number of an inode is given to a new file once the old one is gone.
    fn is(self, other: Self) -> bool {
        let both_known = self.born != (0, 0) && other.born != (0, 0);
        (self.dev, self.ino) == (other.dev, other.ino) && (!both_known || self.born == other.born)
    }
}

/// A search among the loaded libraries.
struct Search<'a> {
    stage: &'a Stage,
    wanted: Wanted<'a>,
    /// The identity of the file that the kernel finds, asked for at most once.
    now: Option<Option<Identity>>,
    found: Option<*const c_char>,
}

/// The name under which the wanted file is loaded, if that is another name than the wanted one.
pub(super) fn elsewhere(stage: &Stage, wanted: Wanted<'_>) -> Option<*const c_char> {
    let mut search = Search { stage, wanted, now: None, found: None };
    // SAFETY: `each` takes a `Search`.
    unsafe { dl_iterate_phdr::real()(Some(each), (&raw mut search).cast()) };
    search.found
}

/// Callback of dl_iterate_phdr.
///
/// # Safety
/// `info` must be the loader's, `search` a [`Search`].
unsafe extern "C" fn each(
    info: *mut libc::dl_phdr_info,
    _size: size_t,
    search: *mut c_void,
) -> c_int {
    // SAFETY: the caller guarantees both; a name is null or a C string of the loader's.
    unsafe {
        let name = (*info).dlpi_name;
        if name.is_null() || *name != b'/' as c_char {
            return 0;
        }
        (*search.cast::<Search<'_>>()).look(CStr::from_ptr(name)).into()
    }
}

impl Search<'_> {
    /// Looks at a loaded library; whether the search ends.
    fn look(&mut self, name: &CStr) -> bool {
        let text = name.to_bytes();
        let same = match (self.wanted, self.stage.original(text)) {
            (Wanted::Staged(_, wanted), _) if wanted == text => return true,
            (Wanted::Inside(wanted) | Wanted::Outside(wanted), _) if wanted == name => return true,
            // Copies of one file that was edited for each of its names differ. Others share an inode in the stage too.
            (Wanted::Staged(e, _), Some(path)) => {
                let of_one = |e: &Entry<'static>| e.pristine() != e.staged() && e.stat().nlink > 1;
                of_one(e) && self.entry(path).is_some_and(|l| l.inode() == e.inode())
            }
            (Wanted::Staged(e, _), None) if self.stage.view.prefix_of(text).is_some() => {
                self.entry(text).is_some_and(|loaded| loaded.inode() == e.inode())
            }
            // A link outside the prefixes, or another mount.
            (Wanted::Staged(e, wanted), None) => {
                stem(wanted) == stem(text)
                    && Identity::now(name.as_ptr()).is_some_and(|now| now.is(Identity::of(e)))
            }
            (Wanted::Inside(wanted), Some(path)) => {
                wanted.to_bytes() == path || self.is_wanted(wanted, path)
            }
            (Wanted::Outside(wanted), Some(path)) => {
                stem(wanted.to_bytes()) == stem(path) && self.is_wanted(wanted, path)
            }
            // The loader compares the originals itself.
            (Wanted::Inside(_) | Wanted::Outside(_), None) => false,
        };
        if same {
            self.found = interned::intern(text);
        }
        same
    }

    /// Whether the staged copy of `path` is that of the file which the kernel finds as `wanted`.
    fn is_wanted(&mut self, wanted: &CStr, path: &[u8]) -> bool {
        let now = *self.now.get_or_insert_with(|| Identity::now(wanted.as_ptr()));
        let Some(now) = now else { return false };
        self.entry(path).is_some_and(|loaded| now.is(Identity::of(&loaded)))
    }

    /// The entry from which a library was loaded that has this original name, whatever has happened to that name since.
    #[inline(never)]
    fn entry(&self, path: &[u8]) -> Option<Entry<'static>> {
        let mut buf = Buffer::zeroed();
        let path = if names::may_be_by_origin(path) {
            let len = put(&mut buf, 0, path)?;
            let len = names::without_way(buf.get_mut(..len)?)?;
            buf.get(..len)?
        } else {
            path
        };
        match self.stage.index().lookup(path) {
            Some(e) if e.kind() != Kind::Symlink => Some(e),
            _ => walked(self.stage, path),
        }
    }
}

#[inline(never)]
fn walked(stage: &Stage, path: &[u8]) -> Option<Entry<'static>> {
    match walk(&stage.view, path, Follow::Yes, &mut Scratch::zeroed()).found {
        Found::Entry(e) => Some(e),
        _ => None,
    }
}

/// The name of a library's file without its directory and version: `libx` for `/a/libx.so.1`.
fn stem(path: &[u8]) -> &[u8] {
    let name = at_last_slash(path).map_or(path, |(_, name)| name.get(1..).unwrap_or(name));
    let end = name.windows(3).position(|w| w == b".so").unwrap_or(name.len());
    name.get(..end).unwrap_or(name)
}
