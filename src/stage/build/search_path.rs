//! Decides what the search path of a staged library says in the stage.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use pyshm_format::layout;

use crate::manifest::Stack;
use crate::manifest::entry::EntryRecord;
use crate::manifest::prefix::Mode;
use crate::program::run_path::{self, StagedElement};
use crate::stage::build::staged_paths::{End, StagedPaths};

/// What the elements of search paths lead to.
pub(super) struct SearchPaths<'a> {
    stack: &'a Stack,
    paths: &'a StagedPaths<'a>,
    /// `<stage>/fs`, where the stage will lie.
    fs: PathBuf,
    /// Which of the directories that led into a prefix when they were packed still do.
    confirmed: RefCell<HashMap<PathBuf, bool>>,
}

impl<'a> SearchPaths<'a> {
    /// Search paths for the stage that will lie at `stage`.
    pub(super) fn new(stack: &'a Stack, paths: &'a StagedPaths<'a>, stage: &Path) -> Self {
        Self { stack, paths, fs: stage.join(layout::FS), confirmed: RefCell::default() }
    }

    /// The texts for an element of the search path of `file`, and the exit that it needs. `recorded` is what the
    /// manifest has for the element.
    pub(super) fn element(
        &self,
        file: &EntryRecord,
        element: &[u8],
        recorded: &[u8],
    ) -> (Option<StagedElement>, Option<PathBuf>) {
        let origin = file.path().parent().unwrap_or(Path::new("/"));
        if let Some(rest) = run_path::below_origin(element) {
            return (None, self.paths.follow(origin, rest).1);
        }
        let spelled = Path::new(OsStr::from_bytes(element));
        if !spelled.is_absolute() {
            return (None, None);
        }
        let Some(real) = self.paths.real(spelled) else {
            let led = Path::new(OsStr::from_bytes(recorded));
            let inside = recorded != element && self.leads_there(spelled, led);
            let texts = || self.texts(file, origin, led, recorded);
            return (inside.then(texts).flatten(), None);
        };
        let exit = self.paths.follow(Path::new("/"), &real).1;
        // Names of libraries show the element's own spelling, except that of an alias, which the stage does not have.
        let shown = match element {
            _ if spelled != real => real.as_os_str().as_bytes(),
            [shown @ .., b'/'] => shown,
            shown => shown,
        };
        (self.texts(file, origin, &real, shown), exit)
    }

    /// The texts for the directory `real`, which the names of libraries show as `shown`; `None` if the stage may not
    /// know all names in it.
    fn texts(
        &self,
        file: &EntryRecord,
        origin: &Path,
        real: &Path,
        shown: &[u8],
    ) -> Option<StagedElement> {
        let prefix = self.stack.prefix_of(real.as_os_str().as_bytes())?;
        if prefix.mode == Mode::Overlay && self.paths.entry(real).is_none() {
            return None;
        }
        let plain: PathBuf = real.components().collect();
        let is_plain = shown == plain.as_os_str().as_bytes()
            && real.components().all(|part| part != Component::ParentDir);
        let by_origin = is_plain && !self.paths.is_linked_from_elsewhere(file);
        Some(StagedElement {
            absolute: self.staged(shown),
            by_origin: by_origin.then(|| run_path::by_origin(origin, real)),
        })
    }

    /// The staged name of a library that a file needs by its absolute name; `None` if the stage does not have it.
    pub(super) fn library(&self, name: &[u8]) -> Option<Vec<u8>> {
        let spelled = Path::new(OsStr::from_bytes(name));
        let real = self.paths.real(spelled).filter(|_| spelled.is_absolute())?;
        match self.paths.follow(Path::new("/"), &real) {
            (End::Entry(_), None) => Some(self.staged(real.as_os_str().as_bytes())),
            _ => None,
        }
    }

    /// The staged name of an absolute path.
    fn staged(&self, path: &[u8]) -> Vec<u8> {
        [self.fs.as_os_str().as_bytes(), path].concat()
    }

    /// Whether a directory outside every prefix leads to `there`, as it did when it was packed.
    fn leads_there(&self, spelled: &Path, there: &Path) -> bool {
        let look = || run_path::resolve(spelled).as_deref() == Some(there);
        let mut confirmed = self.confirmed.borrow_mut();
        *confirmed.entry(spelled.to_path_buf()).or_insert_with(look)
    }
}
