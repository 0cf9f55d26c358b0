//! Gives names to inodes, devices and processes, whose numbers differ between two trees.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Names the inodes and devices of one tree. An inode that the tree had at the start is named by its first path. Any
/// other inode is named by the order in which it appeared.
#[derive(Debug, Default)]
pub struct Names {
    inodes: HashMap<(u64, u64), String>,
    /// Names by the inode number alone, for entries of directories, which have no device number.
    numbers: HashMap<u64, String>,
    devices: HashMap<u64, usize>,
    new: usize,
    root: String,
    stage: Option<String>,
    cache: HashMap<(u64, u64), (Stamp, String)>,
}

/// The values by which a file is recognised as unchanged: its time of change, size and time of modification.
type Stamp = (i64, i64, u64, i64, i64);

impl Names {
    /// Names the objects that lie below `root` now. Answers must not contain the path `stage`.
    pub fn new(root: &Path, stage: Option<&Path>) -> Self {
        let mut names = Self {
            root: root.to_str().unwrap().to_string(),
            stage: stage.map(|stage| stage.to_str().unwrap().to_string()),
            ..Self::default()
        };
        for entry in walkdir::WalkDir::new(root).sort_by_file_name().into_iter().flatten() {
            let Ok(m) = fs::symlink_metadata(entry.path()) else { continue };
            let name = entry.path().strip_prefix(root).unwrap().display().to_string();
            let name = name.strip_prefix("p/env/").map(|rest| format!("E/{rest}")).unwrap_or(name);
            names.device(m.dev());
            names.inodes.entry((m.dev(), m.ino())).or_insert_with(|| name.clone());
            names.numbers.entry(m.ino()).or_insert(name);
        }
        names
    }

    fn device(&mut self, dev: u64) -> usize {
        let next = self.devices.len();
        *self.devices.entry(dev).or_insert(next)
    }

    /// The name of an inode.
    pub fn of_inode(&mut self, dev: u64, ino: u64) -> String {
        if let Some(name) = self.inodes.get(&(dev, ino)) {
            return format!("<{name}>");
        }
        let device = self.device(dev);
        self.new += 1;
        let name = if device == 0 {
            format!("new{}", self.new)
        } else {
            format!("device{device}:new{}", self.new)
        };
        self.inodes.insert((dev, ino), name.clone());
        self.numbers.entry(ino).or_insert_with(|| name.clone());
        format!("<{name}>")
    }

    fn of_number(&mut self, ino: u64) -> String {
        // A number that is unknown belongs to an object above the tree. These objects differ between the two trees.
        let name = self.numbers.get(&ino).map_or("elsewhere", String::as_str);
        format!("<{name}>")
    }

    /// The text that `make` gives for a file. The text is kept, and `make` is called again only after a change of the
    /// file.
    pub fn cached(&mut self, m: &fs::Metadata, make: impl FnOnce() -> String) -> String {
        let stamp = (m.ctime(), m.ctime_nsec(), m.size(), m.mtime(), m.mtime_nsec());
        let key = (m.dev(), m.ino());
        if let Some((then, said)) = self.cache.get(&key)
            && *then == stamp
        {
            return said.clone();
        }
        let said = make();
        // A file that changes twice within a tick of the kernel's clock gets the same time both times. So the text of a
        // file that has just changed is not kept.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let changed = Duration::new(m.ctime().max(0) as u64, m.ctime_nsec() as u32);
        if now.saturating_sub(changed) > Duration::from_millis(20) {
            self.cache.insert(key, (stamp, said.clone()));
        }
        said
    }

    /// Replaces the numbers in an answer and the tree's own path by names.
    pub fn normalise(&mut self, answer: &str) -> String {
        let mut done = String::new();
        let mut rest = answer;
        while let Some(start) = rest.find('<') {
            let Some(end) = rest[start..].find('>').map(|n| start + n) else { break };
            done += &rest[..start];
            let inside = &rest[start + 1..end];
            let number = |text: &str| u64::from_str_radix(text, 16).ok();
            done += &match inside.split_once(':') {
                Some(("?", ino)) if number(ino).is_some() => self.of_number(number(ino).unwrap()),
                Some((dev, ino)) if number(dev).is_some() && number(ino).is_some() => {
                    self.of_inode(number(dev).unwrap(), number(ino).unwrap())
                }
                _ => rest[start..=end].to_string(),
            };
            rest = &rest[end + 1..];
        }
        done += rest;
        if let Some(stage) = &self.stage {
            done = done.replace(stage, "{THE STAGE}");
        }
        process_numbers(&done.replace(&self.root, "{M}"))
    }
}

/// Replaces each `/proc/NUMBER` in a text by `/proc/PID`.
fn process_numbers(text: &str) -> String {
    let mut parts = text.split("/proc/");
    let mut done = parts.next().unwrap_or("").to_string();
    for part in parts {
        let digits = part.len() - part.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        done += "/proc/";
        if digits > 0 {
            done += "PID";
        }
        done += &part[digits..];
    }
    done
}
