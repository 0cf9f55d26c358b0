//! Bundles of one job, stacked: what they say together, path by path, the later ones over the earlier.
//!
//! A *whole* bundle says all about its prefix: laid over others it replaces everything they said at and below it,
//! whether its prefix is theirs, lies in one of them or contains one. As an overlay it adds, and wins where both know a
//! path. A *layer* adds, wins, and removes what it says is gone; it lies over exactly the bundles that it names.
//!
//! [`Stack::plan`] says what laying a bundle means to the files that lie there, [`Stack::commit`] does it to what is
//! known of them. What must stay true of the manifests in a stack: a path is an entry of one of them at most, and a
//! hard link names a file of its own manifest. They keep their numbers, and are empty where nothing is left of them.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsStr;
use std::ops::Bound;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::manifest::entry::{EntryKind, EntryRecord};
use crate::manifest::prefix::{Mode, PrefixRecord, at_or_below, overlap};
use crate::manifest::{Manifest, changed};

/// The bundles so far.
#[derive(Debug, Default)]
pub struct Stack {
    bundles: Vec<Manifest>,
    prefixes: Vec<PrefixRecord>,
}

/// Number of a bundle and of an entry in it.
type At = (usize, usize);

/// What laying a bundle over others means. The files that bundles bring are those of their entries with data, and the
/// placeholders of those without; links are not there before all bundles are.
#[derive(Debug, Default)]
pub struct Plan {
    /// Names that files get before anything is removed: a file, and its further name.
    pub links: Vec<(PathBuf, PathBuf)>,
    /// What is removed before anything is written, with all below it, in this order.
    pub remove: Vec<PathBuf>,
    /// Entries of the new bundle whose data is there already.
    pub kept: Vec<usize>,
    /// What files are that got one of their further names, since the first one goes.
    pub renamed: Vec<EntryRecord>,
    /// Bundles of which nothing is left.
    pub covered: Vec<usize>,
    dead: HashSet<At>,
    /// Files that go while a hard link to them stays, which then is the file.
    heirs: HashMap<At, usize>,
    /// What the kept ones were.
    kinds: Vec<EntryKind>,
    /// Entries of the new bundle that stay as they are below.
    implied: HashSet<usize>,
}

impl Stack {
    /// The bundles, with what is left of each.
    #[must_use]
    pub fn bundles(&self) -> &[Manifest] {
        &self.bundles
    }

    /// The prefixes that they stand for together; one may lie in another.
    #[must_use]
    pub fn prefixes(&self) -> &[PrefixRecord] {
        &self.prefixes
    }

    /// Every path with its bundle's number.
    pub fn entries(&self) -> impl Iterator<Item = (usize, &EntryRecord)> {
        self.bundles.iter().enumerate().flat_map(|(b, m)| m.entries.iter().map(move |e| (b, e)))
    }

    /// The innermost prefix at or above a path.
    #[must_use]
    pub fn prefix_of(&self, path: &[u8]) -> Option<&PrefixRecord> {
        let around = self.prefixes.iter().filter(|p| at_or_below(path, &p.path));
        around.max_by_key(|p| p.path.len())
    }

    /// Whether a bundle of these prefixes has to do with one of these.
    #[must_use]
    pub fn meets(&self, prefixes: &[PrefixRecord]) -> bool {
        overlap(&self.prefixes, prefixes)
    }

    /// The bundle with this number, if no other one has to do with its prefixes: it is whole, then, and all of it is there.
    #[must_use]
    pub fn alone(&self, number: usize) -> Option<&Manifest> {
        let (one, mut all) = (self.bundles.get(number)?, self.bundles.iter().enumerate());
        let met = all.any(|(other, m)| other != number && overlap(&m.prefixes, &one.prefixes));
        (!met && one.layer.is_none()).then_some(one)
    }

    /// The first path, below the prefixes of which nothing is to be seen that was not packed, that is not as it was packed;
    /// `None` while they are.
    ///
    /// # Errors
    /// As [`Manifest::changed`].
    pub fn changed(&self) -> Result<Option<PathBuf>, Error> {
        // What lies in another one is seen with that.
        let inner = |p: &PrefixRecord| {
            self.prefixes.iter().any(|o| o.path != p.path && at_or_below(&p.path, &o.path))
        };
        let snapshots = self.prefixes.iter().filter(|p| p.mode == Mode::Snapshot && !inner(p));
        let snapshots: Vec<PrefixRecord> = snapshots.cloned().collect();
        let concerned = |e: &EntryRecord| snapshots.iter().any(|p| at_or_below(&e.path, &p.path));
        let known = self.entries().map(|(_, entry)| entry).filter(|entry| concerned(entry));
        changed(&snapshots, known.map(|entry| (entry.path(), &entry.stat)).collect())
    }

    /// Lays a bundle over the others.
    ///
    /// # Errors
    /// As [`Stack::plan`].
    pub fn lay(&mut self, new: Manifest) -> Result<(), String> {
        let plan = self.plan(&new)?;
        self.commit(new, plan);
        Ok(())
    }

    /// What laying `new` over the others means.
    ///
    /// # Errors
    /// Why it does not fit over them, as a sentence's end.
    pub fn plan(&self, new: &Manifest) -> Result<Plan, String> {
        self.check_fit(new)?;
        let mut plan = Plan::default();
        if !self.meets(&new.prefixes) {
            return Ok(plan);
        }
        let inside = |path: &[u8]| new.prefixes.iter().any(|p| at_or_below(path, &p.path));
        let below: BTreeMap<&[u8], At> = (self.bundles.iter().enumerate())
            .flat_map(|(b, m)| m.entries.iter().enumerate().map(move |(e, entry)| (entry, (b, e))))
            .filter(|(entry, _)| inside(&entry.path))
            .map(|(entry, at)| (entry.path.as_slice(), at))
            .collect();
        let mut laying = Laying { stack: self, below, plan: &mut plan, standing: HashSet::new() };
        let layer = new.layer.as_ref();
        for path in layer.iter().flat_map(|l| &l.gone) {
            laying.kill(path);
            laying.kill_below(path);
        }
        layer.iter().flat_map(|l| &l.opaque).for_each(|path| laying.kill_below(path));
        let replaces = |p: &&PrefixRecord| layer.is_none() && p.mode == Mode::Snapshot;
        for prefix in new.prefixes.iter().filter(replaces) {
            laying.kill(&prefix.path);
            laying.kill_below(&prefix.path);
        }
        let implied = layer.map(|l| l.implied()).unwrap_or_default();
        let exact = layer.is_some_and(|l| !l.over.is_empty());
        for (number, entry) in new.entries.iter().enumerate() {
            laying.entry(number, entry, implied.contains(&number), exact)?;
        }
        laying.heirs();
        laying.removals(new.prefixes.iter().filter(replaces));
        let emptied = |(b, m): (usize, &Manifest)| {
            let dead = plan.dead.iter().filter(|at| at.0 == b).count();
            (dead > 0 && dead == m.entries.len()).then_some(b)
        };
        plan.covered = self.bundles.iter().enumerate().filter_map(emptied).collect();
        Ok(plan)
    }

    /// Whether a bundle may lie over what is there.
    fn check_fit(&self, new: &Manifest) -> Result<(), String> {
        if let Some(layer) = &new.layer {
            let met = self.bundles.iter().filter(|m| overlap(&m.prefixes, &new.prefixes));
            let digests: Vec<[u8; 32]> = met.map(|m| m.digest).collect();
            let over: Vec<[u8; 32]> = layer.over.iter().map(|over| over.digest).collect();
            if !digests.ends_with(&over) {
                return Err(format!(
                    "it says only what changed since {0}: name {0} right before it, as the same file that it was packed over, \
                     or pack it anew",
                    layer.names()
                ));
            }
            let known = |p: &PrefixRecord| self.prefix_of(&p.path).is_some();
            if let Some(prefix) = new.prefixes.iter().find(|p| !known(p)) {
                return Err(format!(
                    "it is a layer, and no bundle named before it stands for {}: name what it lies over first",
                    prefix.path().display()
                ));
            }
        }
        for prefix in &new.prefixes {
            let Some(parent) = prefix.path().parent() else { continue };
            let Some(outer) = self.prefix_of(parent.as_os_str().as_bytes()) else { continue };
            let ways: HashSet<&[u8]> = parent
                .ancestors()
                .map(|p| p.as_os_str().as_bytes())
                .filter(|p| at_or_below(p, &outer.path))
                .collect();
            let known = self.entries().filter(|(_, e)| ways.contains(e.path.as_slice()));
            let (mut directories, mut others) = (0, 0);
            known.for_each(|(_, e)| match e.kind {
                EntryKind::Directory => directories += 1,
                _ => others += 1,
            });
            if others > 0 || (outer.mode == Mode::Snapshot && directories < ways.len()) {
                return Err(format!(
                    "its prefix {} lies in no directory that the bundle of {} knows: make that bundle anew",
                    prefix.path().display(),
                    outer.path().display()
                ));
            }
        }
        Ok(())
    }

    /// Lays `new` over the others as planned.
    pub fn commit(&mut self, mut new: Manifest, plan: Plan) {
        for (number, kind) in plan.kept.iter().zip(plan.kinds) {
            new.entries[*number].kind = kind;
        }
        if !plan.implied.is_empty() {
            reduce(&mut new, |number| !plan.implied.contains(&number));
        }
        let changed: HashSet<usize> = plan.dead.iter().map(|at| at.0).collect();
        for b in changed {
            let manifest = &mut self.bundles[b];
            for ((_, file), heir) in plan.heirs.iter().filter(|(at, _)| at.0 == b) {
                let file = *file;
                manifest.entries[*heir].kind = manifest.entries[file].kind.clone();
                let others = manifest.entries.iter_mut();
                for other in others.filter(|e| e.kind == EntryKind::HardLink(file as u32)) {
                    other.kind = EntryKind::HardLink(*heir as u32);
                }
            }
            reduce(manifest, |number| !plan.dead.contains(&(b, number)));
        }
        let met = self.meets(&new.prefixes);
        self.add_prefixes(&new);
        self.bundles.push(new);
        if met {
            self.tidy_prefixes();
        }
    }

    fn add_prefixes(&mut self, new: &Manifest) {
        for prefix in &new.prefixes {
            let mode = match &new.layer {
                Some(_) => self.prefix_of(&prefix.path).map_or(prefix.mode, |p| p.mode),
                None => prefix.mode,
            };
            if mode == Mode::Snapshot && new.layer.is_none() {
                let within =
                    self.prefixes.iter_mut().filter(|p| at_or_below(&p.path, &prefix.path));
                within.for_each(|p| p.mode = mode);
            }
            match self.prefixes.iter_mut().find(|p| p.path == prefix.path) {
                Some(known) => {
                    known.mode = mode;
                    known.aliases.extend(prefix.aliases.iter().cloned());
                }
                None => self.prefixes.push(PrefixRecord { mode, ..prefix.clone() }),
            }
        }
    }

    /// Leaves out prefixes that are gone, and other spellings that a prefix knows by itself, as a link in it.
    fn tidy_prefixes(&mut self) {
        let mut there: HashSet<Vec<u8>> = HashSet::new();
        for (_, entry) in self.entries().filter(|(_, e)| e.kind == EntryKind::Directory) {
            if self.prefixes.iter().any(|p| p.path == entry.path) {
                there.insert(entry.path.to_vec());
            }
        }
        self.prefixes.retain(|p| there.contains(p.path.as_slice()));
        let paths: Vec<Vec<u8>> = self.prefixes.iter().map(|p| p.path.to_vec()).collect();
        for prefix in &mut self.prefixes {
            prefix.aliases.retain(|alias| !paths.iter().any(|path| at_or_below(alias, path)));
            prefix.aliases.sort();
            prefix.aliases.dedup();
        }
    }
}

/// One bundle on its way.
struct Laying<'a, 'p> {
    stack: &'a Stack,
    /// What is known at and below its prefixes.
    below: BTreeMap<&'a [u8], At>,
    plan: &'p mut Plan,
    /// Directories and files that stay where they are, as another entry's.
    standing: HashSet<At>,
}

impl<'a> Laying<'a, '_> {
    fn entry_at(&self, at: At) -> &'a EntryRecord {
        &self.stack.bundles[at.0].entries[at.1]
    }

    fn kill(&mut self, path: &[u8]) {
        if let Some(at) = self.below.get(path) {
            self.plan.dead.insert(*at);
        }
    }

    fn kill_below(&mut self, path: &[u8]) {
        // '0' is what follows '/'.
        let (from, to) = ([path, b"/"].concat(), [path, b"0"].concat());
        let range = (Bound::Included(from.as_slice()), Bound::Excluded(to.as_slice()));
        self.plan.dead.extend(self.below.range::<[u8], _>(range).map(|(_, at)| *at));
    }

    /// `exact`: what it lies over is known, so that nothing may be otherwise than it was.
    fn entry(
        &mut self,
        number: usize,
        entry: &EntryRecord,
        implied: bool,
        exact: bool,
    ) -> Result<(), String> {
        let shown = || crate::text::shown(&entry.path);
        let known = self.below.get(entry.path.as_slice()).copied();
        let known = known.filter(|at| !self.plan.dead.contains(at));
        let is_directory = known.is_some_and(|at| self.entry_at(at).kind == EntryKind::Directory);
        if implied && (exact || known.is_some()) {
            if !is_directory {
                return Err(format!(
                    "it changes what lies in {}, which is no directory below it",
                    shown()
                ));
            }
            self.plan.implied.insert(number);
            return Ok(());
        }
        if entry.kind == EntryKind::Below {
            let fits = |data: &At| self.entry_at(*data).stat.size == entry.stat.size;
            let (at, data) = known
                .and_then(|at| Some((at, self.data_of(at)?)))
                .filter(|(_, data)| fits(data))
                .ok_or_else(|| {
                    format!("it has no data for {}, and nor has what it lies over", shown())
                })?;
            self.plan.dead.insert(at);
            self.standing.insert(at);
            self.plan.kept.push(number);
            let file = self.entry_at(data);
            self.plan.kinds.push(file.kind.clone());
            if data != at {
                // Links are not there yet.
                self.plan.links.push((file.path().into(), entry.path().into()));
            }
            return Ok(());
        }
        let Some(at) = known else { return Ok(()) };
        self.plan.dead.insert(at);
        match (is_directory, entry.kind == EntryKind::Directory) {
            (true, true) => {
                self.standing.insert(at);
            }
            (true, false) => self.kill_below(&entry.path),
            (false, _) => {}
        }
        Ok(())
    }

    /// The file that an entry is, or is a name of.
    fn data_of(&self, at: At) -> Option<At> {
        match self.entry_at(at).kind {
            EntryKind::File { .. } => Some(at),
            EntryKind::HardLink(to) => Some((at.0, to as usize)),
            _ => None,
        }
    }

    /// A file goes and a hard link to it stays: its first one becomes the file.
    fn heirs(&mut self) {
        let changed: HashSet<usize> = self.plan.dead.iter().map(|at| at.0).collect();
        for b in changed {
            for (e, entry) in self.stack.bundles[b].entries.iter().enumerate() {
                let EntryKind::HardLink(to) = entry.kind else { continue };
                let file = (b, to as usize);
                if self.plan.dead.contains(&file)
                    && !self.plan.dead.contains(&(b, e))
                    && !self.plan.heirs.contains_key(&file)
                {
                    self.plan.heirs.insert(file, e);
                    let link = (self.entry_at(file).path().into(), entry.path().into());
                    self.plan.links.push(link);
                    self.plan.renamed.push(entry.clone());
                }
            }
        }
    }

    fn removals<'b>(&mut self, replaced: impl Iterator<Item = &'b PrefixRecord>) {
        let trees: Vec<&[u8]> = replaced.map(|p| p.path.as_slice()).collect();
        let in_tree = |path: &[u8]| trees.iter().any(|tree| at_or_below(path, tree));
        let mut paths: Vec<&[u8]> = trees.clone();
        for at in self.plan.dead.iter().filter(|at| !self.standing.contains(at)) {
            let entry = self.entry_at(*at);
            let is_there = !matches!(entry.kind, EntryKind::HardLink(_) | EntryKind::Symlink(_));
            if is_there && !in_tree(&entry.path) {
                paths.push(&entry.path);
            }
        }
        // Children before their parents.
        paths.sort_unstable_by(|a, b| b.cmp(a));
        let path = |bytes: &[u8]| Path::new(OsStr::from_bytes(bytes)).to_path_buf();
        self.plan.remove = paths.into_iter().map(path).collect();
    }
}

/// Leaves out entries that nothing names any more.
fn reduce(manifest: &mut Manifest, keep: impl Fn(usize) -> bool) {
    let mut numbers = Vec::with_capacity(manifest.entries.len());
    let mut next = 0;
    for number in 0..manifest.entries.len() {
        numbers.push(next);
        next += u32::from(keep(number));
    }
    let mut number = 0;
    let mut kept = |_: &EntryRecord| {
        number += 1;
        keep(number - 1)
    };
    manifest.entries.retain(&mut kept);
    for entry in &mut manifest.entries {
        if let EntryKind::HardLink(to) = &mut entry.kind {
            *to = numbers[*to as usize];
        }
    }
    if let Some(xattrs) = &mut manifest.xattrs {
        let mut number = 0;
        xattrs.of.retain(|_| {
            number += 1;
            keep(number - 1)
        });
    }
}

/// Which of several bundles are staged for a job that uses these paths: those that cover one, and those that have to do
/// with such a one, since a layer or a replacement left out would leave what is old.
#[must_use]
pub fn wanted(bundles: &[&[PrefixRecord]], paths: &[PathBuf]) -> Vec<bool> {
    let mut wanted: Vec<bool> =
        bundles.iter().map(|prefixes| crate::manifest::prefix::covers(prefixes, paths)).collect();
    loop {
        let more = (0..bundles.len()).find(|one| {
            let meets = |other: usize| wanted[other] && overlap(bundles[*one], bundles[other]);
            !wanted[*one] && (0..bundles.len()).any(meets)
        });
        match more {
            Some(one) => wanted[one] = true,
            None => return wanted,
        }
    }
}
