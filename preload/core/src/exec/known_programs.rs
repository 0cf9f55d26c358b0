//! Programs of the system that write nothing under a prefix and start no other program, by their names and arguments.
//!
//! Invariant: in doubt a program is not known. A name counts only in a directory of the system's, because a user's
//! program may have any name; and arguments count, because most programs write a file that an option names.

use core::ffi::CStr;

use crate::base::env::{Strings, strings};
use crate::base::text::at_last_slash;
use crate::decide::spelling::may_be_odd;

/// Programs that write nothing, whatever their arguments are.
const READERS: &[u8] = b"ping ping4 ping6 fping ssh-keysign unix_chkpwd newuidmap newgidmap \
    utempter nvidia-modprobe";
/// Programs that write nothing if all their arguments are those of [`LISTS`]. Python's `ctypes.util` starts `ldconfig -p`.
const CACHE_PROGRAMS: &[u8] = b"ldconfig ldconfig.real";
/// Arguments with which these programs only print the cache.
const LISTS: &[u8] = b"-p --print-cache";
/// A program that writes nothing if all its arguments are those of [`AGENT`]; another may name a program that it starts.
const AGENT_PROGRAM: &[u8] = b"ssh-agent";
/// These arguments.
const AGENT: &[u8] = b"-s -c -k -d -D";

/// Whether a program is known to write nothing under a prefix. `argv` is null where the arguments are not known.
///
/// # Safety
/// `argv` must be null or a null-terminated array of C strings.
pub(super) unsafe fn writes_nothing(program: &[u8], argv: Strings) -> bool {
    if argv.is_null() {
        return is_known(program, [b"".as_slice()].into_iter());
    }
    // SAFETY: the caller guarantees the array.
    is_known(program, unsafe { strings(argv) }.skip(1).map(CStr::to_bytes))
}

fn is_known<'a>(program: &[u8], mut arguments: impl Iterator<Item = &'a [u8]>) -> bool {
    let Some((dir, name)) = at_last_slash(program) else { return false };
    let name = name.get(1..).unwrap_or_default();
    if name.is_empty() || may_be_odd(program) || !is_of_the_system(dir) {
        return false;
    }
    let has = |list: &[u8], word: &[u8]| list.split(|&b| b == b' ').any(|w| w == word);
    if has(READERS, name) {
        return true;
    }
    if has(CACHE_PROGRAMS, name) {
        // Without arguments it writes the cache.
        return arguments.next().is_some_and(|first| has(LISTS, first))
            && arguments.all(|a| has(LISTS, a));
    }
    name == AGENT_PROGRAM && arguments.all(|a| has(AGENT, a))
}

/// Whether a directory holds programs that only root installs.
fn is_of_the_system(dir: &[u8]) -> bool {
    let dir = dir.strip_prefix(b"/usr").unwrap_or(dir);
    dir == b"/bin"
        || dir == b"/sbin"
        || dir.starts_with(b"/lib/")
        || dir.starts_with(b"/lib64/")
        || dir.starts_with(b"/libexec/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(words: &str) -> bool {
        let mut words = words.split(' ').map(str::as_bytes);
        is_known(words.next().unwrap_or_default(), words)
    }

    #[test]
    fn a_program_is_known_by_its_place_its_name_and_its_arguments() {
        for words in [
            "/bin/ping -c 1 host",
            "/sbin/ldconfig -p",
            "/usr/sbin/ldconfig.real --print-cache",
            "/usr/bin/ssh-agent",
            "/usr/bin/ssh-agent -s",
            "/usr/lib/x86_64-linux-gnu/utempter/utempter add :0",
            "/usr/bin/nvidia-modprobe -u -c=0",
            "/usr/lib/openssh/ssh-keysign",
            "/usr/libexec/openssh/ssh-keysign",
        ] {
            assert!(known(words), "{words}");
        }
        for words in [
            "ping host",
            "/home/me/bin/ping host",
            "/usr/../home/me/bin/ping",
            "/usr/local/bin/ping host",
            "/home/usr/bin/ping",
            "/sbin/ldconfig",
            "/sbin/ldconfig -n /env/lib",
            "/sbin/ldconfig -nN /env/lib",
            "/sbin/ldconfig -p -n /env/lib",
            "/sbin/ldconfig -p -C /env/cache",
            "/sbin/ldconfig -C/env/cache",
            "/sbin/ldconfig -r/env",
            "/sbin/ldconfig /env/lib",
            "/usr/bin/ssh-agent sh -c :",
            "/usr/bin/ssh-agent -a /env/socket",
            "/usr/bin/ssh-agent -s -a/env/socket",
            "/usr/bin/rg --pre program x",
            "/bin/",
            "",
        ] {
            assert!(!known(words), "{words}");
        }
    }
}
