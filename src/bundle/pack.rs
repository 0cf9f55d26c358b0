//! Packs prefixes into a bundle: one pass over the files, frames compressed by all cores.
//!
//! The manifest stands in front but knows the digests only at the end, so the frames go to a temporary file beside
//! the output and are appended to the manifest then. Nothing appears under the output's name before it is whole.
//! A file or directory that changes meanwhile makes the packing fail: a bundle is one moment of its prefix.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, mpsc};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use indicatif::ProgressBar;
use serde_bytes::ByteBuf;

use crate::bundle::head::Head;
use crate::bundle::pack_layer::{Below, Take};
use crate::error::{Error, Result};
use crate::manifest::entry::{EntryKind, EntryRecord};
use crate::manifest::frame::{Codec, Cutter};
use crate::manifest::prefix::{Mode, PrefixRecord};
use crate::manifest::walk::Found;
use crate::manifest::xattr::{Collector, Xattrs};
use crate::manifest::{FrameRecord, Manifest, walk};
use crate::process::temp_files;
use crate::program::run_path;
use crate::{manifest, progress};

/// A directory to pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrefixSpec {
    /// As the user names it; any spelling.
    pub path: PathBuf,
    /// What a miss below it means.
    pub mode: Mode,
}

/// How to pack.
#[derive(Debug, Clone, Default)]
pub struct PackOptions {
    /// Compression level of the codec; `None` takes the codec's usual one.
    pub level: Option<i32>,
    /// No progress bar.
    pub quiet: bool,
}

/// What was packed.
#[derive(Debug)]
pub struct PackReport {
    /// Number of paths.
    pub entries: usize,
    /// Bytes of the files.
    pub raw_bytes: u64,
    /// Bytes of the bundle.
    pub bundle_bytes: u64,
    /// Wall time in seconds.
    pub seconds: f64,
    /// What the bundle says of itself.
    pub manifest: Manifest,
}

/// Packs `prefixes` into the file `output`, whose ending decides the compression (`.tar.zst` or `.tar.gz`).
///
/// # Errors
/// [`Error::NoInput`] for a prefix that cannot be read, [`Error::TryAgain`] when it changes meanwhile,
/// [`Error::CannotWrite`] for the output, [`Error::Usage`] for another ending.
pub fn pack(prefixes: &[PrefixSpec], output: &Path, options: &PackOptions) -> Result<PackReport> {
    pack_over(prefixes, &[], output, options)
}

/// The same as a layer: only what changed since the bundles `over`, the lowest first; a whole bundle if there are none.
///
/// # Errors
/// As [`pack`]; [`Error::Usage`] when a prefix lies in none of theirs.
pub fn pack_over(
    prefixes: &[PrefixSpec],
    over: &[PathBuf],
    output: &Path,
    options: &PackOptions,
) -> Result<PackReport> {
    let begun = Instant::now();
    let codec = codec_of(output)?;
    let level = options.level.unwrap_or(codec.default_level());
    if !codec.levels().contains(&level) {
        let (first, last) = (codec.levels().start().to_owned(), codec.levels().end().to_owned());
        return Err(Error::Usage(format!(
            "{level} is no compression level: for {} they are {first} to {last}",
            output.display()
        )));
    }
    let mut prefixes = resolve(prefixes)?;
    let below = (!over.is_empty()).then(|| Below::open(over)).transpose()?;
    below.as_ref().map_or(Ok(()), |below| below.inherit(&mut prefixes))?;
    let found = prefixes.iter().flat_map(|p| walk::walk(p.path())).collect::<Result<Vec<_>>>()?;
    let compared = below.map(|below| below.compare(&prefixes, &found));
    let (takes, mut layer) =
        compared.map_or_else(|| (vec![Take::Whole; found.len()], None), |(t, l)| (t, Some(l)));
    let taken: Vec<(&Found, Take)> =
        found.iter().zip(takes).filter(|(_, take)| *take != Take::Not).collect();
    let has_data = |(f, take): &&(&Found, Take)| f.kind.is_file() && *take == Take::Whole;
    let raw_bytes = taken.iter().filter(has_data).map(|(f, _)| f.stat.size).sum();
    if let Some(layer) = &mut layer {
        let implied = taken.iter().enumerate().filter(|(_, (_, take))| *take == Take::Implied);
        layer.implied = implied.map(|(number, _)| number as u32).collect();
    }

    let temporary = Temporary::beside(output)?;
    let bar = if options.quiet {
        ProgressBar::hidden()
    } else {
        progress::byte_bar("packing", raw_bytes)
    };
    let (entries, xattrs, frames) = write_frames(&taken, &temporary.frames, codec, level, &bar)?;
    bar.finish_and_clear();

    let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let tool = concat!("pyshm ", env!("CARGO_PKG_VERSION")).to_string();
    let xattrs = Some(xattrs);
    let digest = [0; 32];
    let manifest =
        Manifest { tool, created, codec, prefixes, entries, frames, xattrs, layer, digest };
    let changed = match &manifest.layer {
        None => manifest.changed()?,
        Some(_) => {
            let known = found.iter().map(|f| (f.path.as_path(), &f.stat)).collect();
            manifest::changed(&manifest.prefixes, known)?
        }
    };
    if let Some(path) = changed {
        return Err(changed_meanwhile(&path));
    }
    let bundle_bytes = temporary.assemble(&manifest, level, output)?;
    let seconds = begun.elapsed().as_secs_f64();
    Ok(PackReport { entries: manifest.entries.len(), raw_bytes, bundle_bytes, seconds, manifest })
}

fn codec_of(output: &Path) -> Result<Codec> {
    let name = output.file_name().unwrap_or_default().as_bytes();
    match name {
        _ if name.ends_with(b".tar.zst") => Ok(Codec::Zstd),
        _ if name.ends_with(b".tar.gz") || name.ends_with(b".tgz") => Ok(Codec::Gzip),
        _ => Err(Error::Usage(format!(
            "{} ends neither in .tar.zst nor in .tar.gz",
            output.display()
        ))),
    }
}

/// Real paths, the spellings that were given as aliases, nothing below another prefix.
fn resolve(specs: &[PrefixSpec]) -> Result<Vec<PrefixRecord>> {
    let mut records: Vec<PrefixRecord> = Vec::new();
    for spec in specs {
        let failed = Error::read("prefix", &spec.path);
        let spelled = std::path::absolute(&spec.path).map_err(Error::read("prefix", &spec.path))?;
        let real = std::fs::canonicalize(&spec.path).map_err(failed)?;
        if !real.is_dir() {
            return Err(Error::read("prefix", &spec.path)(io::ErrorKind::NotADirectory.into()));
        }
        if real == Path::new("/") {
            return Err(Error::Usage(
                "the root directory is no prefix: name an environment's directory".into(),
            ));
        }
        // `absolute` keeps "..", which only the kernel can resolve: such a spelling is no alias.
        let plain = spelled.components().all(|c| c != std::path::Component::ParentDir);
        let spelled: PathBuf = spelled.components().collect();
        let aliases = if plain && spelled != real { vec![bytes_of(&spelled)] } else { Vec::new() };
        match records.iter_mut().find(|r| real.starts_with(r.path())) {
            Some(outer) if outer.path() == real => outer.aliases.extend(aliases),
            Some(_) => {}
            None => {
                records.retain(|r| !r.path().starts_with(&real));
                records.push(PrefixRecord { path: bytes_of(&real), aliases, mode: spec.mode });
            }
        }
    }
    Ok(records)
}

fn bytes_of(path: &Path) -> ByteBuf {
    ByteBuf::from(path.as_os_str().to_os_string().into_vec())
}

fn changed_meanwhile(path: &Path) -> Error {
    Error::TryAgain(format!(
        "{} changed while it was packed: try again when nothing writes there",
        path.display()
    ))
}

/// Writes all frames to `file` and returns the entries, their extended attributes and the frames of the manifest.
fn write_frames(
    found: &[(&Found, Take)],
    file: &File,
    codec: Codec,
    level: i32,
    bar: &ProgressBar,
) -> Result<(Vec<EntryRecord>, Xattrs, Vec<FrameRecord>)> {
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    let (raw_to, raw_from) = mpsc::sync_channel::<(usize, Vec<u8>)>(threads);
    let (packed_to, packed_from) = mpsc::sync_channel::<(usize, io::Result<Packed>)>(threads);
    let raw_from = Mutex::new(raw_from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let (raw_from, packed_to) = (&raw_from, packed_to.clone());
            scope.spawn(move || {
                loop {
                    // The lock is held while waiting: one thread waits for the channel, the others for the lock.
                    let next = raw_from.lock().ok().and_then(|from| from.recv().ok());
                    let Some((number, raw)) = next else { return };
                    let packed = Packed::new(codec, &raw, level);
                    if packed_to.send((number, packed)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(packed_to);
        let writer = scope.spawn(move || write_in_order(&packed_from, file));
        let mut number = 0;
        let mut cutter = Cutter::new(|raw| {
            number += 1;
            raw_to.send((number - 1, raw)).map_err(|_| io::Error::other("the compressors stopped"))
        });
        let entries = write_tar(found, &mut cutter, bar);
        let finished = cutter.finish();
        drop(raw_to);
        let frames = writer.join().unwrap_or_else(|_| Err(io::Error::other("the writer stopped")));
        // A failure to write stops the compressors and then the reader: it is the one to report.
        let frames = frames.map_err(Error::system("write the bundle's frames"))?;
        let (entries, xattrs) = entries?;
        finished.map_err(Error::system("write the bundle's frames"))?;
        Ok((entries, xattrs, frames))
    })
}

/// A compressed frame and what the manifest says of it.
struct Packed {
    bytes: Vec<u8>,
    record: FrameRecord,
}

impl Packed {
    fn new(codec: Codec, raw: &[u8], level: i32) -> io::Result<Self> {
        let bytes = codec.compress(raw, level)?;
        let digest = *blake3::hash(raw).as_bytes();
        Ok(Self {
            record: FrameRecord { packed: bytes.len() as u32, raw: raw.len() as u32, digest },
            bytes,
        })
    }
}

fn write_in_order(
    from: &mpsc::Receiver<(usize, io::Result<Packed>)>,
    file: &File,
) -> io::Result<Vec<FrameRecord>> {
    let mut file = BufWriter::with_capacity(1 << 20, file);
    let mut waiting = HashMap::new();
    let mut records = Vec::new();
    for (number, packed) in from {
        waiting.insert(number, packed?);
        while let Some(next) = waiting.remove(&records.len()) {
            file.write_all(&next.bytes)?;
            records.push(next.record);
        }
    }
    file.flush()?;
    Ok(records)
}

/// Writes the tar stream behind the manifest's member.
fn write_tar<F>(
    found: &[(&Found, Take)],
    cutter: &mut Cutter<F>,
    bar: &ProgressBar,
) -> Result<(Vec<EntryRecord>, Xattrs)>
where
    F: FnMut(Vec<u8>) -> io::Result<()>,
{
    let mut xattrs = Collector::default();
    let mut first_names: HashMap<(u64, u64), u32> = HashMap::new();
    let mut entries: Vec<EntryRecord> = Vec::with_capacity(found.len());
    let mut tar = tar::Builder::new(cutter);
    let sink = |cause| Error::System { what: "write the bundle's frames".into(), cause };
    for (item, take) in found {
        let mut header = header(item);
        let member = item.path.strip_prefix("/").unwrap_or(&item.path);
        let mut stat = item.stat;
        let kind = if item.kind.is_dir() {
            header.set_entry_type(tar::EntryType::Directory);
            tar.append_data(&mut header, member, io::empty()).map_err(sink)?;
            EntryKind::Directory
        } else if item.kind.is_symlink() {
            let target =
                std::fs::read_link(&item.path).map_err(Error::read("prefix", &item.path))?;
            header.set_entry_type(tar::EntryType::Symlink);
            tar.append_link(&mut header, member, &target).map_err(sink)?;
            // Some file systems report no size for links; what a program sees is the length of the target.
            stat.size = target.as_os_str().len() as u64;
            EntryKind::Symlink(bytes_of(&target))
        } else if !item.kind.is_file() {
            EntryKind::Other
        } else if let Some(first) = first_names.get(&(stat.dev, stat.ino)) {
            let target =
                Path::new(OsStr::from_bytes(&entries[*first as usize].path[1..])).to_path_buf();
            header.set_entry_type(tar::EntryType::Link);
            tar.append_link(&mut header, member, &target).map_err(sink)?;
            EntryKind::HardLink(*first)
        } else {
            let kind = match take {
                Take::Kept => EntryKind::Below,
                _ => append_file(item, &mut header, member, &mut tar, bar)?,
            };
            if stat.nlink > 1 && kind != EntryKind::Remote {
                first_names.insert((stat.dev, stat.ino), entries.len() as u32);
            }
            kind
        };
        tar.get_mut().entry_ends().map_err(sink)?;
        xattrs.add(item, kind == EntryKind::Remote);
        entries.push(EntryRecord { path: bytes_of(&item.path), kind, stat });
    }
    tar.finish().map_err(sink)?;
    Ok((entries, xattrs.finish()))
}

fn append_file<F>(
    item: &Found,
    header: &mut tar::Header,
    member: &Path,
    tar: &mut tar::Builder<&mut Cutter<F>>,
    bar: &ProgressBar,
) -> Result<EntryKind>
where
    F: FnMut(Vec<u8>) -> io::Result<()>,
{
    let failed = |cause| Error::NoInput { what: "prefix", path: item.path.clone(), cause };
    let file = match File::open(&item.path) {
        Ok(file) => file,
        // Its owner alone may read it; it stays where it is.
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => return Ok(EntryKind::Remote),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(changed_meanwhile(&item.path)),
        Err(e) => return Err(failed(e)),
    };
    let unchanged = || {
        Ok::<_, Error>(manifest::entry::same(
            &walk::stat(&file.metadata().map_err(failed)?),
            &item.stat,
        ))
    };
    if !unchanged()? {
        return Err(changed_meanwhile(&item.path));
    }
    header.set_size(item.stat.size);
    let mut hash = blake3::Hasher::new();
    let mut data =
        Hashed { inner: bar.wrap_read((&file).take(item.stat.size)), hash: &mut hash, read: 0 };
    tar.append_data(header, member, &mut data).map_err(failed)?;
    if data.read != item.stat.size || !unchanged()? {
        return Err(changed_meanwhile(&item.path));
    }
    let offset = tar.get_ref().position() - item.stat.size.next_multiple_of(512);
    let runpath = run_path::absolute(&file).map(ByteBuf::from);
    Ok(EntryKind::File { offset, digest: *hash.finalize().as_bytes(), runpath })
}

fn header(item: &Found) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_mode(item.stat.mode & 0o7777);
    header.set_uid(item.stat.uid.into());
    header.set_gid(item.stat.gid.into());
    header.set_mtime(item.stat.mtime.0.max(0) as u64);
    header.set_size(0);
    header
}

struct Hashed<'a, R> {
    inner: R,
    hash: &'a mut blake3::Hasher,
    read: u64,
}

impl<R: Read> Read for Hashed<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.hash.update(&buffer[..n]);
        self.read += n as u64;
        Ok(n)
    }
}

/// The unfinished output; removed when it is dropped before [`Temporary::assemble`] gave it its name.
struct Temporary {
    frames: File,
    output: tempfile::NamedTempFile,
}

impl Temporary {
    fn beside(output: &Path) -> Result<Self> {
        let directory = match output.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let frames = tempfile::tempfile_in(directory).map_err(Error::write(output))?;
        let output = tempfile::Builder::new().prefix(".pyshm-bundle-").tempfile_in(directory);
        let output = output.map_err(Error::write(directory))?;
        temp_files::register(output.path());
        Ok(Self { frames, output })
    }

    fn assemble(self, manifest: &Manifest, level: i32, output: &Path) -> Result<u64> {
        let Self { mut frames, output: mut temporary } = self;
        let body = manifest.to_bytes();
        let mut member = tar::Header::new_gnu();
        member.set_size(body.len() as u64);
        member.set_mode(0o644);
        let failed = Error::write(output);
        let mut write = |temporary: &mut tempfile::NamedTempFile| -> io::Result<u64> {
            let mut tar = tar::Builder::new(Vec::with_capacity(body.len() + 2048));
            tar.append_data(&mut member, manifest::MEMBER, &body[..])?;
            // Without tar's end: the stream goes on in the next frame.
            let raw = std::mem::take(tar.get_mut());
            let packed = manifest.codec.compress(&raw, level)?;
            let digest = *blake3::hash(&packed).as_bytes();
            let (raw, packed_len) = (raw.len() as u64, packed.len() as u64);
            let head = Head { codec: manifest.codec, packed: packed_len, raw, digest };
            let file = temporary.as_file_mut();
            file.write_all(&head.to_bytes())?;
            file.write_all(&packed)?;
            frames.rewind()?;
            let frames = io::copy(&mut frames, file)?;
            // A bundle is for others to read, as any file that the user makes.
            let umask = rustix::process::umask(rustix::fs::Mode::empty());
            rustix::process::umask(umask);
            let mode = rustix::fs::Mode::from_raw_mode(0o666) & !umask;
            rustix::fs::fchmod(&*file, mode)?;
            Ok(Head::len(manifest.codec) as u64 + packed_len + frames)
        };
        let bytes = write(&mut temporary).map_err(failed)?;
        temp_files::forget(temporary.path());
        temporary.persist(output).map_err(|e| Error::write(output)(e.error))?;
        Ok(bytes)
    }
}
