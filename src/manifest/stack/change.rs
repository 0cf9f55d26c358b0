//! Plans how laying a bundle over a stack changes the files of the bundles below.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsStr;
use std::ops::Bound;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::manifest::document::Manifest;
use crate::manifest::entry::{EntryKind, EntryRecord};
use crate::manifest::prefix::{Mode, PrefixRecord, at_or_below, overlap};
use crate::manifest::stack::bundles::Stack;
use crate::manifest::stack::error::StackError;

/// Number of a bundle, and of an entry in it.
pub(super) type EntryNumber = (usize, usize);

/// What laying a bundle over others changes. While bundles are laid, the stage has a file for each entry with data, and
/// a placeholder for each file without data. It has no links yet: links are made when all bundles are laid.
#[derive(Debug, Default)]
pub struct StackChange {
    /// Additional names that files get before anything is removed: pairs of a file's first name and the additional
    /// name.
    pub links: Vec<(PathBuf, PathBuf)>,
    /// Paths that are removed, in this order and with everything below them, before anything is written.
    pub remove: Vec<PathBuf>,
    /// Numbers of the new bundle's entries whose data exists already.
    pub kept: Vec<usize>,
    /// Files whose first name is removed, each under the additional name that becomes the first.
    pub renamed: Vec<EntryRecord>,
    /// Numbers of the bundles that have no entries left.
    pub covered: Vec<usize>,
    /// Entries that are no longer part of the stack.
    pub(super) dead: HashSet<EntryNumber>,
    /// For each removed file that keeps a hard link, the number of the link's entry, which becomes the file's entry.
    pub(super) heirs: HashMap<EntryNumber, usize>,
    /// For each entry of `kept`, its kind in the bundles below.
    pub(super) kept_kinds: Vec<EntryKind>,
    /// Numbers of the new bundle's entries whose attributes in the bundles below stay.
    pub(super) implied: HashSet<usize>,
}

impl Stack {
    /// Plans how laying `new` over the stack changes it.
    ///
    /// # Errors
    /// The reason why `new` does not fit over the stack.
    pub fn plan(&self, new: &Manifest) -> Result<StackChange, StackError> {
        self.check_layer(new)?;
        self.check_parents(new)?;
        let mut change = StackChange::default();
        if !self.overlaps(&new.prefixes) {
            return Ok(change);
        }
        let inside = |path: &[u8]| new.prefixes.iter().any(|p| at_or_below(path, &p.path));
        let below: BTreeMap<&[u8], EntryNumber> = (self.bundles.iter().enumerate())
            .flat_map(|(b, m)| m.entries.iter().enumerate().map(move |(e, entry)| (entry, (b, e))))
            .filter(|(entry, _)| inside(&entry.path))
            .map(|(entry, at)| (entry.path.as_slice(), at))
            .collect();
        let layer = new.layer.as_ref();
        let mut planner = Planner {
            stack: self,
            below,
            change: &mut change,
            standing: HashSet::new(),
            implied: layer.map(|l| l.implied()).unwrap_or_default(),
            names_bundles: layer.is_some_and(|l| !l.over.is_empty()),
        };
        for path in layer.iter().flat_map(|l| &l.removed) {
            planner.kill(path);
            planner.kill_below(path);
        }
        layer.iter().flat_map(|l| &l.opaque).for_each(|path| planner.kill_below(path));
        let replaces = |p: &&PrefixRecord| layer.is_none() && p.mode == Mode::Snapshot;
        for prefix in new.prefixes.iter().filter(replaces) {
            planner.kill(&prefix.path);
            planner.kill_below(&prefix.path);
        }
        for (number, entry) in new.entries.iter().enumerate() {
            planner.lay(number, entry)?;
        }
        planner.find_heirs();
        planner.list_removals(new.prefixes.iter().filter(replaces));
        let emptied = |(b, m): (usize, &Manifest)| {
            let dead = change.dead.iter().filter(|at| at.0 == b).count();
            (dead > 0 && dead == m.entries.len()).then_some(b)
        };
        change.covered = self.bundles.iter().enumerate().filter_map(emptied).collect();
        Ok(change)
    }

    /// Checks that the bundles below a layer are those that the layer was packed over, and cover the layer's prefixes.
    fn check_layer(&self, new: &Manifest) -> Result<(), StackError> {
        let Some(layer) = &new.layer else { return Ok(()) };
        let met = self.bundles.iter().filter(|m| overlap(&m.prefixes, &new.prefixes));
        let digests: Vec<[u8; 32]> = met.map(|m| m.digest).collect();
        let over: Vec<[u8; 32]> = layer.over.iter().map(|below| below.digest).collect();
        if !digests.ends_with(&over) {
            return Err(StackError::OtherBundlesBelow(layer.names()));
        }
        match new.prefixes.iter().find(|p| self.prefix_of(&p.path).is_none()) {
            Some(prefix) => Err(StackError::NothingBelow(prefix.path().to_path_buf())),
            None => Ok(()),
        }
    }

    /// Checks that a new prefix that lies in a prefix of the stack has a parent directory in the stack.
    fn check_parents(&self, new: &Manifest) -> Result<(), StackError> {
        for prefix in &new.prefixes {
            let Some(parent) = prefix.path().parent() else { continue };
            let Some(outer) = self.prefix_of(parent.as_os_str().as_bytes()) else { continue };
            let between: HashSet<&[u8]> = parent
                .ancestors()
                .map(|p| p.as_os_str().as_bytes())
                .filter(|p| at_or_below(p, &outer.path))
                .collect();
            let known = self.entries().filter(|(_, e)| between.contains(e.path.as_slice()));
            let (mut directories, mut others) = (0, 0);
            known.for_each(|(_, e)| match e.kind {
                EntryKind::Directory => directories += 1,
                _ => others += 1,
            });
            if others > 0 || (outer.mode == Mode::Snapshot && directories < between.len()) {
                let (prefix, outer) = (prefix.path().to_path_buf(), outer.path().to_path_buf());
                return Err(StackError::NotInDirectory { prefix, outer });
            }
        }
        Ok(())
    }
}

/// Plans the laying of one bundle, entry by entry.
struct Planner<'a, 'c> {
    stack: &'a Stack,
    /// The stack's entries at and below the new bundle's prefixes.
    below: BTreeMap<&'a [u8], EntryNumber>,
    change: &'c mut StackChange,
    /// Entries whose directory or file stays, and becomes that of a new entry.
    standing: HashSet<EntryNumber>,
    /// Numbers of the new bundle's implied entries.
    implied: HashSet<usize>,
    /// Whether the layer names the bundles below it, so that every implied directory must exist.
    names_bundles: bool,
}

impl<'a> Planner<'a, '_> {
    fn entry_at(&self, at: EntryNumber) -> &'a EntryRecord {
        &self.stack.bundles[at.0].entries[at.1]
    }

    fn kill(&mut self, path: &[u8]) {
        if let Some(at) = self.below.get(path) {
            self.change.dead.insert(*at);
        }
    }

    fn kill_below(&mut self, path: &[u8]) {
        // '0' is the character after '/'.
        let (from, to) = ([path, b"/"].concat(), [path, b"0"].concat());
        let range = (Bound::Included(from.as_slice()), Bound::Excluded(to.as_slice()));
        self.change.dead.extend(self.below.range::<[u8], _>(range).map(|(_, at)| *at));
    }

    /// Plans one entry of the new bundle, which replaces the entry below with the same path.
    fn lay(&mut self, number: usize, entry: &EntryRecord) -> Result<(), StackError> {
        let known = self.below.get(entry.path.as_slice()).copied();
        let known = known.filter(|at| !self.change.dead.contains(at));
        let is_directory = known.is_some_and(|at| self.entry_at(at).kind == EntryKind::Directory);
        if self.implied.contains(&number) && (self.names_bundles || known.is_some()) {
            if !is_directory {
                return Err(StackError::NoDirectoryBelow(entry.path.to_vec()));
            }
            self.change.implied.insert(number);
            return Ok(());
        }
        if entry.kind == EntryKind::Below {
            return self.keep_data(number, entry, known);
        }
        let Some(at) = known else { return Ok(()) };
        self.change.dead.insert(at);
        if is_directory && entry.kind == EntryKind::Directory {
            self.standing.insert(at);
        } else if is_directory {
            self.kill_below(&entry.path);
        }
        Ok(())
    }

    /// Plans an entry that changes attributes only; the file of the entry `known` stays.
    fn keep_data(
        &mut self,
        number: usize,
        entry: &EntryRecord,
        known: Option<EntryNumber>,
    ) -> Result<(), StackError> {
        let fits = |data: &EntryNumber| self.entry_at(*data).stat.size == entry.stat.size;
        let (at, data) = known
            .and_then(|at| Some((at, self.data_of(at)?)))
            .filter(|(_, data)| fits(data))
            .ok_or_else(|| StackError::NoDataBelow(entry.path.to_vec()))?;
        self.change.dead.insert(at);
        self.standing.insert(at);
        self.change.kept.push(number);
        let file = self.entry_at(data);
        self.change.kept_kinds.push(file.kind.clone());
        if data != at {
            // Hard links do not exist yet, so the name needs a link of its own.
            self.change.links.push((file.path().into(), entry.path().into()));
        }
        Ok(())
    }

    /// Returns the number of an entry's file: of the entry itself, or of the file to which it is a hard link.
    fn data_of(&self, at: EntryNumber) -> Option<EntryNumber> {
        match self.entry_at(at).kind {
            EntryKind::File { .. } => Some(at),
            EntryKind::HardLink(to) => Some((at.0, to as usize)),
            _ => None,
        }
    }

    /// Chooses, for each removed file that keeps hard links, the first of these links to become the file.
    fn find_heirs(&mut self) {
        let changed: HashSet<usize> = self.change.dead.iter().map(|at| at.0).collect();
        for b in changed {
            for (e, entry) in self.stack.bundles[b].entries.iter().enumerate() {
                let EntryKind::HardLink(to) = entry.kind else { continue };
                let file = (b, to as usize);
                if self.change.dead.contains(&file)
                    && !self.change.dead.contains(&(b, e))
                    && !self.change.heirs.contains_key(&file)
                {
                    self.change.heirs.insert(file, e);
                    let link = (self.entry_at(file).path().into(), entry.path().into());
                    self.change.links.push(link);
                    self.change.renamed.push(entry.clone());
                }
            }
        }
    }

    /// Lists the paths to remove: the trees `replaced`, and every other dead entry that exists in the stage.
    fn list_removals<'b>(&mut self, replaced: impl Iterator<Item = &'b PrefixRecord>) {
        let trees: Vec<&[u8]> = replaced.map(|p| p.path.as_slice()).collect();
        let in_tree = |path: &[u8]| trees.iter().any(|tree| at_or_below(path, tree));
        let mut paths: Vec<&[u8]> = trees.clone();
        for at in self.change.dead.iter().filter(|at| !self.standing.contains(at)) {
            let entry = self.entry_at(*at);
            let is_there = !matches!(entry.kind, EntryKind::HardLink(_) | EntryKind::Symlink(_));
            if is_there && !in_tree(&entry.path) {
                paths.push(&entry.path);
            }
        }
        // Children before their parents.
        paths.sort_unstable_by(|a, b| b.cmp(a));
        let path = |bytes: &[u8]| Path::new(OsStr::from_bytes(bytes)).to_path_buf();
        self.change.remove = paths.into_iter().map(path).collect();
    }
}
