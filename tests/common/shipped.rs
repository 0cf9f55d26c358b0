//! Stages a tree in a temporary directory with the built installation, target/pyshm.
#![allow(dead_code, reason = "each test program uses a part")]

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The program of the installation, which also has the shim and the trampoline.
const PYSHM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/pyshm/bin/pyshm");

/// A tree, and its stage in memory. Both are removed when the value is dropped.
pub struct Shipped {
    directory: tempfile::TempDir,
    root: tempfile::TempDir,
    /// The tree to be staged.
    pub tree: PathBuf,
    /// The stage.
    pub stage: PathBuf,
}

impl Shipped {
    /// Makes an empty tree. Panics if the installation is not built.
    pub fn new() -> Self {
        assert!(Path::new(PYSHM).exists(), "{PYSHM} is missing: run docs/build.sh first");
        let directory = tempfile::tempdir_in("/var/tmp").unwrap();
        let root = tempfile::tempdir_in("/dev/shm").unwrap();
        let tree = directory.path().join("tree");
        fs::create_dir(&tree).unwrap();
        Self { directory, root, tree, stage: PathBuf::new() }
    }

    /// Returns the path of a file of this test outside the tree.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Bundles and stages the tree as it is now.
    pub fn make_stage(&mut self) {
        let bundle = self.path("tree.tar.zst");
        let run = |args: &[&OsStr]| {
            let out = Command::new(PYSHM).args(args).output().unwrap();
            assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
            String::from_utf8(out.stdout).unwrap().trim().to_string()
        };
        let (o, b, root) = ("-o".as_ref(), "-b".as_ref(), "--root".as_ref());
        run(&["bundle".as_ref(), "env".as_ref(), self.tree.as_ref(), o, bundle.as_ref()]);
        let stage = run(&["stage".as_ref(), b, bundle.as_ref(), root, self.root.path().as_ref()]);
        self.stage = stage.into();
    }

    /// Makes a command with a minimal environment.
    pub fn bare(&self, command: &[&str]) -> Command {
        let mut c = Command::new(command[0]);
        c.args(&command[1..]).env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C.UTF-8");
        c
    }

    /// Makes a command with a minimal environment and the staged shim.
    pub fn interposed(&self, command: &[&str]) -> Command {
        let mut c = self.bare(command);
        c.env("LD_PRELOAD", self.stage.join("lib/libpyshm.so"));
        c
    }
}

/// Returns the exit status and both outputs of a command as a text.
pub fn shown(out: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}\n{}{}", out.status, text(&out.stdout), text(&out.stderr))
}
