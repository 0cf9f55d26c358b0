//! Which of the bundles that are configured for all jobs a command uses: with a configuration for a whole facility
//! `srun hostname` must stage nothing, start no step and say nothing.
//!
//! A bundle is needed when the command *uses Python's environment* and the bundle covers something of it: the program, a
//! directory where it looks for libraries (`RPATH`, LD_LIBRARY_PATH), PATH, PYTHONPATH, PYTHONHOME, VIRTUAL_ENV or
//! CONDA_PREFIX, an environment's base, or a path that the command names.
//! Which of several that do, and what comes along with them, is said in [`coverage`].
//!
//! That an environment is active does not say that a command uses it. It does unless all of this holds:
//!
//! - the program lies outside every prefix, by its name and by its real path, and is an ELF file: a script may do anything;
//! - it is none of those that run what a text says: shells, interpreters, make ([`RUNS_TEXT`]);
//! - it loads no library of Python's, and none from under a prefix, by its `RPATH` or LD_LIBRARY_PATH;
//! - no word of the command contains a path under a prefix;
//! - no word, taken as a program, would use the environment by these rules: `numactl python`, `time bash job.sh`, and
//!   `script -c 'python app.py'`, whose words are split at blanks.
//!
//! A program that starts Python without any of these signs (by `dlopen`, or from a file of its own) runs from the shared
//! file system. Names that only look like a program (`cp python there`) stage in vain, which is the lesser mistake.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::bundle::Named;
use crate::cache::prefixes;
use crate::cache::prefixes::BundleSummary;
use crate::error::{Error, Result};
use crate::manifest::prefix::{PrefixRecord, covers};
use crate::program::elf_needed::linked;
use crate::program::{lookup, python};
use crate::run::select;
use crate::run::select::coverage;

/// Programs that do what a text says, which may be to start Python. Versions behind the names do not count.
const RUNS_TEXT: [&str; 34] = [
    "ash", "bash", "busybox", "csh", "dash", "elvish", "fish", "ksh", "mksh", "nu", "sh", "tcsh",
    "yash", "zsh", "awk", "env", "expect", "gawk", "java", "julia", "lua", "mawk", "node", "perl",
    "R", "Rscript", "ruby", "tclsh", "cmake", "ctest", "gmake", "make", "ninja", "xargs",
];
/// Words behind the program that are looked up as programs: wrappers have few of their own.
const LOOKED_UP: usize = 32;

/// The bundles that a command needs.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Needed {
    /// Of those that are configured, in their order, by absolute paths.
    pub bundles: Vec<Named>,
    /// What the command uses, by which nodes and stages decide alike.
    pub interests: Vec<PathBuf>,
    /// What was configured and cannot be read, and why.
    pub missing: Vec<String>,
}

/// A bundle that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Why.
    pub message: String,
    /// The exit code that says so.
    pub code: u8,
}

impl From<Missing> for Error {
    fn from(Missing { message, code }: Missing) -> Self {
        Self::Reported { message, code }
    }
}

/// Why no bundle is taken, which is no failure but for the last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unneeded {
    /// The command uses no environment at all.
    NoEnvironment(String),
    /// It may use one, but no bundle that is configured covers it.
    NotCovered(String),
    /// The same, but one that might cannot be read.
    Missing(Missing),
}

impl fmt::Display for Unneeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoEnvironment(why) | Self::NotCovered(why) => f.write_str(why),
            Self::Missing(Missing { message, .. }) => f.write_str(message),
        }
    }
}

/// Which of the bundles in `configured` the words of `command` need whose programs are at the places `programs`. A bundle
/// that the cache knows is not opened, and nothing is said.
///
/// # Errors
/// Why none is.
pub fn of(
    configured: &[Named],
    command: &[OsString],
    programs: &[usize],
) -> Result<Needed, Unneeded> {
    let (mut bundles, mut known, mut missing) = (Vec::new(), Vec::new(), Vec::new());
    let mut first = None;
    let absolute = configured.iter().filter_map(|named| absolute(named).ok());
    let absolute: Vec<Named> = absolute.collect();
    for (named, stands) in absolute.iter().zip(prefixes::summaries(&absolute)) {
        match stands {
            Ok(stands) => {
                bundles.push(named.clone());
                known.push(stands);
            }
            Err(error) => {
                missing.push(format!("{error}; it is left out"));
                first
                    .get_or_insert(Missing { message: error.to_string(), code: error.exit_code() });
            }
        }
    }
    let Some(used) = Look::current(&known).all_uses(command, programs) else {
        let missing: String = missing.iter().map(|text| format!(" ({text})")).collect();
        let why = format!("the command uses no environment{missing}");
        return Err(Unneeded::NoEnvironment(why));
    };
    let mut interests = select::interests(&used.programs);
    interests.extend(used.named);
    let mut chosen = coverage::chosen(&known, &interests).into_iter();
    bundles.retain(|_| chosen.next().unwrap_or_default());
    if bundles.is_empty() {
        let why = "no bundle that is configured covers what the command uses";
        return Err(first.map_or_else(|| Unneeded::NotCovered(why.into()), Unneeded::Missing));
    }
    Ok(Needed { bundles, interests, missing })
}

/// Whether `command` may use an environment, as far as can be told without a bundle that is known.
#[must_use]
pub fn may_use(command: &[OsString], programs: &[usize]) -> bool {
    Look::current(&[]).all_uses(command, programs).is_some()
}

fn absolute(named: &Named) -> Result<Named> {
    let of = |path: &PathBuf| std::path::absolute(path).map_err(Error::read("bundle", path));
    let prefix = named.prefix.as_ref().map(of).transpose()?;
    Ok(Named { path: of(&named.path)?, prefix, layer: named.layer })
}

/// What of a command has to do with an environment.
#[derive(Debug, Default, PartialEq, Eq)]
struct Used {
    /// Programs that it runs, by where they are.
    programs: Vec<PathBuf>,
    /// Prefixes that words of it name.
    named: Vec<PathBuf>,
}

/// What a look at a command needs to know.
struct Look<'a> {
    /// What each bundle stands for.
    bundles: &'a [BundleSummary],
    /// `PATH`
    path: Vec<PathBuf>,
    /// `LD_LIBRARY_PATH`
    libraries: Vec<PathBuf>,
    /// The working directory.
    here: PathBuf,
}

impl<'a> Look<'a> {
    fn current(bundles: &'a [BundleSummary]) -> Self {
        let libraries = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
        Self {
            bundles,
            path: lookup::path_elements(),
            libraries: std::env::split_paths(&libraries).filter(|p| p.is_absolute()).collect(),
            here: std::env::current_dir().unwrap_or_default(),
        }
    }

    /// What the programs at the places `programs` use, each with the words up to the next one.
    fn all_uses(&self, command: &[OsString], programs: &[usize]) -> Option<Used> {
        let mut used = None::<Used>;
        for (i, at) in programs.iter().enumerate() {
            let end = programs.get(i + 1).copied().unwrap_or(command.len());
            if let Some(more) = command.get(*at..end).and_then(|words| self.uses(words)) {
                let used = used.get_or_insert_default();
                used.programs.extend(more.programs);
                used.named.extend(more.named);
            }
        }
        used
    }

    /// What the program in the first word uses with the others as its arguments; `None` where that is no environment.
    fn uses(&self, words: &[OsString]) -> Option<Used> {
        let (program, arguments) = words.split_first()?;
        let mut used = Used::default();
        match lookup::find_in(program, &self.path) {
            Ok(found) if self.is_independent(&found) => {}
            Ok(found) => used.programs.push(found),
            // It may be on the nodes: nothing is known of it.
            Err(_) => used.programs.push(program.into()),
        }
        used.named = arguments.iter().filter_map(|word| self.named_by(word)).collect();
        let pieces = arguments.iter().flat_map(|word| {
            word.as_bytes().split(|b| b.is_ascii_whitespace()).map(OsStr::from_bytes)
        });
        let pieces = pieces.filter(|p| !p.is_empty() && !p.as_bytes().starts_with(b"-"));
        for found in pieces.take(LOOKED_UP).filter_map(|p| lookup::find_in(p, &self.path).ok()) {
            if !self.is_independent(&found) {
                used.programs.push(found);
            }
        }
        (used != Used::default()).then_some(used)
    }

    /// Whether a program runs without an environment, as far as can be told from itself.
    fn is_independent(&self, program: &Path) -> bool {
        let program = self.here.join(program);
        if self.covers(&program) || runs_text(&program) {
            return false;
        }
        let Some(linked) = linked(&program) else { return false };
        let is_pythons = |name: &OsString| name.as_bytes().starts_with(b"libpython");
        let found_in = |dir: &PathBuf| linked.libraries.iter().any(|name| dir.join(name).exists());
        !linked.libraries.iter().any(is_pythons)
            && !linked.search.iter().any(|dir| self.covers(dir))
            && !self.libraries.iter().any(|dir| self.covers(dir) && found_in(dir))
    }

    /// Whether a path lies under a prefix, as it is written or really.
    fn covers(&self, path: &Path) -> bool {
        let real = std::fs::canonicalize(path).ok();
        let paths: Vec<PathBuf> = [Some(path.to_path_buf()), real].into_iter().flatten().collect();
        self.bundles.iter().any(|bundle| covers(&bundle.prefixes, &paths))
    }

    /// A prefix with which a word has to do: it stands in it as text, or leads there from the working directory.
    fn named_by(&self, word: &OsStr) -> Option<PathBuf> {
        let prefixes = self.bundles.iter().flat_map(|bundle| &bundle.prefixes);
        let mut spellings = prefixes.flat_map(PrefixRecord::spellings);
        if let Some(prefix) = spellings.find(|prefix| contains(word, prefix)) {
            return Some(prefix.to_path_buf());
        }
        // An option or an absolute path would have said it.
        if word.as_bytes().starts_with(b"-") || word.as_bytes().starts_with(b"/") {
            return None;
        }
        let path = self.here.join(word);
        let leads = word.as_bytes().contains(&b'/') || self.covers(&self.here);
        (leads && path.symlink_metadata().is_ok() && self.covers(&path))
            .then(|| std::fs::canonicalize(&path).unwrap_or(path))
    }
}

/// Whether a program does what a text says, by its name or by that of the file which it really is.
fn runs_text(program: &Path) -> bool {
    let real = std::fs::canonicalize(program).unwrap_or_default();
    [program, &real].into_iter().any(|path| {
        let name = path.file_name().unwrap_or_default().as_bytes();
        let is_version = |b: &u8| b.is_ascii_digit() || matches!(b, b'.' | b'-');
        let end = name.iter().rposition(|b| !is_version(b)).map_or(0, |last| last + 1);
        python::is_interpreter(path)
            || RUNS_TEXT.iter().any(|known| known.as_bytes() == &name[..end])
    })
}

/// Whether `prefix` stands in `word`, as itself or with something below it.
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

    fn stands(path: &Path) -> BundleSummary {
        let path = ByteBuf::from(path.as_os_str().as_bytes());
        let prefix = PrefixRecord { path, aliases: Vec::new(), mode: Mode::Snapshot };
        BundleSummary { prefixes: vec![prefix], digest: [0; 32], over: None }
    }

    /// Two environments, one of them active, and what is on every system.
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
            let bundles = ["env", "other"].map(|name| stands(&top.join(name))).to_vec();
            Self { dir, bundles }
        }

        fn top(&self) -> PathBuf {
            std::fs::canonicalize(self.dir.path()).unwrap()
        }

        fn look(&self) -> Look<'_> {
            let path = ["env/bin", "work"].map(|name| self.top().join(name)).to_vec();
            let path = path.into_iter().chain(["/usr/bin".into(), "/bin".into()]).collect();
            let here = self.top().join("work");
            Look { bundles: &self.bundles, path, libraries: Vec::new(), here }
        }

        fn uses(&self, line: &str) -> bool {
            let line = line.replace("@", &self.top().display().to_string());
            let words: Vec<OsString> = line.split('|').map(OsString::from).collect();
            self.look().uses(&words).is_some()
        }
    }

    #[test]
    fn a_program_of_the_systems_needs_no_environment_though_one_is_active() {
        let site = Site::new();
        for line in ["true", "/bin/true", "ls|-l|in.txt", "timeout|10|true", "sleep|1|--x=/usr"] {
            assert!(!site.uses(line), "{line}");
        }
    }

    #[test]
    fn what_may_start_python_needs_it() {
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
    fn a_directory_that_only_begins_like_a_prefix_is_another_one() {
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
        let mut look = site.look();
        assert!(look.is_independent(Path::new("/bin/true")));
        look.libraries = vec![site.top().join("env/lib")];
        assert!(!look.is_independent(Path::new("/bin/true")), "its libc.so.6 lies there");
        look.libraries = vec![site.top().join("other/bin")];
        assert!(look.is_independent(Path::new("/bin/true")), "nothing of it lies there");
    }

    #[test]
    fn interpreters_and_shells_are_known_by_name_whatever_their_version() {
        for name in ["python3.11", "perl5.36.0", "lua5.4", "bash", "tclsh8.6", "ksh93"] {
            assert!(runs_text(Path::new(name)), "{name}");
        }
        for name in ["hostname", "basher", "sha256sum", "nodes", "7"] {
            assert!(!runs_text(Path::new(name)), "{name}");
        }
    }
}
