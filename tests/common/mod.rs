//! Helps the integration tests: runs `pyshm` in a temporary directory, lists trees, and writes hostile bundles.
#![allow(dead_code, reason = "each test program uses a part")]

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use pyshm_tools::bundle::head::Head;
use pyshm_tools::manifest::entry::{EntryKind, EntryRecord, EntryStat};
use pyshm_tools::manifest::frame::Codec;
use pyshm_tools::manifest::prefix::{Mode, PrefixRecord};
use pyshm_tools::manifest::{FrameRecord, MEMBER, Manifest};
use serde_bytes::ByteBuf;

/// A temporary directory with a root for stages, in which tests run `pyshm`.
pub struct Tool {
    dir: tempfile::TempDir,
    root: PathBuf,
}

/// The exit status (-1 after a signal) and the outputs of a command.
pub struct Ended {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// Returns the standard output, and panics if the command failed.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "{}", self.stderr);
        self.stdout
    }

    /// Returns the standard error, and panics unless the command failed with `code`.
    #[track_caller]
    pub fn fails(self, code: u8) -> String {
        assert_eq!(self.code, i32::from(code), "{}{}", self.stdout, self.stderr);
        self.stderr
    }
}

impl Tool {
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("pyshm-test-").tempdir_in("/var/tmp").unwrap();
        let root = dir.path().join("root");
        fs::create_dir(&root).unwrap();
        Self { dir, root }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether nothing is left of any stage.
    pub fn root_is_empty(&self) -> bool {
        fs::read_dir(&self.root).unwrap().next().is_none()
    }

    /// Bundles the directory `name` of the temporary directory into the file `bundle`, and returns the bundle's path.
    #[track_caller]
    pub fn bundle(&self, name: &str, bundle: &str) -> PathBuf {
        let (prefix, bundle) = (self.path(name), self.path(bundle));
        self.run(&[
            "bundle".as_ref(),
            "env".as_ref(),
            prefix.as_os_str(),
            "-o".as_ref(),
            bundle.as_ref(),
            "-q".as_ref(),
        ])
        .ok();
        bundle
    }

    /// Runs `pyshm`, with the root in the temporary directory if the subcommand takes a root.
    pub fn run<S: AsRef<OsStr>>(&self, args: &[S]) -> Ended {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pyshm"));
        command.args(args);
        let takes_root =
            ["stage", "unstage", "status", "gc", "verify"].iter().any(|c| args[0].as_ref() == *c);
        if takes_root {
            command.arg("--root").arg(&self.root);
        }
        end(&mut command)
    }
}

/// Runs a command to its end.
pub fn end(command: &mut Command) -> Ended {
    let out = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ended {
        code: out.status.code().unwrap_or(-1),
        stdout: text(out.stdout),
        stderr: text(out.stderr),
    }
}

/// Lists every path of a tree, with kind, mode, size and modification time, and for a file the digest of its data.
pub fn listing(top: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    for entry in walkdir::WalkDir::new(top).sort_by_file_name() {
        let entry = entry.unwrap();
        let m = entry.path().symlink_metadata().unwrap();
        let name = entry.path().strip_prefix(top).unwrap().display();
        let kind = m.mode() & 0o170_000;
        if m.is_symlink() {
            lines.push(format!("{name} {kind:o}"));
            continue;
        }
        let data = if m.is_file() {
            blake3::hash(&fs::read(entry.path()).unwrap()).to_string()
        } else {
            String::new()
        };
        let size = if m.is_file() { m.size() } else { 0 };
        lines.push(format!("{name} {:o} {size} {}.{} {data}", m.mode(), m.mtime(), m.mtime_nsec()));
    }
    lines
}

/// An entry for a bundle, which may be false in any way.
pub struct Hostile(EntryRecord);

impl Hostile {
    pub fn new(path: &str, kind: EntryKind, size: u64) -> Self {
        Self(EntryRecord {
            path: ByteBuf::from(path),
            kind,
            stat: EntryStat { size, mode: 0o100_644, ..EntryStat::default() },
        })
    }
}

/// Writes a bundle whose manifest has the directory `/p` and these entries. The rest of the bundle is well-formed.
pub fn write_hostile(bundle: &Path, entries: Vec<Hostile>) {
    write_lies(bundle, entries, |_, _| {});
}

/// Writes a bundle like [`write_hostile`], but first calls `lie`, which changes the manifest and the head. The head has
/// the length and the digest of the changed manifest.
#[allow(dead_code, reason = "not all tests that share this need it")]
pub fn write_lies(
    bundle: &Path,
    entries: Vec<Hostile>,
    lie: impl FnOnce(&mut Manifest, &mut Head),
) {
    let codec = Codec::Zstd;
    let raw = vec![0u8; 4096];
    let packed = codec.compress(&raw, 3).unwrap();
    let frame = FrameRecord {
        packed: packed.len() as u32,
        raw: 4096,
        digest: *blake3::hash(&raw).as_bytes(),
    };
    let mut all = vec![Hostile::new("/p", EntryKind::Directory, 0)];
    all.extend(entries);
    let mut manifest = Manifest {
        tool: "a test".into(),
        created: 0,
        codec,
        prefixes: vec![PrefixRecord {
            path: ByteBuf::from("/p"),
            aliases: vec![],
            mode: Mode::Snapshot,
        }],
        entries: all.into_iter().map(|e| e.0).collect(),
        frames: vec![frame],
        xattrs: None,
        layer: None,
        digest: [0; 32],
    };
    let mut head = Head { codec, packed: 0, raw: 0, digest: [0; 32] };
    lie(&mut manifest, &mut head);
    let body = manifest.to_bytes();
    let mut header = tar::Header::new_gnu();
    header.set_size(body.len() as u64);
    header.set_mode(0o644);
    let mut tar = tar::Builder::new(Vec::new());
    tar.append_data(&mut header, MEMBER, &body[..]).unwrap();
    let first = std::mem::take(tar.get_mut());
    let zero = codec.compress(&first, 3).unwrap();
    head.packed = zero.len() as u64;
    head.raw += first.len() as u64;
    head.digest = *blake3::hash(&zero).as_bytes();
    fs::write(bundle, [head.to_bytes(), zero, packed].concat()).unwrap();
}
