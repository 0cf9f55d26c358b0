//! Runs one case: runs a probe bare and preloaded, in equal trees under the same names, and demands the same result.
//!
//! ```ignore
//! #[test]
//! fn a_missing_name_is_enoent_without_an_operation() {
//!     Case::c("paths", "missing").run();
//! }
//! ```
//!
//! A probe is a function in `probes/FILE.c` ([`Case::c`]), a function in `probes/FILE.py` ([`Case::python`]) or a line
//! of shell ([`Case::sh`]). The probe gets two variables: `E` is the prefix (`P("a/b")` in C), and `M` is the directory
//! that contains the prefix (`B("out/x")` in C is a file beside the prefix). The probe prints what it sees, except
//! values that may differ between two trees. For example, it prints whether two inode numbers, device numbers or times
//! are equal, but never the numbers. The probe must end with status 0, or with the status that [`Case::ends`] gives.
//!
//! [`Case::run`] takes the following steps as root, and then again as an ordinary user:
//!
//! 1. It makes the tree twice ([`tree::standard`], or the tree that [`Case::tree`] gives) and bundles the first one.
//! 2. It runs the probe bare in the second tree.
//! 3. It mounts the first tree again, which gives the prefix another device number than it had in the bundle. Then it
//!    stages the bundle and runs the probe preloaded.
//!
//! [`Case::run`] panics unless:
//!
//! - Both runs print the same, have the same exit status and leave the same tree behind.
//! - In the trace of strace, the preloaded run makes only as many operations on the prefix as [`Case::ops`] allows
//!   (none by default), and the bare run makes at least one.
//! - The shim was at work: the process loaded the staged library, and the library counted operations in the stage's
//!   state.
//!
//! The tested installation is `$PYSHM_TEST_INSTALL`, or `target/pyshm`. Without root only the ordinary user's run is
//! made.

use std::fs;
use std::path::{Path, PathBuf};

use pyshm_format::state;

use crate::place::{Place, User};
use crate::probes;
use crate::trace::{self, Counted, Trace};
use crate::tree::{self, Tree};

/// How many operations on the prefix a preloaded run may make. A `chdir` and a call on a descriptor do not count.
#[derive(Debug, Clone, Copy)]
pub enum Ops {
    /// None: the shim answers everything on the node.
    Zero,
    /// At most this many, and at least one, because writes, and reads of written files, go to the shared file system.
    /// The loader's tries in subdirectories for the processor do not count, because their number depends on the
    /// machine.
    AtMost(u64),
    /// Any number, because the shim cannot redirect some calls of libc in this case. A comment of the case says why.
    Any,
}

/// How the preloaded run is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// `<stage>/bin/pyshm-exec PROBE`, the command that the launcher of a job executes.
    Trampoline,
    /// `LD_PRELOAD=<stage>/lib/libpyshm.so PROBE`.
    Preload,
}

/// A case, built step by step. The module documentation says how a case runs.
pub struct Case {
    words: Vec<String>,
    tree: fn(&Tree),
    later: Option<fn(&Tree)>,
    owned_by_root: bool,
    overlay: bool,
    ops: Ops,
    beside: Option<u64>,
    marks: Option<u64>,
    prefix: &'static str,
    more_prefixes: Vec<&'static str>,
    start: Start,
    only: Option<User>,
    variables: Vec<(&'static str, &'static str)>,
    says: Vec<&'static str>,
    ends: i32,
    inert: bool,
    noexec: bool,
}

impl Case {
    /// Makes a case of the function NAME of `probes/FILE.c`.
    pub fn c(file: &str, name: &str) -> Self {
        Self::command(&[&format!("{{probes}}/{file}"), name])
    }

    /// Makes a case of the function NAME of `probes/FILE.py`.
    pub fn python(file: &str, name: &str) -> Self {
        Self::command(&["python3", "-ISB", &format!("{{probes}}/{file}.py"), name])
    }

    /// Makes a case of a line of shell.
    pub fn sh(script: &str) -> Self {
        Self::command(&["sh", "-c", script])
    }

    /// Makes a case of any command. In its words, `{probes}` stands for the directory of the compiled probes, and `{E}`
    /// and `{M}` for the values of these variables.
    pub fn command(words: &[&str]) -> Self {
        Self {
            words: words.iter().map(ToString::to_string).collect(),
            tree: tree::standard,
            later: None,
            owned_by_root: false,
            overlay: false,
            ops: Ops::Zero,
            beside: None,
            marks: None,
            prefix: "env",
            more_prefixes: Vec::new(),
            start: Start::Trampoline,
            only: None,
            variables: Vec::new(),
            says: Vec::new(),
            ends: 0,
            inert: false,
            noexec: false,
        }
    }

    /// Uses another tree than [`tree::standard`].
    pub fn tree(self, tree: fn(&Tree)) -> Self {
        Self { tree, ..self }
    }

    /// Changes the tree after it was bundled, as a process of another node would.
    pub fn later(self, later: fn(&Tree)) -> Self {
        Self { later: Some(later), ..self }
    }

    /// Makes root the owner of the tree, instead of the user who runs the probe. Without root the case is skipped.
    pub fn owned_by_root(self) -> Self {
        Self { owned_by_root: true, ..self }
    }

    /// Bundles as an overlay: a path that the bundle does not have may exist on the shared file system.
    pub fn overlay(self) -> Self {
        Self { overlay: true, ..self }
    }

    /// Allows operations on the prefix. By default none are allowed.
    pub fn ops(self, ops: Ops) -> Self {
        Self { ops, ..self }
    }

    /// Sets the name of the prefix below `M`, `env` by default. The name may be a symbolic link; `.` means `M` itself.
    pub fn prefix(self, prefix: &'static str) -> Self {
        Self { prefix, ..self }
    }

    /// Adds a prefix with its own bundle, which is staged together with the first bundle.
    pub fn and_prefix(mut self, prefix: &'static str) -> Self {
        self.more_prefixes.push(prefix);
        self
    }

    /// Starts the preloaded run in another way.
    pub fn start(self, start: Start) -> Self {
        Self { start, ..self }
    }

    /// Requires that in `out`, beside the prefix, the preloaded run makes at most `more` operations more than the bare
    /// run.
    pub fn more_beside(self, more: u64) -> Self {
        Self { beside: Some(more), ..self }
    }

    /// Requires that at most `most` marks are set at the end.
    pub fn marks(self, most: u64) -> Self {
        Self { marks: Some(most), ..self }
    }

    /// Runs the case only as this user. A comment of the case says why.
    pub fn only(self, user: User) -> Self {
        Self { only: Some(user), ..self }
    }

    /// Sets a variable for both runs. `{E}`, `{M}` and `{probes}` in its value are replaced as in [`Case::command`].
    pub fn variable(mut self, name: &'static str, value: &'static str) -> Self {
        self.variables.push((name, value));
        self
    }

    /// Requires this line in the output of both runs, so that the case fails if both runs fail in the same way.
    pub fn says(mut self, line: &'static str) -> Self {
        self.says.push(line);
        self
    }

    /// Requires this exit status of both runs.
    pub fn ends(self, status: i32) -> Self {
        Self { ends: status, ..self }
    }

    /// Requires that the shim is inert.
    pub fn inert(self) -> Self {
        Self { inert: true, ..self }
    }

    /// Mounts the node's memory noexec, which only root can do. Without root the case is skipped.
    pub fn noexec(self) -> Self {
        Self { noexec: true, ..self }
    }

    /// Runs the case as each user, and panics at the first difference.
    #[track_caller]
    pub fn run(&self) {
        let possible = !self.owned_by_root || User::all().any(|user| user == User::Root);
        let wanted = |user: &User| possible && self.only.is_none_or(|only| only == *user);
        let users = User::all().filter(wanted);
        for user in users {
            // Each run gets its own thread, because `Place::new` gives the calling thread a mount namespace.
            let result = std::thread::scope(|s| s.spawn(|| self.run_as(user)).join());
            if let Err(panic) = result {
                eprintln!("the case failed as {user:?}");
                std::panic::resume_unwind(panic);
            }
        }
    }

    fn run_as(&self, user: User) {
        let mut place = Place::new(user);
        if self.noexec && !place.forbid_programs() {
            return;
        }
        let owner = if self.owned_by_root { User::Root } else { user };
        for backing in ["bare", "shared"] {
            let tree = Tree::new(place.backing(backing), place.mount_point());
            (self.tree)(&tree);
            tree.finish(owner.id(), user.id());
        }
        let prefixes: Vec<_> = std::iter::once(&self.prefix)
            .chain(&self.more_prefixes)
            .map(|name| place.below_mount(name))
            .collect();
        let mode = if self.overlay { "overlay" } else { "snapshot" };

        place.mount("shared");
        let bundles: Vec<_> = prefixes.iter().map(|prefix| place.bundle(prefix, mode)).collect();
        let bundled_on = place.device(&prefixes[0]);
        for backing in ["bare", "shared"] {
            if let Some(later) = self.later {
                later(&Tree::new(place.backing(backing), place.mount_point()));
            }
        }
        place.mount("bare");
        let bare = self.observe(&place, &prefixes, None);
        place.unmount();
        place.mount("shared");
        let renumbered = place.device(&prefixes[0]) != bundled_on;
        assert!(renumbered || !place.renumbers(), "the second mount has the same device number");
        let stage = place.stage(&bundles);
        let before = answered_and_passed(&stage);
        let preloaded = self.observe(&place, &prefixes, Some(&stage));

        self.judge_output(&bare, &preloaded);
        let [left, right] = ["bare", "shared"].map(|name| tree::remains(&place.backing(name)));
        for (a, b) in left.iter().zip(&right) {
            assert_eq!(a, b, "the shared file system after the run, bare on the left");
        }
        assert_eq!(left, right, "the shared file system after the run, bare on the left");
        assert!(bare.ops.total > 0, "the bare run made no operation, so counting proves nothing");
        let total = preloaded.ops.total;
        let right = match self.ops {
            Ops::Zero => total == 0,
            Ops::AtMost(most) => (1..=most).contains(&preloaded.ops.on_any_processor),
            Ops::Any => true,
        };
        let bare_seen = bare;
        let bare = bare_seen.ops.total;
        assert!(
            right,
            "the preloaded run made {total} operations (bare: {bare}), expected {:?}:\n{}\nand printed\n{}",
            self.ops, preloaded.ops.list, preloaded.output
        );
        if let Some(more) = self.beside {
            let (bare, preloaded) = (&bare_seen.beside, &preloaded.beside);
            assert!(
                preloaded.total <= bare.total + more && bare.total > 0,
                "beside the prefix the preloaded run made {} operations (bare: {}):\n{}",
                preloaded.total,
                bare.total,
                preloaded.list
            );
        }
        if let Some(most) = self.marks {
            let state = fs::read(stage.join(pyshm_format::layout::STATE)).unwrap();
            let word = |at: usize| u64::from_le_bytes(*state[at..].first_chunk().unwrap());
            let (marks, full) = (word(state::COUNT), word(state::FULL));
            assert!(marks <= most && full == 0, "{marks} marks, full: {full}");
        }
        let at_work = preloaded.trace.loaded(&stage) && answered_and_passed(&stage) > before;
        assert_eq!(at_work, !self.inert, "whether the shim was at work, on the left");
        if std::env::var_os("PYSHM_TEST_SHOW").is_some() {
            let ours = preloaded.ops.on_any_processor;
            eprintln!(
                "{user:?}: {total} operations, {ours} on any processor (bare: {bare})\n{}",
                preloaded.output
            );
        }
    }

    fn judge_output(&self, bare: &Seen, preloaded: &Seen) {
        let (left, right) = (bare.output.lines(), preloaded.output.lines());
        let whole = || format!("bare:\n{}\npreloaded:\n{}", bare.output, preloaded.output);
        for (a, b) in left.zip(right) {
            assert_eq!(a, b, "bare on the left\n{}", whole());
        }
        assert_eq!(bare.output, preloaded.output, "bare on the left");
        assert_eq!(bare.status, preloaded.status, "exit status, bare on the left\n{}", whole());
        assert_eq!(bare.status, self.ends, "exit status, expected on the right\n{}", whole());
        assert!(!bare.output.trim().is_empty(), "the probe printed nothing");
        for line in &self.says {
            assert!(bare.output.lines().any(|l| l == *line), "{line:?} is missing:\n{}", whole());
        }
    }

    /// Runs the probe under strace: preloaded if there is a stage, otherwise bare.
    fn observe(&self, place: &Place, prefixes: &[PathBuf], stage: Option<&Path>) -> Seen {
        let fill = |text: &str| {
            text.replace("{probes}", probes::directory(place))
                .replace("{E}", prefixes[0].to_str().unwrap())
                .replace("{M}", place.mount_point().to_str().unwrap())
        };
        let trace =
            place.file(if stage.is_some() { "out/preloaded.trace" } else { "out/bare.trace" });
        let mut command = place.command("bash");
        command.arg(place.file("trace.sh")).arg(&trace).arg("env");
        command.env("E", &prefixes[0]).env("M", place.mount_point());
        for (name, value) in &self.variables {
            command.arg(format!("{name}={}", fill(value)));
        }
        match (stage, self.start) {
            (None, _) => {}
            (Some(stage), Start::Trampoline) => {
                command.arg(stage.join("bin/pyshm-exec"));
            }
            (Some(stage), Start::Preload) => {
                command.arg(format!("LD_PRELOAD={}/lib/libpyshm.so", stage.display()));
            }
        }
        command.args(self.words.iter().map(|word| fill(word)));
        let output = command.output().unwrap();
        let trace = Trace::read(&trace);
        Seen {
            output: String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat())
                .into(),
            status: output.status.code().unwrap_or(-1),
            ops: trace::count(&trace, prefixes),
            beside: trace::count(&trace, &[place.below_mount("out")]),
            trace,
        }
    }
}

/// The output, the status, the operations and the trace of a run.
struct Seen {
    output: String,
    status: i32,
    ops: Counted,
    beside: Counted,
    trace: Trace,
}

/// Returns the number of operations under a prefix that processes with the shim counted in the state of the stage.
fn answered_and_passed(stage: &Path) -> u64 {
    let state = fs::read(stage.join(pyshm_format::layout::STATE)).unwrap();
    let (answered, passed) = pyshm_format::state::counters(&state);
    answered + passed
}
