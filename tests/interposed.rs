//! Runs programs bare and with the shim in equal trees. Both runs must print the same.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const PROBES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/probes");
/// The program of the built installation, so that the tests use the same shim as users do.
const PYSHM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/pyshm/bin/pyshm");

/// A tree, and its stage in memory. Both are removed when the value is dropped.
struct Stage {
    directory: tempfile::TempDir,
    root: tempfile::TempDir,
    tree: PathBuf,
    stage: PathBuf,
}

impl Stage {
    fn new() -> Self {
        assert!(Path::new(PYSHM).exists(), "{PYSHM} is missing: run docs/build.sh first");
        let directory = tempfile::tempdir_in("/var/tmp").unwrap();
        let root = tempfile::tempdir_in("/dev/shm").unwrap();
        Self { tree: directory.path().join("tree"), directory, root, stage: PathBuf::new() }
    }

    fn make_tree(&self) {
        let script = format!("{PROBES}/mktree.sh");
        assert!(Command::new("sh").arg(script).arg(&self.tree).status().unwrap().success());
    }

    /// Bundles and stages the tree as it is now.
    fn make_stage(&mut self, mode: &str) {
        let bundle = self.directory.path().join("tree.tar.zst");
        let run = |args: &[&std::ffi::OsStr]| {
            let out = Command::new(PYSHM).args(args).output().unwrap();
            assert!(out.status.success(), "{}", text(&out));
            text(&out).trim().to_string()
        };
        run(&[
            "bundle".as_ref(),
            "env".as_ref(),
            self.tree.as_ref(),
            "-o".as_ref(),
            bundle.as_ref(),
            "--mode".as_ref(),
            mode.as_ref(),
        ]);
        self.stage = run(&[
            "stage".as_ref(),
            "-b".as_ref(),
            bundle.as_ref(),
            "--root".as_ref(),
            self.root.path().as_ref(),
        ])
        .into();
    }

    /// Runs a command on a new tree, bare and with the shim, and panics unless both runs print the same.
    fn compare(&mut self, mode: &str, command: &[&str]) {
        let tree = self.tree.clone();
        let run = |mut c: Command| {
            c.arg(&tree).env_remove("LD_PRELOAD").env("LC_ALL", "C.UTF-8");
            text(&c.output().unwrap())
        };
        self.make_tree();
        let mut bare = Command::new(command[0]);
        bare.args(&command[1..]);
        let bare = run(bare);
        self.make_tree();
        self.make_stage(mode);
        let mut staged = Command::new(self.stage.join("bin/pyshm-exec"));
        staged.args(command);
        let staged = run(staged);
        for (a, b) in bare.lines().zip(staged.lines()) {
            assert_eq!(a, b, "bare on the left");
        }
        assert_eq!(bare, staged, "bare on the left");
        assert!(bare.lines().count() > 8, "the probe ran: {bare}");
    }
}

fn text(out: &Output) -> String {
    String::from_utf8_lossy(&[&out.stdout[..], &out.stderr[..]].concat()).into_owned()
}

#[test]
fn programs_start_the_same_under_snapshot_and_overlay() {
    let probe = format!("{PROBES}/programs.py");
    Stage::new().compare("snapshot", &["python3", &probe]);
    Stage::new().compare("overlay", &["python3", &probe]);
}

#[test]
fn programs_libraries_and_threads_behave_the_same_under_the_shim() {
    let mut stage = Stage::new();
    let program = stage.tree.with_file_name("calls");
    let cc = Command::new("cc")
        .args(["-w", "-o"])
        .arg(&program)
        .arg(format!("{PROBES}/calls.c"))
        .args(["-ldl", "-lpthread"])
        .status();
    assert!(cc.unwrap().success());
    stage.compare("snapshot", &[program.to_str().unwrap()]);
}

#[test]
fn removing_a_stage_from_within_removes_nothing_else() {
    let mut stage = Stage::new();
    stage.make_tree();
    stage.make_stage("snapshot");
    let list = || text(&Command::new("find").arg(&stage.tree).output().unwrap());
    let before = list();
    let script = format!(
        "cd {0}/fs && rm -rf ./* && find {0} -delete; cat {1}/a",
        stage.stage.display(),
        stage.tree.display()
    );
    let out = Command::new(stage.stage.join("bin/pyshm-exec"))
        .args(["sh", "-c", &script])
        .output()
        .unwrap();
    assert_eq!(text(&out), "hello\n");
    assert_eq!(list(), before);
    assert!(!stage.stage.exists());
}
