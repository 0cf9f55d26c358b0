//! Runs a program bare in one tree and redirected in the twin of this tree, step by step, and returns the first
//! difference.
//!
//! Invariants:
//! - No process, mount or file outlives its [`Ground`] or [`Twins`]. All mounts are in the worker thread's own
//!   namespace.
//! - The names of both roots have the same length, and both trees of a program are made in the same way. So the trees
//!   differ only in the numbers of inodes and devices and in the root's name.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use rustix::process::{WaitId, WaitIdOptions};

use crate::names::Names;
use crate::program::{Program, User};
use crate::tree;

const CHECKOUT: &str = env!("CARGO_MANIFEST_DIR");
/// The time that a step may take. A redirected step that takes longer counts as a difference.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether this process may mount and become another user.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The number of a user.
pub fn id_of(user: User) -> u32 {
    match user {
        User::Root => 0,
        // This user has no name, because nothing may depend on a user's name.
        User::Ordinary if is_root() => 12345,
        User::Ordinary => rustix::process::getuid().as_raw(),
    }
}

/// The first difference between the redirected run and the bare run.
#[derive(Debug, Clone)]
pub struct Difference {
    /// The number of the step, from 0.
    pub step: usize,
    /// The part that differs.
    pub what: What,
    pub bare: String,
    pub twin: String,
}

/// The part in which two runs differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum What {
    /// The step's answer.
    Answer,
    /// The tree after the step.
    Tree,
    /// A file of the stage was changed.
    Stage,
    /// The redirected program ended or does not answer.
    End,
}

/// The place in which a worker runs its programs.
pub struct Ground {
    dir: tempfile::TempDir,
    /// The directory for the stage if the test runs without root, so that `dir/shm` is no mount.
    memory: Option<tempfile::TempDir>,
    install: PathBuf,
    steps: PathBuf,
}

impl Ground {
    /// Makes a place. As root, gives the calling thread a mount namespace.
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("pyshm-twins-").tempdir_in("/var/tmp").unwrap();
        let install = std::env::var_os("PYSHM_TEST_INSTALL")
            .map_or_else(|| Path::new(CHECKOUT).join("target/pyshm"), PathBuf::from);
        let program = install.join("bin/pyshm");
        assert!(program.exists(), "{} is missing: run docs/build.sh first", program.display());
        let mut ground = Self { steps: dir.path().join("steps"), dir, memory: None, install };
        for name in ["bare", "twin", "shm", "out", "pyshm"] {
            fs::create_dir(ground.file(name)).unwrap();
        }
        open_to_all(ground.dir.path(), 0o755);
        open_to_all(&ground.file("out"), 0o777);
        fs::copy(compiled(), &ground.steps).unwrap();
        let _ = fs::copy(with_static(compiled()), with_static(&ground.steps));
        if is_root() {
            // SAFETY: NEWNS gives only the mounts, the root and the working directory to this thread. The descriptors
            // stay shared, so no descriptor loses its owner.
            unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }.unwrap();
            let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
            rustix::mount::mount_change("/", private).unwrap();
            // An ordinary user may be unable to enter the checkout.
            let seen = ground.file("pyshm");
            rustix::mount::mount_bind(&ground.install, &seen).unwrap();
            ground.install = seen;
        } else {
            ground.memory = Some(tempfile::tempdir_in("/dev/shm").unwrap());
        }
        ground
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn memory(&self) -> PathBuf {
        self.memory.as_ref().map_or_else(|| self.file("shm"), |memory| memory.path().to_path_buf())
    }

    fn command(&self, user: User, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().current_dir("/").process_group(0);
        command.env("PATH", "/usr/bin:/bin").env("LC_ALL", "C.UTF-8").env("HOME", "/nonexistent");
        command.env("PYSHM_CACHE", self.file("out"));
        if is_root() {
            command.uid(id_of(user)).gid(id_of(user));
        }
        command
    }

    fn pyshm(&self, user: User, words: &[&str]) -> Result<String, String> {
        let program = self.install.join("bin/pyshm");
        let output = self.command(user, &program).args(words).output().unwrap();
        if output.status.success() {
            Ok(String::from_utf8(output.stdout).unwrap().trim().to_string())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into())
        }
    }

    fn clear(&self) {
        for name in ["bare", "twin", "shm"] {
            let path = self.file(name);
            if is_root() {
                while rustix::mount::unmount(&path, UnmountFlags::DETACH).is_ok() {}
            } else {
                for entry in fs::read_dir(&path).unwrap().flatten() {
                    let _ = Command::new("chmod").args(["-R", "u+rwx"]).arg(entry.path()).status();
                    let _ = fs::remove_dir_all(entry.path());
                }
            }
        }
        if let Some(memory) = &self.memory {
            for entry in fs::read_dir(memory.path()).unwrap().flatten() {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        for entry in fs::read_dir(self.file("out")).unwrap().flatten() {
            let _ = fs::remove_file(entry.path());
        }
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        self.clear();
        if is_root() {
            let _ = rustix::mount::unmount(self.file("pyshm"), UnmountFlags::DETACH);
        }
    }
}

fn open_to_all(path: &Path, mode: u32) {
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
}

/// The path of the statically linked program beside the program `steps`.
fn with_static(steps: &Path) -> PathBuf {
    steps.with_file_name("steps-static")
}

/// The program in `steps/`. It is compiled if one of its sources is newer.
fn compiled() -> &'static Path {
    static BUILT: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();
    BUILT.get_or_init(|| {
        let dir = Path::new(CHECKOUT).join("tests/differential/steps");
        let files: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
        let sources = files.iter().filter(|file| file.extension().is_some_and(|end| end == "c"));
        let built = Path::new(env!("CARGO_TARGET_TMPDIR")).join("steps");
        let changed = |path: &Path| fs::metadata(path).and_then(|m| m.modified()).ok();
        for (program, more) in [(&built, None), (&with_static(&built), Some("-static"))] {
            if changed(program) <= files.iter().map(|file| changed(file)).max().flatten() {
                let new = program.with_extension(format!("new.{}", std::process::id()));
                let mut cc = Command::new("cc");
                // The program must not export its own functions, because they would replace those of libraries.
                cc.args(["-O1", "-g", "-Wall", "-Wextra", "-Wno-unused-parameter"]);
                cc.arg("-fvisibility=hidden").arg("-o").arg(&new).args(sources.clone());
                let made = cc.args(more).arg("-lpthread").stderr(Stdio::null()).status();
                // Without a static C library, neither of the two runs can start a static child.
                assert!(made.unwrap().success() || more.is_some(), "failed to compile steps/");
                let _ = fs::rename(new, program);
            }
        }
        built
    })
}

/// A process that performs the steps of one run.
struct Side {
    child: Child,
    steps: Option<ChildStdin>,
    answers: ChildStdout,
    pending: Vec<u8>,
    root: PathBuf,
    names: Names,
}

impl Side {
    /// Sends a step. Returns the process's answer, or an error that says how the process ended.
    fn ask(&mut self, step: &str) -> Result<String, String> {
        let line = format!("{step}\n");
        let steps = self.steps.as_mut().unwrap();
        if steps.write_all(line.as_bytes()).is_err() {
            return Err(self.end());
        }
        self.answer()
    }

    /// The process's next line.
    fn answer(&mut self) -> Result<String, String> {
        loop {
            if let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
                let line: Vec<_> = self.pending.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            let patience = Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
            let mut fds = [PollFd::new(&self.answers, PollFlags::IN)];
            if rustix::event::poll(&mut fds, Some(&patience)) == Ok(0) {
                return Err("it does not answer".into());
            }
            let mut buffer = [0; 8192];
            match self.answers.read(&mut buffer) {
                Ok(n) if n > 0 => self.pending.extend_from_slice(&buffer[..n]),
                _ => return Err(self.end()),
            }
        }
    }

    fn end(&mut self) -> String {
        self.stop();
        self.child.wait().map_or("it is gone".into(), |status| format!("it ended: {status}"))
    }

    fn stop(&mut self) {
        self.steps = None;
        let group = rustix::process::Pid::from_child(&self.child);
        // Wait briefly, because the way in which the process ends is an answer. NOWAIT leaves the process a zombie, so
        // that no other group of processes gets its number.
        let ended = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        for _ in 0..20 {
            if !matches!(rustix::process::waitid(WaitId::Pid(group), ended), Ok(None)) {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        self.stop();
        let _ = self.child.wait();
    }
}

/// Both runs of a program, after the start.
pub struct Twins<'a> {
    ground: &'a Ground,
    bare: Side,
    twin: Side,
    stage: PathBuf,
    staged: Option<Vec<String>>,
    user: User,
    done: usize,
    /// The list of the bare tree's objects after the last step.
    pub remains: Vec<String>,
}

impl<'a> Twins<'a> {
    /// Makes both trees, stages the prefix of one and starts both runs. An error means that pyshm refuses the tree.
    pub fn begin(ground: &'a Ground, program: &Program) -> Result<Self, String> {
        ground.clear();
        let user = program.user.unwrap_or(if is_root() { User::Root } else { User::Ordinary });
        let packer = program.packer.filter(|_| is_root()).unwrap_or(user);
        let [bare, twin] = ["bare", "twin"].map(|name| ground.file(name));
        if is_root() {
            for (root, mode) in
                [(&bare, c"mode=755"), (&twin, c"mode=755"), (&ground.file("shm"), c"mode=1777")]
            {
                rustix::mount::mount("tmpfs", root, "tmpfs", MountFlags::empty(), mode)
                    .map_err(|e| format!("failed to mount {}: {e}", root.display()))?;
            }
        }
        let make = |root: &Path| tree::make(&program.tree, root, id_of(user), &ground.steps);
        make(&bare);
        make(&twin);
        let memory = ground.memory();
        let mut staging =
            vec!["stage".to_string(), "--root".into(), memory.to_str().unwrap().into()];
        for (n, prefix) in program.prefixes.iter().enumerate() {
            let bundle = ground.file(&format!("out/{n}.tar.zst")).to_str().unwrap().to_string();
            let prefix = tree::fill(prefix, &twin);
            let words = ["bundle", "env", &prefix, "-o", &bundle, "-q", "--mode"];
            ground.pyshm(packer, &[&words[..], &[program.mode.name()]].concat())?;
            staging.extend(["-b".into(), bundle]);
        }
        if is_root() {
            // The prefix is packed from one mount and redirected in another, so that its device number differs from the
            // one in the bundle. A file system in memory gives the same inode numbers again.
            let packed = tree::inodes(&twin);
            rustix::mount::mount("tmpfs", &twin, "tmpfs", MountFlags::empty(), c"mode=755")
                .map_err(|e| format!("failed to mount {}: {e}", twin.display()))?;
            make(&twin);
            assert_eq!(tree::inodes(&twin), packed, "the same tree has the same inode numbers");
        }
        let words: Vec<_> = staging.iter().map(String::as_str).collect();
        let stage = PathBuf::from(ground.pyshm(user, &words)?);
        for root in [&bare, &twin] {
            tree::bind(&program.tree, root);
        }
        // The kernel gives a change the time of its last clock tick, which may lie before `now`.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let start = format!("{}.{:09}", now.as_secs(), now.subsec_nanos());
        std::thread::sleep(Duration::from_millis(8));
        let run = |root: &Path, stage: Option<&Path>| -> Side {
            let trampoline = stage.map(|stage| stage.join("bin/pyshm-exec"));
            let mut command = if program.opened.is_empty() {
                let first = trampoline.as_ref().unwrap_or(&ground.steps);
                let mut command = ground.command(user, first);
                command.args(trampoline.as_ref().map(|_| &ground.steps)).arg(root).arg(&start);
                command
            } else {
                let mut command = ground.command(user, &ground.steps);
                command.arg(root).arg(&start).arg("launch");
                command.arg(trampoline.unwrap_or_default()).args(&program.opened);
                command
            };
            command.current_dir(root).stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut child = command.stderr(Stdio::null()).spawn().unwrap();
            Side {
                steps: child.stdin.take(),
                answers: child.stdout.take().unwrap(),
                child,
                pending: Vec::new(),
                root: root.to_path_buf(),
                names: Names::new(root, stage),
            }
        };
        let (mut bare, mut twin) = (run(&bare, None), run(&twin, Some(&stage)));
        if !program.opened.is_empty() {
            // Both processes report that they have started.
            for side in [&mut bare, &mut twin] {
                side.answer()?;
            }
        }
        let staged = Some(tree::staged_files(&stage));
        let mut twins =
            Self { ground, bare, twin, stage, staged, user, done: 0, remains: Vec::new() };
        twins.remains = tree::remains(&twins.bare.root, &mut twins.bare.names);
        tree::remains(&twins.twin.root, &mut twins.twin.names);
        Ok(twins)
    }

    /// The bare run's root.
    pub fn root(&self) -> &Path {
        &self.bare.root
    }

    /// Sends a step only to the bare run. The step must change nothing.
    pub fn ask_bare(&mut self, step: &str) -> String {
        self.bare.ask(step).unwrap_or_default()
    }

    /// Performs a step in both runs, and returns the answer if both runs give the same one. `None` if the bare run
    /// ended, so that nothing can be compared.
    pub fn step(&mut self, step: &str) -> Result<Option<String>, Box<Difference>> {
        let number = self.done;
        self.done += 1;
        let differ = |what, bare: &str, twin: &str| {
            Box::new(Difference { step: number, what, bare: bare.into(), twin: twin.into() })
        };
        if step == "unstage" {
            self.staged = None;
            let memory = self.ground.memory();
            let _ = self.ground.pyshm(
                self.user,
                &["unstage", "--all", "--force", "--root", memory.to_str().unwrap()],
            );
            return Ok(Some("ok".into()));
        }
        if step == "lose-stage" {
            self.staged = None;
            let _ = fs::remove_dir_all(&self.stage);
            return Ok(Some("ok".into()));
        }
        let bare = match self.bare.ask(step) {
            Ok(answer) => self.bare.names.normalise(&answer),
            Err(_) => return Ok(None),
        };
        let twin = match self.twin.ask(step) {
            Ok(answer) => self.twin.names.normalise(&answer),
            Err(end) => return Err(differ(What::End, &bare, &end)),
        };
        if bare != twin {
            return Err(differ(What::Answer, &bare, &twin));
        }
        let left = tree::remains(&self.bare.root, &mut self.bare.names);
        let right = tree::remains(&self.twin.root, &mut self.twin.names);
        if left != right {
            let only = |these: &[String], those: &[String]| {
                let lines: Vec<_> =
                    these.iter().filter(|line| !those.contains(line)).cloned().collect();
                lines.join("\n        ")
            };
            return Err(differ(What::Tree, &only(&left, &right), &only(&right, &left)));
        }
        self.remains = left;
        if let Some(before) = &self.staged {
            let now = tree::staged_files(&self.stage);
            if *before != now {
                let only = |these: &[String], those: &[String]| {
                    let lines: Vec<_> =
                        these.iter().filter(|line| !those.contains(line)).cloned().collect();
                    lines.join("\n        ")
                };
                return Err(differ(What::Stage, &only(before, &now), &only(&now, before)));
            }
        }
        Ok(Some(bare))
    }

    /// The numbers of operations under the prefix that the stage answered and that passed.
    pub fn counted(&self) -> (u64, u64) {
        let state = fs::read(self.stage.join(pyshm_format::layout::STATE)).unwrap_or_default();
        if state.is_empty() { (0, 0) } else { pyshm_format::state::counters(&state) }
    }
}

/// Runs a whole program. Returns the difference, or `None` if both runs are the same. An error means that pyshm refuses
/// the tree or that the bare run ended.
pub fn run(ground: &Ground, program: &Program) -> Result<Option<Difference>, String> {
    let mut twins = Twins::begin(ground, program)?;
    for step in &program.steps {
        match twins.step(step) {
            Ok(Some(_)) => {}
            Ok(None) => return Err(format!("the bare run ended at {step}")),
            Err(difference) => return Ok(Some(*difference)),
        }
    }
    Ok(None)
}
