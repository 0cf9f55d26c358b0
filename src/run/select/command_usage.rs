//! Decides from the words of a command whether the command uses a Python environment, and which paths of the
//! environment.
//!
//! If bundles are configured for a whole facility, `srun hostname` must stage nothing, start no step and print nothing.
//!
//! An active environment is no proof that a command uses the environment. A command counts as using an environment
//! unless all of these conditions hold:
//!
//! - the program is outside every prefix, by its name and by its real path;
//! - the program is an ELF file, since a script may do anything;
//! - the program is none of those that run commands given as text: shells, interpreters, make ([`COMMAND_RUNNERS`]);
//! - the program loads neither Python's library nor a library below a prefix (by `RPATH` or `LD_LIBRARY_PATH`);
//! - no word of the command contains a path below a prefix;
//! - no word, looked up as a program, would use an environment by these rules. Words are split at blanks. For example,
//!   these commands use an environment: `numactl python`, `time bash job.sh`, `script -c 'python app.py'`.
//!
//! A program that starts Python without any of these signs (by `dlopen`, or from a file of its own) runs from the
//! shared file system. A word that only looks like a program (`cp python there`) makes pyshm stage in vain, which does
//! less harm than not staging for a command that needs it.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::cache::prefixes::BundleSummary;
use crate::manifest::prefix::{PrefixRecord, covers};
use crate::program::elf_needed::linked;
use crate::program::{lookup, python};

/// Programs that run commands given as text, which may start Python. Their names may be followed by a version.
const COMMAND_RUNNERS: [&str; 34] = [
    "ash", "bash", "busybox", "csh", "dash", "elvish", "fish", "ksh", "mksh", "nu", "sh", "tcsh",
    "yash", "zsh", "awk", "env", "expect", "gawk", "java", "julia", "lua", "mawk", "node", "perl",
    "R", "Rscript", "ruby", "tclsh", "cmake", "ctest", "gmake", "make", "ninja", "xargs",
];
/// Number of words after the program that are looked up as programs. A wrapper has few options before its program.
const LOOKED_UP: usize = 32;

/// The parts of an environment that a command uses.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Paths of the programs that the command runs.
    pub programs: Vec<PathBuf>,
    /// Prefixes, and paths in prefixes, that the words of the command name.
    pub named: Vec<PathBuf>,
}

/// Decides what commands use, in the environment and the working directory of this process.
pub struct Inspector<'a> {
    /// What each known bundle covers.
    bundles: &'a [BundleSummary],
    /// The directories of `PATH`.
    path: Vec<PathBuf>,
    /// The directories of `LD_LIBRARY_PATH`.
    libraries: Vec<PathBuf>,
    working_directory: PathBuf,
}

impl<'a> Inspector<'a> {
    /// Makes an inspector for this process, with the bundles that are known.
    #[must_use]
    pub fn new(bundles: &'a [BundleSummary]) -> Self {
        let libraries = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
        Self {
            bundles,
            path: lookup::path_elements(),
            libraries: std::env::split_paths(&libraries).filter(|p| p.is_absolute()).collect(),
            working_directory: std::env::current_dir().unwrap_or_default(),
        }
    }

    /// Finds what `command` uses; `None` if it uses no environment. The command's programs are at the positions
    /// `programs`, and the arguments of each program follow it.
    #[must_use]
    pub fn usage(&self, command: &[OsString], programs: &[usize]) -> Option<Usage> {
        let mut used = None::<Usage>;
        for (i, at) in programs.iter().enumerate() {
            let end = programs.get(i + 1).copied().unwrap_or(command.len());
            if let Some(more) = command.get(*at..end).and_then(|words| self.usage_of_one(words)) {
                let used = used.get_or_insert_default();
                used.programs.extend(more.programs);
                used.named.extend(more.named);
            }
        }
        used
    }

    /// Finds what the program in the first word uses; `None` if it uses no environment. The other words are the
    /// program's arguments.
    fn usage_of_one(&self, words: &[OsString]) -> Option<Usage> {
        let (program, arguments) = words.split_first()?;
        let mut used = Usage::default();
        match lookup::find_in(program, &self.path) {
            Ok(found) if self.needs_no_environment(&found) => {}
            Ok(found) => used.programs.push(found),
            // The program may exist on the nodes only. Then nothing is known about it, so it counts as used.
            Err(_) => used.programs.push(program.into()),
        }
        used.named = arguments.iter().filter_map(|word| self.prefix_named_by(word)).collect();
        let pieces = arguments.iter().flat_map(|word| {
            word.as_bytes().split(|b| b.is_ascii_whitespace()).map(OsStr::from_bytes)
        });
        let pieces = pieces.filter(|p| !p.is_empty() && !p.as_bytes().starts_with(b"-"));
        for found in pieces.take(LOOKED_UP).filter_map(|p| lookup::find_in(p, &self.path).ok()) {
            if !self.needs_no_environment(&found) {
                used.programs.push(found);
            }
        }
        (used != Usage::default()).then_some(used)
    }

    /// Whether a program runs without an environment, as far as its file tells.
    fn needs_no_environment(&self, program: &Path) -> bool {
        let program = self.working_directory.join(program);
        if self.covers(&program) || is_command_runner(&program) {
            return false;
        }
        let Some(linked) = linked(&program) else { return false };
        let is_pythons = |name: &OsString| name.as_bytes().starts_with(b"libpython");
        let found_in = |dir: &PathBuf| linked.libraries.iter().any(|name| dir.join(name).exists());
        !linked.libraries.iter().any(is_pythons)
            && !linked.search.iter().any(|dir| self.covers(dir))
            && !self.libraries.iter().any(|dir| self.covers(dir) && found_in(dir))
    }

    /// Whether a path or its real path is below a prefix.
    fn covers(&self, path: &Path) -> bool {
        let real = std::fs::canonicalize(path).ok();
        let paths: Vec<PathBuf> = [Some(path.to_path_buf()), real].into_iter().flatten().collect();
        self.bundles.iter().any(|bundle| covers(&bundle.prefixes, &paths))
    }

    /// Finds the prefix that a word contains as text, or the path in a prefix that the word names relative to the
    /// working directory.
    fn prefix_named_by(&self, word: &OsStr) -> Option<PathBuf> {
        let prefixes = self.bundles.iter().flat_map(|bundle| &bundle.prefixes);
        let mut spellings = prefixes.flat_map(PrefixRecord::spellings);
        if let Some(prefix) = spellings.find(|prefix| contains(word, prefix)) {
            return Some(prefix.to_path_buf());
        }
        // An option or an absolute path would contain the prefix as text.
        if word.as_bytes().starts_with(b"-") || word.as_bytes().starts_with(b"/") {
            return None;
        }
        let path = self.working_directory.join(word);
        let leads = word.as_bytes().contains(&b'/') || self.covers(&self.working_directory);
        (leads && path.symlink_metadata().is_ok() && self.covers(&path))
            .then(|| std::fs::canonicalize(&path).unwrap_or(path))
    }
}

/// Whether the name of a program, or that of its real file, is one of those that run commands given as text.
fn is_command_runner(program: &Path) -> bool {
    let real = std::fs::canonicalize(program).unwrap_or_default();
    [program, &real].into_iter().any(|path| {
        let name = path.file_name().unwrap_or_default().as_bytes();
        let is_version = |b: &u8| b.is_ascii_digit() || matches!(b, b'.' | b'-');
        let end = name.iter().rposition(|b| !is_version(b)).map_or(0, |last| last + 1);
        python::is_interpreter(path)
            || COMMAND_RUNNERS.iter().any(|known| known.as_bytes() == &name[..end])
    })
}

/// Whether `word` contains `prefix` or a path below it.
fn contains(word: &OsStr, prefix: &Path) -> bool {
    let prefix = prefix.as_os_str().as_bytes();
    let mut rest = word.as_bytes();
    while let Some(at) = rest.windows(prefix.len()).position(|w| w == prefix) {
        rest = &rest[at + prefix.len()..];
        let ends = rest.first().is_none_or(|b| !b.is_ascii_alphanumeric() && !b"_-.+".contains(b));
        if ends {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use serde_bytes::ByteBuf;

    use super::*;
    use crate::manifest::prefix::Mode;

    fn summary(path: &Path) -> BundleSummary {
        let path = ByteBuf::from(path.as_os_str().as_bytes());
        let prefix = PrefixRecord { path, aliases: Vec::new(), mode: Mode::Snapshot };
        BundleSummary { prefixes: vec![prefix], digest: [0; 32], over: None }
    }

    /// A site with two environments, one of them active, and with the programs of the system.
    struct Site {
        dir: tempfile::TempDir,
        bundles: Vec<BundleSummary>,
    }

    impl Site {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let top = std::fs::canonicalize(dir.path()).unwrap();
            for name in ["env/bin/tool", "env/lib/libc.so.6", "other/bin/tool2", "work/in.txt"] {
                let path = top.join(name);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::copy("/bin/true", &path).unwrap();
            }
            std::os::unix::fs::symlink("/bin/true", top.join("env/bin/outside")).unwrap();
            std::fs::write(top.join("work/job.sh"), "#!/bin/sh\n").unwrap();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(top.join("work/job.sh"), mode).unwrap();
            std::os::unix::fs::symlink(top.join("env/bin/tool"), top.join("work/link")).unwrap();
            let bundles = ["env", "other"].map(|name| summary(&top.join(name))).to_vec();
            Self { dir, bundles }
        }

        fn top(&self) -> PathBuf {
            std::fs::canonicalize(self.dir.path()).unwrap()
        }

        fn inspector(&self) -> Inspector<'_> {
            let path = ["env/bin", "work"].map(|name| self.top().join(name)).to_vec();
            let path = path.into_iter().chain(["/usr/bin".into(), "/bin".into()]).collect();
            Inspector {
                bundles: &self.bundles,
                path,
                libraries: Vec::new(),
                working_directory: self.top().join("work"),
            }
        }

        fn uses(&self, line: &str) -> bool {
            let line = line.replace("@", &self.top().display().to_string());
            let words: Vec<OsString> = line.split('|').map(OsString::from).collect();
            self.inspector().usage_of_one(&words).is_some()
        }
    }

    #[test]
    fn a_system_program_needs_no_environment_even_if_one_is_active() {
        let site = Site::new();
        for line in ["true", "/bin/true", "ls|-l|in.txt", "timeout|10|true", "sleep|1|--x=/usr"] {
            assert!(!site.uses(line), "{line}");
        }
    }

    #[test]
    fn a_command_that_may_start_python_uses_the_environment() {
        let site = Site::new();
        for line in [
            "tool",
            "@/other/bin/tool2",
            "outside",
            "work/../link",
            "./link",
            "job.sh",
            "sh|-c|true",
            "env|true",
            "timeout|10|tool",
            "timeout|10|sh|job.sh",
            "nice|-n|5|job.sh",
            "flock|x|-c|tool x",
            "cat|@/env/lib/x",
            "ls|--color=never|-I@/env",
            "ls|../env/bin",
            "not-on-this-node",
        ] {
            assert!(site.uses(line), "{line}");
        }
    }

    #[test]
    fn a_directory_whose_name_only_begins_like_a_prefix_does_not_count() {
        assert!(contains(OsStr::new("-I/sw/env/include"), Path::new("/sw/env")));
        assert!(contains(OsStr::new("/sw/env-2:/sw/env"), Path::new("/sw/env")));
        assert!(!contains(OsStr::new("/sw/env-2/x"), Path::new("/sw/env")));
        let site = Site::new();
        std::fs::create_dir(site.top().join("env-2")).unwrap();
        assert!(!site.uses("ls|@/env-2"));
    }

    #[test]
    fn a_program_that_loads_libraries_from_an_environment_needs_it() {
        let site = Site::new();
        let mut inspector = site.inspector();
        assert!(inspector.needs_no_environment(Path::new("/bin/true")));
        inspector.libraries = vec![site.top().join("env/lib")];
        assert!(!inspector.needs_no_environment(Path::new("/bin/true")), "its libc.so.6 is there");
        inspector.libraries = vec![site.top().join("other/bin")];
        assert!(
            inspector.needs_no_environment(Path::new("/bin/true")),
            "none of its libraries is there"
        );
    }

    #[test]
    fn interpreters_and_shells_are_known_by_name_whatever_their_version() {
        for name in ["python3.11", "perl5.36.0", "lua5.4", "bash", "tclsh8.6", "ksh93"] {
            assert!(is_command_runner(Path::new(name)), "{name}");
        }
        for name in ["hostname", "basher", "sha256sum", "nodes", "7"] {
            assert!(!is_command_runner(Path::new(name)), "{name}");
        }
    }
}
