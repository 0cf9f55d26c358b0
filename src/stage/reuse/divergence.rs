//! What a stage that is used again must not answer: what a node's ranks have changed since, which each node knows
//! alone, and what programs without the shim have changed, which only a look at the prefixes can tell.
//!
//! What must stay true: to a stage marks are only ever added, and a mark too many costs speed, never a wrong answer.
#![forbid(unsafe_code)]

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use pyshm_format::state::{self, Mark};
use pyshm_format::{Entry, Index, Kind, Stat, Time, hash_path, layout};

use crate::error::{Error, Result};
use crate::stage::shared_state::SharedState;
use crate::stage::{Stage, ownership};

/// Set-user-id and set-group-id, which no file from a tar keeps.
const SETID: u32 = 0o6000;

/// A set of marks that can be joined with those of other nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Divergence {
    words: BTreeSet<u64>,
    /// Some of the words may be marks on whole directories.
    subtrees: bool,
    /// So much has changed that nothing is answered from the stage any more.
    all: bool,
}

/// What changed below the prefixes since the bundles were packed.
#[derive(Debug, Default)]
pub struct Changes {
    /// As marks.
    pub marks: Divergence,
    /// Number of paths that are new, gone or different.
    pub paths: u64,
}

impl Divergence {
    /// What the stage of this node knows.
    ///
    /// # Errors
    /// [`Error::NoInput`] when its state cannot be read.
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

    /// Adds the marks to the stage of this node.
    ///
    /// # Errors
    /// [`Error::NoInput`] when its state cannot be mapped.
    pub fn apply(&self, stage: &Stage) -> Result<()> {
        self.apply_in(&stage.dir)
    }

    /// The same for a stage that is not published yet.
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
            self.words.iter().for_each(|word| set.insert(*word, self.subtrees));
        }
        Ok(())
    }

    /// Whether nothing diverged.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words.is_empty() && !self.all
    }

    /// Whether nothing is answered from the stage any more.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.all
    }

    /// Takes back the marks on a path: it is staged from a bundle that is newer than they are.
    pub(in crate::stage) fn forget(&mut self, path: &[u8]) {
        let hash = hash_path(path);
        for mark in [Mark::Path, Mark::Listing, Mark::Subtree] {
            self.words.remove(&mark.word(hash));
        }
    }

    /// Adds what another one knows.
    pub fn join(&mut self, other: &Self) {
        self.words.extend(&other.words);
        self.subtrees |= other.subtrees;
        // The set of a stage holds no more: there everything diverges then.
        self.all |= other.all || self.words.len() >= state::SLOTS / 4 * 3;
        if self.all {
            self.words.clear();
        }
    }

    /// As numbers, to be sent to another node.
    #[must_use]
    pub fn to_words(&self) -> Vec<u64> {
        let head = u64::from(self.subtrees) | u64::from(self.all) << 1;
        std::iter::once(head).chain(self.words.iter().copied()).collect()
    }

    /// Reads what [`Divergence::to_words`] wrote.
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

/// Compares the directories below the stage's prefixes with what was packed, and the names in each one that differs.
///
/// A file that was written to in place, without a change to its directory, is not noticed: that would take a look at
/// every file. Whatever installs or removes packages changes directories. A prefix that is not there at all is not
/// compared: then the bundle stands alone. Of a tar that others made, a directory is looked into when it changed after
/// the tar was written, and its names are compared by what a tar records: kind, mode, size and time of modification.
///
/// # Errors
/// [`Error::NoInput`] when the stage's index cannot be read.
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
    let record = |e: &Entry<'_>| match written.get(e.bundle()) {
        Some(Some(written)) => Record::Tar(*written),
        _ => Record::Whole,
    };
    let differs = |e: &Entry<'_>| {
        let now = std::fs::symlink_metadata(to_path(e.path())).ok();
        // One that is gone is a name that is missing in the one above.
        now.is_some_and(|now| now.is_dir() && record(e).may_differ(&e.stat(), &now))
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
        if changes.directory(&index, &record, directory, known).is_err() {
            // It cannot be listed any more: nothing of it is answered from the stage.
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

    /// What changed in one directory, whose known names are `known`.
    fn directory(
        &mut self,
        index: &Index<'_>,
        record_of: &dyn Fn(&Entry<'_>) -> Record,
        directory: &Entry<'_>,
        known: &[&Entry<'_>],
    ) -> std::io::Result<()> {
        self.add(Mark::Listing, directory.path());
        let path = to_path(directory.path());
        let (then, now) = (directory.stat(), std::fs::symlink_metadata(path)?);
        if !record_of(directory).same_access(&then, &now) {
            self.add(Mark::Path, directory.path());
        }
        for found in std::fs::read_dir(path)? {
            let found = found?.path();
            let found = found.as_os_str().as_bytes();
            if index.lookup(found).is_none() {
                self.add(Mark::Path, found);
            }
        }
        for entry in known {
            let now = std::fs::symlink_metadata(to_path(entry.path())).ok();
            // Names in one directory may be of several bundles.
            let record = record_of(entry);
            let is_directory = entry.kind() == Kind::Directory;
            let differs = match &now {
                // What changed inside it is its own matter.
                Some(now) if is_directory => {
                    !now.is_dir() || (record == Record::Whole && now.ino() != entry.stat().ino)
                }
                Some(now) => !record.same(&entry.stat(), now),
                None => true,
            };
            if differs {
                self.add(Mark::Path, entry.path());
                if is_directory {
                    self.add(Mark::Subtree, entry.path());
                }
            }
        }
        Ok(())
    }
}

/// What a bundle recorded of its paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Record {
    /// Everything.
    Whole,
    /// What a tar holds that others made, which was written at this time: inode numbers are made up, owners are often
    /// those of who packed it, and what its directories were is only known where they are named.
    Tar((i64, i64)),
}

impl Record {
    /// Whether a directory must be looked into.
    fn may_differ(self, then: &Stat, now: &std::fs::Metadata) -> bool {
        match self {
            Self::Whole => !self.same(then, now),
            // Whatever is done to a directory, its names or its times sets this one, and nobody can set it back.
            Self::Tar(written) => (now.ctime(), now.ctime_nsec()) > written,
        }
    }

    fn same_access(self, then: &Stat, now: &std::fs::Metadata) -> bool {
        match self {
            Self::Whole => (then.mode, then.uid, then.gid) == (now.mode(), now.uid(), now.gid()),
            Self::Tar(_) => (then.mode ^ now.mode()) & !SETID == 0,
        }
    }

    /// Whether nothing that matters changed; the device's number is each node's own.
    fn same(self, then: &Stat, now: &std::fs::Metadata) -> bool {
        let time = |sec, nsec: i64| Time { sec, nsec: nsec as u32 };
        let mtime = time(now.mtime(), now.mtime_nsec());
        let known = match self {
            Self::Whole => {
                then.ino == now.ino()
                    && then.mtime == mtime
                    && then.ctime == time(now.ctime(), now.ctime_nsec())
            }
            // Most tars have whole seconds.
            Self::Tar(_) => {
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
    fn joined_sets_have_the_marks_of_both_and_survive_being_sent() {
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
    fn more_marks_than_a_stage_holds_are_all_of_it() {
        let mut one = divergence(&["/a"]);
        let many = Divergence { words: (1..60_000).collect(), ..Divergence::default() };
        one.join(&many);
        assert!(one.all && !one.is_empty());
        assert_eq!(Divergence::from_words(&one.to_words()), one);
    }
}
