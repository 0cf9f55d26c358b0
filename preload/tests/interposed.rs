//! Programs run twice, bare and interposed, in the same tree: what they print must be the same.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const PROBES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/probes");

/// A tree, and a stage of it; both are removed at the end.
struct Stage {
    tree: PathBuf,
    stage: PathBuf,
}

impl Stage {
    fn new(name: &str) -> Self {
        // SAFETY: it takes nothing and cannot fail.
        let uid = unsafe { libc::geteuid() };
        let name = format!("test-{}-{name}", std::process::id());
        let tree =
            std::env::temp_dir().canonicalize().unwrap().join(format!("pyshm-{name}")).join("tree");
        Self { stage: format!("/dev/shm/pyshm-{uid}/{name}").into(), tree }
    }

    fn make_tree(&self) {
        let script = format!("{PROBES}/mktree.sh");
        assert!(Command::new("sh").arg(script).arg(&self.tree).status().unwrap().success());
    }

    fn make_stage(&self, options: &[&str]) {
        let exe = Path::new(env!("CARGO_BIN_EXE_pyshm-exec"));
        let make = exe.with_file_name("examples").join("mkstage");
        let mut make = Command::new(make);
        make.args(options).arg(&self.stage).arg(common::library()).arg(exe).arg(&self.tree);
        assert!(make.output().unwrap().status.success());
    }

    /// Runs a command on a fresh tree, bare and interposed.
    fn compare(&self, options: &[&str], command: &[&str]) {
        let run = |mut c: Command| {
            c.arg(&self.tree).env_remove("LD_PRELOAD").env("LC_ALL", "C.UTF-8");
            text(&c.output().unwrap())
        };
        self.make_tree();
        let mut bare = Command::new(command[0]);
        bare.args(&command[1..]);
        let bare = run(bare);
        self.make_tree();
        self.make_stage(options);
        let mut staged = Command::new(self.stage.join("bin/pyshm-exec"));
        staged.args(command);
        let staged = run(staged);
        for (a, b) in bare.lines().zip(staged.lines()) {
            assert_eq!(a, b, "bare on the left");
        }
        assert_eq!(bare, staged, "bare on the left");
        assert!(bare.lines().count() > 20, "the probe ran: {bare}");
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.tree.parent().unwrap());
        let _ = fs::remove_dir_all(&self.stage);
    }
}

fn text(out: &Output) -> String {
    String::from_utf8_lossy(&[&out.stdout[..], &out.stderr[..]].concat()).into_owned()
}

#[test]
fn python_sees_the_same_under_snapshot_and_overlay() {
    let probe = format!("{PROBES}/files.py");
    Stage::new("snapshot").compare(&[], &["python3", &probe]);
    Stage::new("overlay").compare(&["-o"], &["python3", &probe]);
}

#[test]
fn c_sees_the_same() {
    let stage = Stage::new("calls");
    let program = stage.tree.with_file_name("calls");
    fs::create_dir_all(program.parent().unwrap()).unwrap();
    let cc = Command::new("cc")
        .args(["-w", "-o"])
        .arg(&program)
        .arg(format!("{PROBES}/calls.c"))
        .args(["-ldl", "-lpthread"])
        .status();
    assert!(cc.unwrap().success());
    stage.compare(&[], &[program.to_str().unwrap()]);
}

#[test]
fn removing_a_stage_from_within_removes_nothing_else() {
    let stage = Stage::new("remove");
    stage.make_tree();
    stage.make_stage(&[]);
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
