//! Opens the files of a job's bundles, in the one process that reads them, and decides which of the bundles are wanted.
//!
//! Invariants:
//! - A bundle that nobody needs is not opened, unless its prefixes are needed to decide which other bundles are wanted.
//! - A file is opened at most once.
#![forbid(unsafe_code)]

use crate::bundle::{Named, Reader};
use crate::error::Result;
use crate::manifest::prefix::{PrefixRecord, covers};
use crate::stage::build::IncomingBundle;
use crate::stage::build_options::BuildOptions;

/// The files of a job's bundles.
#[derive(Debug)]
pub struct BundleFiles {
    bundles: Vec<Named>,
    files: Vec<BundleFile>,
    /// For each bundle, its prefixes; empty if they are not known yet.
    prefixes: Vec<Vec<PrefixRecord>>,
}

#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "there are few of them")]
enum BundleFile {
    Unopened,
    Open(Reader),
    /// The bundle was opened, and the job does not want it.
    Unwanted,
}

impl BundleFiles {
    /// Returns the files of `bundles`, none of them open. `prefixes` has the prefixes of each bundle, as far as they
    /// are known.
    #[must_use]
    pub fn new(bundles: &[Named], prefixes: Vec<Vec<PrefixRecord>>) -> Self {
        let files = bundles.iter().map(|_| BundleFile::Unopened).collect();
        Self { bundles: bundles.to_vec(), files, prefixes }
    }

    /// Opens the bundles that are needed. Returns a description of each of the job's bundles whose bytes will arrive;
    /// `None` for a bundle that is not needed, or that `options` do not want.
    ///
    /// # Errors
    /// As [`Reader::open`].
    pub fn open(
        &mut self,
        options: &BuildOptions,
        is_needed: impl Fn(usize) -> bool,
    ) -> Result<Vec<Option<IncomingBundle>>> {
        self.open_if(|number, _| is_needed(number))?;
        if let Some(interests) = &options.interests {
            let mut open = self.files.iter().filter_map(BundleFile::reader);
            if !open.all(|reader| covers(reader.prefixes(), interests)) {
                // Whether a bundle that covers no interest is wanted depends on all other bundles, so the prefixes of
                // all bundles are needed.
                self.open_if(|_, prefixes| prefixes.is_empty())?;
            }
        }
        let prefixes: Vec<&[PrefixRecord]> = self.prefixes.iter().map(Vec::as_slice).collect();
        let wanted = options.wanted(&prefixes);
        let mut incoming = Vec::new();
        for (number, (file, wanted)) in self.files.iter_mut().zip(wanted).enumerate() {
            if matches!(file, BundleFile::Open(_)) && !wanted {
                *file = BundleFile::Unwanted;
            }
            let reader = file.reader().filter(|_| is_needed(number));
            incoming.push(reader.map(IncomingBundle::of));
        }
        Ok(incoming)
    }

    /// Opens the bundle with this number, which was not needed until now; `None` if `options` do not want it.
    ///
    /// # Errors
    /// As [`Reader::open`].
    pub fn open_late(
        &mut self,
        options: &BuildOptions,
        number: usize,
    ) -> Result<Option<IncomingBundle>> {
        Ok(self.open(options, |n| n == number)?.into_iter().nth(number).flatten())
    }

    /// The reader of the bundle with this number; `None` if it is not open.
    pub fn reader(&mut self, number: usize) -> Option<&mut Reader> {
        match self.files.get_mut(number)? {
            BundleFile::Open(reader) => Some(reader),
            _ => None,
        }
    }

    fn open_if(&mut self, which: impl Fn(usize, &[PrefixRecord]) -> bool) -> Result<()> {
        for (number, file) in self.files.iter_mut().enumerate() {
            let prefixes = &mut self.prefixes[number];
            if matches!(file, BundleFile::Unopened) && which(number, prefixes) {
                let reader = Reader::open(&self.bundles[number])?;
                *prefixes = reader.prefixes().to_vec();
                *file = BundleFile::Open(reader);
            }
        }
        Ok(())
    }
}

impl BundleFile {
    fn reader(&self) -> Option<&Reader> {
        match self {
            Self::Open(reader) => Some(reader),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::bundle::{PackOptions, PrefixSpec, pack};
    use crate::manifest::prefix::Mode;

    /// Packs a directory with one file, and returns the bundle and the directory.
    fn bundle(root: &Path, name: &str) -> (Named, PathBuf) {
        let path = root.join(name);
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join("file"), name).unwrap();
        let file = root.join(format!("{name}.tar.zst"));
        let spec = PrefixSpec { path: path.clone(), mode: Mode::Snapshot };
        pack(
            &[spec],
            &file,
            &PackOptions { level: None, progress: crate::progress::Progress::Hidden },
        )
        .unwrap();
        (Named::file(&file), path)
    }

    fn names(incoming: &[Option<IncomingBundle>]) -> Vec<bool> {
        incoming.iter().map(Option::is_some).collect()
    }

    #[test]
    fn a_bundle_that_nobody_needs_is_not_opened() {
        let dir = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(dir.path()).unwrap();
        let bundles = [bundle(&root, "a").0, Named::file(&root.join("missing"))];
        let mut files = BundleFiles::new(&bundles, vec![Vec::new(); 2]);
        let incoming = files.open(&BuildOptions::default(), |number| number == 0).unwrap();
        assert_eq!(names(&incoming), [true, false]);
        assert!(files.reader(0).is_some() && files.reader(1).is_none());
        assert!(files.open_late(&BuildOptions::default(), 1).is_err());
    }

    #[test]
    fn the_prefixes_of_all_bundles_decide_which_are_wanted_and_each_file_is_opened_once() {
        let dir = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(dir.path()).unwrap();
        let ((a, _), (b, interest)) = (bundle(&root, "a"), bundle(&root, "b"));
        let options = BuildOptions { interests: Some(vec![interest]), ..BuildOptions::default() };
        let mut files = BundleFiles::new(&[a.clone(), b.clone()], vec![Vec::new(); 2]);
        assert_eq!(names(&files.open(&options, |number| number == 0).unwrap()), [false, false]);
        std::fs::remove_file(a.path).unwrap();
        std::fs::remove_file(b.path).unwrap();
        assert_eq!(names(&files.open(&options, |_| true).unwrap()), [false, true]);
        assert!(files.reader(0).is_none() && files.reader(1).is_some());
    }
}
