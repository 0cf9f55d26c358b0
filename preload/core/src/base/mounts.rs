//! Finds the mount that a file lies on. The result is the identifier that the kernel gives the mount
//! (proc_pid_mountinfo(5)).

use core::ffi::c_int;

use crate::base::sys;
use crate::base::text::{decimal, join};

/// The identifier of the mount on which a descriptor's file was opened. `None` before Linux 3.15 or without /proc.
pub fn of_descriptor(fd: c_int) -> Option<u64> {
    let mut name = [0; 40];
    let number = u32::try_from(fd).ok()?;
    join(&mut name, &[b"/proc/self/fdinfo/", decimal(number, &mut [0; 10]), b"\0"])?;
    let name = core::ffi::CStr::from_bytes_until_nul(&name).ok()?;
    let info = sys::open(name, libc::O_RDONLY | libc::O_CLOEXEC).ok()?;
    let mut text = [0; 256];
    let len = sys::read(info, &mut text);
    sys::close(info);
    let text = text.get(..len.ok()?)?;
    let value = text.split(|&b| b == b'\n').find_map(|line| line.strip_prefix(b"mnt_id:"))?;
    number_of(value.trim_ascii())
}

fn number_of(digits: &[u8]) -> Option<u64> {
    core::str::from_utf8(digits).ok()?.parse().ok()
}

/// The identifier of the mount on which an absolute canonical path lies. Of all mount points that are the path or lie
/// above the path, the longest counts. If several mounts have this mount point, the last mount counts. `None` without
/// /proc.
#[inline(never)]
pub fn of_path(path: &[u8]) -> Option<u64> {
    let table = sys::open(c"/proc/self/mountinfo", libc::O_RDONLY | libc::O_CLOEXEC).ok()?;
    let mut search = Search { path, best: None, len: 0, line: Line::default() };
    let mut text = [0; 1024];
    loop {
        match sys::read(table, &mut text) {
            Ok(0) | Err(_) => break,
            Ok(len) => text.get(..len).unwrap_or_default().iter().for_each(|&b| search.take(b)),
        }
    }
    sys::close(table);
    search.best
}

/// The state of a search through the mount table. The search takes one byte at a time, because a line may be longer
/// than any buffer here.
struct Search<'a> {
    path: &'a [u8],
    best: Option<u64>,
    /// Length of the best mount point.
    len: usize,
    line: Line,
}

/// The part of a line of the mount table that was read so far: `ID PARENT MAJOR:MINOR ROOT MOUNT-POINT …`.
#[derive(Default)]
struct Line {
    field: u32,
    id: u64,
    /// Number of bytes of the mount point so far. While `differs` is false, the path begins with these bytes.
    matched: usize,
    differs: bool,
    /// For a byte that is written as an octal number: the number of digits still to come, and the value so far.
    octal: (u32, u8),
}

impl Search<'_> {
    fn take(&mut self, byte: u8) {
        match byte {
            b'\n' => self.line = Line::default(),
            b' ' => {
                if self.line.field == 4 {
                    self.judge();
                }
                self.line.field += 1;
            }
            _ if self.line.field == 0 => {
                let digit = u64::from(byte.wrapping_sub(b'0'));
                self.line.id = self.line.id.wrapping_mul(10).wrapping_add(digit);
            }
            b'\\' if self.line.field == 4 => self.line.octal = (3, 0),
            _ if self.line.field == 4 => match self.line.octal {
                (0, _) => self.compare(byte),
                (left, value) => {
                    let value = value.wrapping_mul(8).wrapping_add(byte.wrapping_sub(b'0'));
                    self.line.octal = (left - 1, value);
                    if left == 1 {
                        self.compare(value);
                    }
                }
            },
            _ => {}
        }
    }

    fn compare(&mut self, byte: u8) {
        self.line.differs |= self.path.get(self.line.matched) != Some(&byte);
        self.line.matched += 1;
    }

    /// Takes the mount of the line if the mount point is the path or lies above the path, and if no longer mount point
    /// was found before.
    fn judge(&mut self) {
        let line = &self.line;
        // The root's mount point is one slash, which is no whole name but begins every path.
        let whole = matches!(self.path.get(line.matched), None | Some(b'/')) || line.matched == 1;
        if !line.differs && whole && line.matched >= self.len {
            (self.best, self.len) = (Some(line.id), line.matched);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(path: &[u8], table: &[u8]) -> Option<u64> {
        let mut search = Search { path, best: None, len: 0, line: Line::default() };
        table.iter().for_each(|&b| search.take(b));
        search.best
    }

    const TABLE: &[u8] = b"21 1 8:1 / / rw - ext4 /dev/a rw\n\
        30 21 0:5 / /shared rw,relatime - nfs4 server:/x rw\n\
        31 30 0:5 /sub /shared/with\\040blank rw - nfs4 server:/x rw\n\
        32 21 0:6 / /share rw - tmpfs none rw\n\
        33 30 0:5 / /shared rw - nfs4 server:/y rw\n";

    #[test]
    fn the_mount_of_a_path_is_the_last_with_the_longest_mount_point() {
        assert_eq!(search(b"/shared/env/x", TABLE), Some(33));
        assert_eq!(search(b"/shared", TABLE), Some(33));
        assert_eq!(search(b"/shared/with blank/x", TABLE), Some(31));
        assert_eq!(search(b"/share/x", TABLE), Some(32));
        assert_eq!(search(b"/sharedness", TABLE), Some(21));
        assert_eq!(search(b"/", TABLE), Some(21));
        assert_eq!(search(b"/x", b""), None);
    }

    #[test]
    fn a_descriptor_and_its_path_are_on_the_same_mount() {
        let file = std::fs::File::open("/proc/self/mountinfo").unwrap();
        let by_descriptor = of_descriptor(std::os::fd::AsRawFd::as_raw_fd(&file));
        assert!(by_descriptor.is_some());
        assert_eq!(by_descriptor, of_path(b"/proc/self/mountinfo"));
    }
}
