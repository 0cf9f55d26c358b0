//! Makes the view of bundles from their manifests and the data in their frames, or from the members of foreign tars.
//! Several bundles become one view: each bundle is laid over the bundles before it, as in a stage.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::ops::Range;

use indicatif::ProgressBar;

use crate::archive::walk::DigestSink;
use crate::bundle;
use crate::bundle::{Named, Reader};
use crate::error::{Error, Result, one_line};
use crate::manifest::entry::EntryKind;
use crate::manifest::frame::Decoder;
use crate::manifest::{Manifest, Stack};
use crate::progress::Progress;
use crate::verify::view::{Facts, FileContent, PathType, View};

/// Reads one bundle to its end and returns its view.
///
/// # Errors
/// As [`Reader::open`]; for a foreign tar also the error of each of its members.
fn of_bundle(named: &Named, progress: Progress) -> Result<(View, Manifest)> {
    let reader = Reader::open(named)?;
    let length = reader.len();
    match reader.content() {
        bundle::Content::Archive(_) => {
            let bar = progress.byte_bar("reading the archive", length);
            let (manifest, _) = reader.survey(&mut DigestSink::new(bar.clone()))?;
            bar.finish_and_clear();
            let contents = manifest.entries.iter().map(|e| match &e.kind {
                EntryKind::File { digest, .. } => FileContent::Digest(*digest),
                _ => FileContent::Elsewhere,
            });
            let contents = contents.collect();
            let mut view = View { unrecorded_modes: 0o6000, ..view(&manifest, contents) };
            // No member names these directories, so their times are not recorded.
            for facts in view.paths.values_mut().filter(|f| f.kind == PathType::Directory) {
                facts.mtime = facts.mtime.filter(|time| *time != (0, 0));
            }
            Ok((view, manifest))
        }
        bundle::Content::Bundle(manifest) => {
            let bar = progress.byte_bar("reading the bundle", manifest.unpacked_bytes());
            let contents = read(named, length, manifest, &bar)?;
            bar.finish_and_clear();
            Ok((view(manifest, contents), manifest.clone()))
        }
    }
}

/// Returns the view of several bundles together; `None` where there are none.
///
/// # Errors
/// As [`of_bundle`], and [`Error::BadBundle`] for a bundle that does not fit over the bundles before it.
pub fn of_bundles(bundles: &[Named], progress: Progress) -> Result<Option<View>> {
    let (mut all, mut stack) = (None, Stack::default());
    for named in bundles {
        let (view, manifest) = of_bundle(named, progress)?;
        let number = stack.bundles().len();
        stack.lay(manifest).map_err(|reason| Error::bundle(&named.path, reason))?;
        all = Some(match all {
            None => view,
            Some(below) => lay_over(below, view, &stack, number),
        });
    }
    Ok(all)
}

/// Lays the view `new`, which is bundle `number` of `stack`, over `below`.
fn lay_over(mut below: View, mut new: View, stack: &Stack, number: usize) -> View {
    let mut paths = BTreeMap::new();
    for (bundle, entry) in stack.entries() {
        let path = entry.path.to_vec();
        let facts = if bundle == number {
            new.paths.remove(&path).map(|mut facts| {
                if let FileContent::Below(of) = &facts.content {
                    let data = below.paths.get(of).map(|below| below.content.clone());
                    facts.content = data.unwrap_or(FileContent::Elsewhere);
                }
                (path, facts)
            })
        } else {
            below.paths.get(&path).map(|facts| (path, facts.clone()))
        };
        paths.extend(facts);
    }
    below.paths = paths;
    below.prefixes = stack.prefixes().to_vec();
    below.unrecorded_modes |= new.unrecorded_modes;
    below
}

fn view(manifest: &Manifest, contents: Vec<FileContent>) -> View {
    let mut view = View { name: "bundle", prefixes: manifest.prefixes.clone(), ..View::default() };
    for (number, entry) in manifest.entries.iter().enumerate() {
        let (kind, target, of) = match &entry.kind {
            EntryKind::Directory => (PathType::Directory, Vec::new(), number),
            EntryKind::File { .. } | EntryKind::Remote | EntryKind::Below => {
                (PathType::File, Vec::new(), number)
            }
            EntryKind::HardLink(file) => (PathType::File, Vec::new(), *file as usize),
            EntryKind::Symlink(target) => (PathType::Symlink, target.to_vec(), number),
            EntryKind::Other => (PathType::Other, Vec::new(), number),
        };
        let facts = Facts {
            kind,
            mode: entry.stat.mode & 0o7777,
            owner: (entry.stat.uid, entry.stat.gid),
            size: entry.stat.size,
            mtime: Some(entry.stat.mtime),
            target,
            content: contents.get(of).cloned().unwrap_or(FileContent::Elsewhere),
        };
        view.paths.insert(entry.path.to_vec(), facts);
    }
    view
}

/// Reads the content of each entry of a bundle that pyshm made, and checks it against the manifest's digests. If a
/// frame cannot be decoded, its files count as damaged and reading continues with the next frame.
fn read(
    named: &Named,
    length: u64,
    manifest: &Manifest,
    bar: &ProgressBar,
) -> Result<Vec<FileContent>> {
    let mut hasher = FileHasher::new(manifest, bar);
    hash_frames(named, length, manifest, &mut hasher)
        .map_err(Error::read("bundle", &named.path))?;
    Ok(hasher.finish())
}

/// Decodes the frames in the order of the stream and passes each to `hasher`.
fn hash_frames(
    named: &Named,
    length: u64,
    manifest: &Manifest,
    hasher: &mut FileHasher<'_>,
) -> io::Result<()> {
    let packed: u64 = manifest.frames.iter().map(|f| u64::from(f.packed)).sum();
    let mut file = File::open(&named.path)?;
    file.seek(SeekFrom::Start(length - packed))?;
    let mut file = BufReader::with_capacity(1 << 20, file);
    let mut decoder = Decoder::new(manifest.codec)?;
    let (mut start, mut frame) = (0, Vec::new());
    for record in &manifest.frames {
        frame.resize(record.packed as usize, 0);
        file.read_exact(&mut frame)?;
        let end = start + u64::from(record.raw);
        hasher.add(start..end, decoder.decode(&frame, record.raw as usize));
        start = end;
    }
    Ok(())
}

/// Hashes the files of a bundle whose stream comes frame by frame.
struct FileHasher<'a> {
    contents: Vec<FileContent>,
    /// The files that are not finished, in the order of the stream.
    pending: VecDeque<Pending>,
    /// The hash of the data that was read so far of the first pending file.
    hash: blake3::Hasher,
    damage: Option<String>,
    bar: &'a ProgressBar,
}

impl<'a> FileHasher<'a> {
    fn new(manifest: &Manifest, bar: &'a ProgressBar) -> Self {
        let contents = manifest.entries.iter().map(|e| match e.kind {
            EntryKind::Below => FileContent::Below(e.path.to_vec()),
            _ => FileContent::Elsewhere,
        });
        let pending = manifest.entries.iter().enumerate();
        let pending = pending.filter_map(|(number, entry)| match entry.kind {
            EntryKind::File { offset, digest, .. } => {
                Some(Pending { number, offset, end: offset + entry.stat.size, digest })
            }
            _ => None,
        });
        Self {
            contents: contents.collect(),
            pending: pending.collect(),
            hash: blake3::Hasher::new(),
            damage: None,
            bar,
        }
    }

    /// Adds a frame, which covers `range` of the stream.
    fn add(&mut self, range: Range<u64>, raw: io::Result<&[u8]>) {
        while let Some(file) = self.pending.front().filter(|p| p.offset < range.end) {
            let (from, to) = (file.offset.max(range.start), file.end.min(range.end));
            match &raw {
                Ok(raw) => {
                    let (from, to) = (from - range.start, to - range.start);
                    self.hash.update(&raw[from as usize..to as usize]);
                }
                Err(e) => {
                    self.damage = Some(format!("its frame cannot be decoded ({})", one_line(e)));
                }
            }
            self.bar.inc(to - from);
            if file.end > range.end {
                break;
            }
            self.finish_first();
        }
    }

    /// Returns the content of each entry. Files that are still pending here are empty files at the end of the stream.
    fn finish(mut self) -> Vec<FileContent> {
        while !self.pending.is_empty() {
            self.finish_first();
        }
        self.contents
    }

    fn finish_first(&mut self) {
        let Some(file) = self.pending.pop_front() else { return };
        let digest = *self.hash.finalize().as_bytes();
        self.hash.reset();
        let differs = || "its data is not what the manifest's digest says".to_string();
        let damage = self.damage.take().or_else(|| (digest != file.digest).then(differs));
        self.contents[file.number] =
            damage.map_or(FileContent::Digest(digest), FileContent::Damaged);
    }
}

/// A file whose data is being read.
struct Pending {
    /// The number of its entry.
    number: usize,
    /// Where its data starts and ends in the stream.
    offset: u64,
    end: u64,
    /// The digest that the manifest records.
    digest: [u8; 32],
}
