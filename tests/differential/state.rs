//! Holds the state of a process of the bare run, from which the generator chooses a step.

use std::path::{Path, PathBuf};

/// A descriptor of the process whose turn it is.
#[derive(Debug, Clone)]
pub struct Slot {
    pub number: usize,
    pub fd: i32,
    pub flags: u32,
    pub ino: u64,
    pub mode: u32,
    /// The descriptor's name, as `/proc/self/fd` shows it.
    pub name: String,
}

impl Slot {
    /// Whether the descriptor is of a directory.
    pub fn is_dir(&self) -> bool {
        self.mode & 0o170_000 == 0o040_000
    }

    /// Whether the descriptor is of a regular file.
    pub fn is_file(&self) -> bool {
        self.mode & 0o170_000 == 0o100_000
    }

    /// Whether the descriptor was opened for writing.
    pub fn writes(&self) -> bool {
        self.flags & 3 != 0
    }
}

/// A process: its descriptors, its working directory, its user.
#[derive(Debug, Clone, Default)]
pub struct State {
    pub pid: i32,
    pub slots: Vec<Slot>,
    pub streams: Vec<usize>,
    pub maps: Vec<usize>,
    pub cwd: PathBuf,
    pub identity: String,
}

impl State {
    /// Reads the answer to `?`.
    pub fn parse(answer: &str) -> Self {
        let mut state = Self::default();
        let mut fields = answer.split('\t');
        state.pid = fields.next().and_then(|pid| pid.parse().ok()).unwrap_or(0);
        state.identity = fields.next().unwrap_or("").to_string();
        state.cwd = fields.next().unwrap_or("").into();
        for field in fields {
            if let Some(n) = field.strip_prefix('t') {
                state.streams.extend(n.parse::<usize>());
            } else if let Some(n) = field.strip_prefix('m') {
                state.maps.extend(n.parse::<usize>());
            } else if let [number, fd, flags, _, ino, mode, name] =
                field.splitn(7, ' ').collect::<Vec<_>>()[..]
            {
                let hex = |text| u64::from_str_radix(text, 16).unwrap_or(0);
                state.slots.push(Slot {
                    number: number.parse().unwrap_or(0),
                    fd: fd.parse().unwrap_or(-1),
                    flags: hex(flags) as u32,
                    ino: hex(ino),
                    mode: u32::from_str_radix(mode, 8).unwrap_or(0),
                    name: name.to_string(),
                });
            }
        }
        state
    }

    /// The working directory's path below a root.
    pub fn cwd_below(&self, root: &Path) -> Option<PathBuf> {
        self.cwd.strip_prefix(root).ok().map(Path::to_path_buf)
    }
}
