//! Records and finds the paths of a stage that have diverged from the shared file system. The stage must not answer for
//! these paths.
//!
//! The ranks of a node mark their changes in that node's stage. Changes by programs without the shim are found only
//! when the prefixes are compared with the stage.
//!
//! Invariants:
//! - Marks are added to a stage and never removed from it.
//! - An unnecessary mark costs speed, but never gives a wrong answer.
#![forbid(unsafe_code)]

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use pyshm_format::state::{self, Mark};
use pyshm_format::{Entry, Index, Kind, Stat, Subtrees, Time, hash_path, layout};

use crate::error::{Error, Result};
use crate::stage::build_options::Freshness;
use crate::stage::ownership;
use crate::stage::published::Stage;
use crate::stage::shared_state::SharedState;

/// Set-user-id and set-group-id, which files from a foreign tar lose.
const SETID: u32 = 0o6000;

/// A set of marks on paths that have diverged; sets of several nodes can be joined.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Divergence {
    words: BTreeSet<u64>,
    /// Whether some of the words may be marks on whole directories.
    subtrees: bool,
    /// Whether so much has diverged that the stage answers nothing any more.
    all: bool,
}

/// Changes below the prefixes since the bundles were packed.
#[derive(Debug, Default)]
pub struct Changes {
    /// The marks for these changes.
    pub marks: Divergence,
    /// Number of paths that are new, gone or different.
    pub paths: u64,
}

impl Divergence {
    /// Reads the marks of a stage.
    ///
    /// # Errors
    /// [`Error::NoInput`] when the stage's state file cannot be read.
    pub fn of(stage: &Stage) -> Result<Self> {
        let path = stage.dir.join(layout::STATE);
        let failed = Error::read("stage", &path);
        let state = SharedState::open(&stage.dir).map_err(failed)?;
        let Some(set) = state.diverged() else { return Ok(Self::default()) };
        Ok(Self {
            words: if set.any() { set.words().collect() } else { BTreeSet::new() },
            subtrees: set.any_subtree(),
            all: set.is_full(),
        })
    }

    /// Adds the marks to a stage.
    ///
    /// # Errors
    /// [`Error::NoInput`] when the stage's state file cannot be mapped.
    pub fn apply(&self, stage: &Stage) -> Result<()> {
        self.apply_in(&stage.dir)
    }

    /// Adds the marks to the stage in `dir`, which may be unpublished.
    ///
    /// # Errors
    /// As [`Divergence::apply`].
    pub(in crate::stage) fn apply_in(&self, dir: &Path) -> Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        let path = dir.join(layout::STATE);
        let state = SharedState::open(dir).map_err(Error::read("stage", &path))?;
        let Some(set) = state.diverged() else { return Ok(()) };
        if self.all {
            set.fill();
        } else {
            let subtrees = if self.subtrees { Subtrees::Possible } else { Subtrees::None };
            self.words.iter().for_each(|word| set.insert(*word, subtrees));
        }
        Ok(())
    }

    /// Whether nothing has diverged.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words.is_empty() && !self.all
    }

    /// Whether the stage answers nothing any more.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.all
    }

    /// Removes the marks on a path whose bundle is newer than the marks.
    pub(in crate::stage) fn forget(&mut self, path: &[u8]) {
        let hash = hash_path(path);
        for mark in [Mark::Path, Mark::Listing, Mark::NewNames, Mark::Subtree] {
            self.words.remove(&mark.word(hash));
        }
    }

    /// Adds the marks of `other`.
    pub fn join(&mut self, other: &Self) {
        self.words.extend(&other.words);
        self.subtrees |= other.subtrees;
        // If there are more marks than the set in a stage can hold, everything counts as diverged.
        self.all |= other.all || self.words.len() >= state::SLOTS / 4 * 3;
        if self.all {
            self.words.clear();
        }
    }

    /// Encodes the set as numbers, for another node.
    #[must_use]
    pub fn to_words(&self) -> Vec<u64> {
        let head = u64::from(self.subtrees) | u64::from(self.all) << 1;
        std::iter::once(head).chain(self.words.iter().copied()).collect()
    }

    /// Decodes what [`Divergence::to_words`] encoded.
    #[must_use]
    pub fn from_words(words: &[u64]) -> Self {
        let (head, words) = words.split_first().map_or((0, &[][..]), |(h, w)| (*h, w));
        Self { words: words.iter().copied().collect(), subtrees: head & 1 != 0, all: head & 2 != 0 }
    }

    fn add(&mut self, mark: Mark, path: &[u8]) {
        self.words.insert(mark.word(hash_path(path)));
        self.subtrees |= mark == Mark::Subtree;
    }
}

/// Finds the changes below the prefixes of `stage`. If the bundles were compared with the prefixes just now, returns no
/// changes.
///
/// # Errors
/// As [`compare_with_sources`].
pub fn find_changes(stage: &Stage, freshness: Freshness) -> Result<Changes> {
    match freshness {
        Freshness::JustCompared => Ok(Changes::default()),
        Freshness::Unknown => compare_with_sources(stage),
    }
}

/// Compares the directories below the stage's prefixes with the index, and the names in each directory that differs.
///
/// A file that was written in place, without a change to its directory, is not noticed: finding it would take a `stat`
/// of every file. Installing or removing packages is noticed, because it changes directories. A prefix that does not
/// exist on this node is not compared, because only the bundle has its files.
///
/// For a foreign tar, a directory is compared if it changed in the second in which the tar was written, or later. The
/// names in the directory are compared by the attributes that a tar records: kind, mode, size and modification time.
///
/// # Errors
/// [`Error::NoInput`] when the stage's index or description cannot be read.
pub fn compare_with_sources(stage: &Stage) -> Result<Changes> {
    let path = stage.dir.join(layout::INDEX);
    let bytes = ownership::read(&path).map_err(Error::read("stage", &path))?;
    let index = Index::parse(&bytes)
        .map_err(|e| Error::read("stage", &path)(std::io::Error::other(e.to_string())))?;
    let entries: Vec<Entry<'_>> = (0..index.len()).filter_map(|n| index.entry(n)).collect();
    let gone = |prefix: &[u8]| std::fs::symlink_metadata(to_path(prefix)).is_err();
    let absent: Vec<bool> = (0..index.prefix_count())
        .map(|n| index.prefix(n).is_none_or(|p| gone(p.canonical)))
        .collect();
    let written = stage.info()?.written;
    let source_of = |e: &Entry<'_>| match written.get(e.bundle()) {
        Some(Some(written)) => Source::ForeignTar { written: *written },
        _ => Source::Bundle,
    };
    let differs = |e: &Entry<'_>| {
        let now = std::fs::symlink_metadata(to_path(e.path())).ok();
        // A directory that is gone is found as a missing name in its parent.
        now.is_some_and(|now| now.is_dir() && source_of(e).may_differ(&e.stat(), &now))
    };
    let changed: Vec<&Entry<'_>> = entries
        .iter()
        .filter(|e| e.kind() == Kind::Directory && !absent.get(e.prefix()).is_some_and(|a| *a))
        .filter(|e| differs(e))
        .collect();
    let mut changes = Changes::default();
    if changed.is_empty() {
        return Ok(changes);
    }
    let mut names: HashMap<&[u8], Vec<&Entry<'_>>> = HashMap::new();
    for entry in &entries {
        let parent = to_path(entry.path()).parent().unwrap_or(Path::new("/"));
        names.entry(parent.as_os_str().as_bytes()).or_default().push(entry);
    }
    for directory in changed {
        let known = names.get(directory.path()).map_or(&[][..], |n| n);
        if changes.directory(&index, &source_of, directory, known).is_err() {
            // The directory cannot be listed any more, so the stage must not answer for anything in it.
            changes.add(Mark::Path, directory.path());
            changes.add(Mark::Subtree, directory.path());
        }
    }
    let marks = std::mem::take(&mut changes.marks);
    changes.marks.join(&marks);
    Ok(changes)
}

impl Changes {
    fn add(&mut self, mark: Mark, path: &[u8]) {
        self.marks.add(mark, path);
        self.paths += u64::from(mark == Mark::Path);
    }

    /// Adds the changes in one directory; `known` are its entries in the index.
    fn directory(
        &mut self,
        index: &Index<'_>,
        source_of: &dyn Fn(&Entry<'_>) -> Source,
        directory: &Entry<'_>,
        known: &[&Entry<'_>],
    ) -> std::io::Result<()> {
        let path = to_path(directory.path());
        let (then, now) = (directory.stat(), std::fs::symlink_metadata(path)?);
        let mut has_changed = source_of(directory).has_changed(&now);
        if !source_of(directory).same_access(&then, &now) {
            self.add(Mark::Path, directory.path());
        }
        for name in std::fs::read_dir(path)? {
            let path = name?.path();
            let path = path.as_os_str().as_bytes();
            if index.lookup(path).is_none() {
                self.add(Mark::Path, path);
                has_changed = true;
            }
        }
        for entry in known {
            let now = std::fs::symlink_metadata(to_path(entry.path())).ok();
            has_changed |= now.is_none();
            // The names in one directory may come from several bundles.
            let source = source_of(entry);
            let is_directory = entry.kind() == Kind::Directory;
            let differs = match &now {
                // Changes inside a directory are found when that directory is compared.
                Some(now) if is_directory => {
                    !now.is_dir() || (source == Source::Bundle && now.ino() != entry.stat().ino)
                }
                Some(now) => !source.same(&entry.stat(), now),
                None => true,
            };
            if differs {
                self.add(Mark::Path, entry.path());
                if is_directory {
                    self.add(Mark::Subtree, entry.path());
                }
            }
        }
        if has_changed {
            self.add(Mark::Listing, directory.path());
        }
        Ok(())
    }
}

/// The source of an entry. It decides which attributes can be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// A bundle, which records everything that `lstat` tells.
    Bundle,
    /// A foreign tar, which was written at this time in seconds and nanoseconds. The stage's inode numbers are made up,
    /// owners are often those of the user who made the tar, and directories are recorded only if the tar names them.
    ForeignTar { written: (i64, i64) },
}

impl Source {
    /// Whether the names in a directory must be compared.
    fn may_differ(self, then: &Stat, now: &std::fs::Metadata) -> bool {
        match self {
            Self::Bundle => !self.same(then, now),
            // Every change to a directory, to the names in it or to its times sets the directory's `ctime`, and nobody
            // can set the `ctime` back. A directory that changed in the second in which the tar was written is compared
            // too, because some file systems record only whole seconds.
            Self::ForeignTar { written } => now.ctime() >= written.0,
        }
    }

    /// Whether a directory of which [`Source::may_differ`] is true has changed for sure. If not, its names tell.
    fn has_changed(self, now: &std::fs::Metadata) -> bool {
        match self {
            Self::Bundle => true,
            Self::ForeignTar { written } => (now.ctime(), now.ctime_nsec()) > written,
        }
    }

    /// Whether mode and owner are the same, as far as the source records them.
    fn same_access(self, then: &Stat, now: &std::fs::Metadata) -> bool {
        match self {
            Self::Bundle => (then.mode, then.uid, then.gid) == (now.mode(), now.uid(), now.gid()),
            Self::ForeignTar { .. } => (then.mode ^ now.mode()) & !SETID == 0,
        }
    }

    /// Whether the attributes that the source records are unchanged. The device number is not compared, since it
    /// differs from node to node.
    fn same(self, then: &Stat, now: &std::fs::Metadata) -> bool {
        let time = |sec, nsec: i64| Time { sec, nsec: nsec as u32 };
        let mtime = time(now.mtime(), now.mtime_nsec());
        let known = match self {
            Self::Bundle => {
                then.ino == now.ino()
                    && then.mtime == mtime
                    && then.ctime == time(now.ctime(), now.ctime_nsec())
            }
            // Most tars record whole seconds.
            Self::ForeignTar { .. } => {
                then.mtime.sec == mtime.sec && [0, mtime.nsec].contains(&then.mtime.nsec)
            }
        };
        known && self.same_access(then, now) && (now.is_dir() || then.size == now.size())
    }
}

fn to_path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn divergence(paths: &[&str]) -> Divergence {
        let mut set = Divergence::default();
        paths.iter().for_each(|p| set.add(Mark::Path, p.as_bytes()));
        set
    }

    #[test]
    fn joined_sets_have_the_marks_of_both_and_survive_encoding() {
        let mut one = divergence(&["/a", "/b"]);
        let mut other = divergence(&["/b", "/c"]);
        other.add(Mark::Subtree, b"/d");
        one.join(&Divergence::from_words(&other.to_words()));
        let mut both = divergence(&["/a", "/b", "/c"]);
        both.add(Mark::Subtree, b"/d");
        assert_eq!(one, both);
        assert_eq!(Divergence::from_words(&one.to_words()), one);
    }

    #[test]
    fn more_marks_than_a_stage_can_hold_count_as_marks_on_everything() {
        let mut one = divergence(&["/a"]);
        let many = Divergence { words: (1..60_000).collect(), ..Divergence::default() };
        one.join(&many);
        assert!(one.all && !one.is_empty());
        assert_eq!(Divergence::from_words(&one.to_words()), one);
    }
}
