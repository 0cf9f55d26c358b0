//! A bundle: what its manifest says, with the data that its frames hold; or a tar that others made. Several are one view,
//! as they are staged: each over those before it.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};

use indicatif::ProgressBar;

use crate::archive::walk::Digests;
use crate::bundle::{Named, Reader};
use crate::error::{Error, Result};
use crate::manifest::entry::EntryKind;
use crate::manifest::frame::Decoder;
use crate::manifest::{Manifest, Stack};
use crate::verify::{Content, Facts, Type, View};
use crate::{bundle, progress};

/// All that a bundle holds, read to its end.
///
/// # Errors
/// As [`Reader::open`]; for a tar that others made also what is wrong with it anywhere.
fn of_bundle(named: &Named, quiet: bool) -> Result<(View, Manifest)> {
    let reader = Reader::open(named)?;
    let length = reader.len();
    match reader.content() {
        bundle::Content::Archive(_) => {
            let bar = progress::byte_bar_unless(quiet, "reading the archive", length);
            let (manifest, _) = reader.survey(&mut Digests::new(bar.clone()))?;
            bar.finish_and_clear();
            let of = |digest: [u8; 32]| Content::Digest(digest);
            let contents = manifest.entries.iter().map(|e| match &e.kind {
                EntryKind::File { digest, .. } => of(*digest),
                _ => Content::Elsewhere,
            });
            let contents = contents.collect();
            let mut view = View { no_modes: 0o6000, ..view(&manifest, contents) };
            // Directories that it does not name.
            for facts in view.paths.values_mut().filter(|f| f.kind == Type::Directory) {
                facts.mtime = facts.mtime.filter(|time| *time != (0, 0));
            }
            Ok((view, manifest))
        }
        bundle::Content::Bundle(manifest) => {
            let bar =
                progress::byte_bar_unless(quiet, "reading the bundle", manifest.unpacked_bytes());
            let contents = read(named, length, manifest, &bar)?;
            bar.finish_and_clear();
            Ok((view(manifest, contents), manifest.clone()))
        }
    }
}

/// All that several bundles hold together.
///
/// # Errors
/// As [`of_bundle`], and [`Error::BadBundle`] for one that does not fit over those before it.
pub fn of_bundles(bundles: &[Named], quiet: bool) -> Result<Option<View>> {
    let (mut all, mut stack) = (None, Stack::default());
    for named in bundles {
        let (view, manifest) = of_bundle(named, quiet)?;
        let number = stack.bundles().len();
        stack.lay(manifest).map_err(|reason| Error::bundle(&named.path, reason))?;
        all = Some(match all {
            None => view,
            Some(below) => over(below, view, &stack, number),
        });
    }
    Ok(all)
}

/// `new`, which `stack` knows by its number, over `below`.
fn over(mut below: View, mut new: View, stack: &Stack, number: usize) -> View {
    let mut paths = std::collections::BTreeMap::new();
    for (bundle, entry) in stack.entries() {
        let path = entry.path.to_vec();
        let facts = if bundle == number {
            new.paths.remove(&path).map(|mut facts| {
                if let Content::Below(of) = &facts.content {
                    let data = below.paths.get(of).map(|below| below.content.clone());
                    facts.content = data.unwrap_or(Content::Elsewhere);
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
    below.no_modes |= new.no_modes;
    below
}

fn view(manifest: &Manifest, contents: Vec<Content>) -> View {
    let mut view = View { name: "bundle", prefixes: manifest.prefixes.clone(), ..View::default() };
    for (number, entry) in manifest.entries.iter().enumerate() {
        let (kind, target, of) = match &entry.kind {
            EntryKind::Directory => (Type::Directory, Vec::new(), number),
            EntryKind::File { .. } | EntryKind::Remote | EntryKind::Below => {
                (Type::File, Vec::new(), number)
            }
            EntryKind::HardLink(file) => (Type::File, Vec::new(), *file as usize),
            EntryKind::Symlink(target) => (Type::Symlink, target.to_vec(), number),
            EntryKind::Other => (Type::Other, Vec::new(), number),
        };
        let facts = Facts {
            kind,
            mode: entry.stat.mode & 0o7777,
            owner: (entry.stat.uid, entry.stat.gid),
            size: entry.stat.size,
            mtime: Some(entry.stat.mtime),
            target,
            content: contents.get(of).cloned().unwrap_or(Content::Elsewhere),
        };
        view.paths.insert(entry.path.to_vec(), facts);
    }
    view
}

/// The content of each entry of a bundle of ours, against the manifest's own digests. A frame that cannot be decoded
/// damages the files in it, and the next one is looked at.
fn read(
    named: &Named,
    length: u64,
    manifest: &Manifest,
    bar: &ProgressBar,
) -> Result<Vec<Content>> {
    let failed = Error::read("bundle", &named.path);
    let packed: u64 = manifest.frames.iter().map(|f| u64::from(f.packed)).sum();
    let contents = manifest.entries.iter().map(|e| match e.kind {
        EntryKind::Below => Content::Below(e.path.to_vec()),
        _ => Content::Elsewhere,
    });
    let mut contents: Vec<Content> = contents.collect();
    let mut files =
        manifest.entries.iter().enumerate().filter_map(|(number, entry)| match entry.kind {
            EntryKind::File { offset, digest, .. } => Some(Pending {
                number,
                offset,
                end: offset + entry.stat.size,
                digest,
                hash: blake3::Hasher::new(),
                damage: None,
            }),
            _ => None,
        });
    let mut current = files.next();
    let mut run = || -> std::io::Result<()> {
        let mut file = File::open(&named.path)?;
        file.seek(SeekFrom::Start(length - packed))?;
        let mut file = BufReader::with_capacity(1 << 20, file);
        let mut decoder = Decoder::new(manifest.codec)?;
        let (mut start, mut frame) = (0, Vec::new());
        for record in &manifest.frames {
            frame.resize(record.packed as usize, 0);
            file.read_exact(&mut frame)?;
            let raw = decoder.decode(&frame, record.raw as usize);
            let end = start + u64::from(record.raw);
            while let Some(pending) = current.as_mut().filter(|p| p.offset < end) {
                let (from, to) = (pending.offset.max(start), pending.end.min(end));
                match &raw {
                    Ok(raw) => {
                        pending.hash.update(&raw[(from - start) as usize..(to - start) as usize]);
                    }
                    Err(e) => pending.damage = Some(format!("its frame cannot be decoded ({e})")),
                }
                bar.inc(to - from);
                if pending.end > end {
                    break;
                }
                let done = std::mem::replace(&mut current, files.next());
                done.into_iter().for_each(|done| done.end_in(&mut contents));
            }
            start = end;
        }
        // Empty files at the end.
        current
            .take()
            .into_iter()
            .chain(files.by_ref())
            .for_each(|done| done.end_in(&mut contents));
        Ok(())
    };
    run().map_err(failed)?;
    Ok(contents)
}

/// A file whose data is being read.
struct Pending {
    number: usize,
    offset: u64,
    end: u64,
    digest: [u8; 32],
    hash: blake3::Hasher,
    damage: Option<String>,
}

impl Pending {
    fn end_in(self, contents: &mut [Content]) {
        let digest = *self.hash.finalize().as_bytes();
        let differs = || "its data is not what the manifest's digest says".to_string();
        let damage = self.damage.or_else(|| (digest != self.digest).then(differs));
        contents[self.number] = damage.map_or(Content::Digest(digest), Content::Damaged);
    }
}
