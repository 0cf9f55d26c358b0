//! Asks a Python interpreter for its prefixes. The interpreter has to run, since `python3` may be a wrapper script
//! (pyenv), and the prefix of a virtual environment is known only after `site` has run.
//!
//! Directories that belong to the system, or that contain more than an environment (a home), are never bundled
//! automatically: [`may_bundle`].
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::{Error, Reason, Result};

/// The bytes before the answer. They tell the answer apart from other output of the interpreter.
const MARK: &[u8] = b"\0pyshm\0";

/// Variables that name the environment in use.
pub const ENVIRONMENT_VARIABLES: [&str; 2] = ["VIRTUAL_ENV", "CONDA_PREFIX"];

const QUESTION: &str = "import sys, os
sys.stdout.flush()
names = [sys.executable, sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix]
os.write(1, b'\\0pyshm\\0' + b'\\0'.join(os.fsencode(n or '') for n in names) + b'\\0')";

/// An interpreter's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Python {
    /// The value of `sys.executable`.
    pub executable: PathBuf,
    /// The values of `sys.prefix`, `sys.base_prefix`, `sys.exec_prefix` and `sys.base_exec_prefix`, each once.
    pub prefixes: Vec<PathBuf>,
}

impl Python {
    /// Runs `interpreter` and asks for its prefixes.
    ///
    /// # Errors
    /// [`Error::CannotRun`] when the interpreter does not run or does not answer.
    pub fn ask(interpreter: &Path) -> Result<Self> {
        let failed = |cause: Reason| {
            let what = format!("ask {} for its prefix", interpreter.display());
            Error::cannot_run(what, cause, "name a bundle with -b")
        };
        let mut command = Command::new(interpreter);
        command.args(["-c", QUESTION]).stdin(Stdio::null()).stderr(Stdio::piped());
        let output = command.output().map_err(|e| failed(e.into()))?;
        let answer = output.stdout.windows(MARK.len()).rposition(|w| w == MARK);
        let Some(answer) = answer.map(|at| &output.stdout[at + MARK.len()..]) else {
            let said = String::from_utf8_lossy(&output.stderr);
            let last =
                said.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or("it says nothing");
            return Err(failed(last.trim().into()));
        };
        let mut names =
            answer.split(|b| *b == 0).map(|n| PathBuf::from(OsString::from_vec(n.to_vec())));
        let executable = names.next().unwrap_or_default();
        let mut prefixes: Vec<PathBuf> = Vec::new();
        for name in names.filter(|n| n.is_absolute()) {
            if !prefixes.contains(&name) {
                prefixes.push(name);
            }
        }
        Ok(Self { executable, prefixes })
    }

    /// Lists the prefixes to bundle: those that may be bundled and do not lie below another one.
    #[must_use]
    pub fn bundled(&self) -> Vec<PathBuf> {
        let real = |p: &PathBuf| std::fs::canonicalize(p).ok();
        let mut kept: Vec<(PathBuf, PathBuf)> = Vec::new();
        for prefix in self.prefixes.iter().filter(|p| may_bundle(p)) {
            let Some(real) = real(prefix).filter(|r| may_bundle(r)) else { continue };
            if kept.iter().any(|(_, k)| real.starts_with(k)) {
                continue;
            }
            kept.retain(|(_, k)| !k.starts_with(&real));
            kept.push((prefix.clone(), real));
        }
        kept.into_iter().map(|(prefix, _)| prefix).collect()
    }
}

/// Finds the prefix of the base interpreter of the environment `prefix`; `None` if the base has no directory of its own,
/// or if that directory may not be bundled.
///
/// # Errors
/// As [`Python::ask`]. It is no error if a prefix has no interpreter and so no base.
pub fn base_of(prefix: &Path) -> Result<Option<PathBuf>> {
    let interpreter = ["bin/python3", "bin/python", "bin/pypy3"]
        .map(|n| prefix.join(n))
        .into_iter()
        .find(|p| p.exists());
    let Some(interpreter) = interpreter else { return Ok(None) };
    let real = std::fs::canonicalize(prefix).unwrap_or_else(|_| prefix.to_path_buf());
    let elsewhere = |base: &PathBuf| {
        std::fs::canonicalize(base).is_ok_and(|b| !b.starts_with(&real) && !real.starts_with(b))
    };
    Ok(Python::ask(&interpreter)?.bundled().into_iter().find(elsewhere))
}

/// Whether a directory may be bundled automatically: not a directory of the system, nor a whole home or mount.
#[must_use]
pub fn may_bundle(prefix: &Path) -> bool {
    const NEVER: [&str; 16] = [
        "/",
        "/usr",
        "/usr/local",
        "/opt",
        "/home",
        "/root",
        "/var",
        "/etc",
        "/bin",
        "/lib",
        "/lib64",
        "/tmp",
        "/mnt",
        "/srv",
        "/run",
        "/boot",
    ];
    const NEVER_BELOW: [&str; 4] = ["/dev", "/proc", "/sys", "/usr/bin"];
    let home = std::env::var_os("HOME").map(PathBuf::from).filter(|h| h.is_absolute());
    // The user's home, or a directory that contains it.
    let holds_home = home.is_some_and(|h| h.starts_with(prefix));
    prefix.is_absolute()
        && !holds_home
        && !NEVER.iter().any(|n| prefix == Path::new(n))
        && !NEVER_BELOW.iter().any(|n| prefix.starts_with(n))
}

/// Whether the name of a program is that of an interpreter: `python`, `python3.11`, `pypy3`.
#[must_use]
pub fn is_interpreter(program: &Path) -> bool {
    let name = program.file_name().map(OsStr::as_bytes).unwrap_or_default();
    let rest = name.strip_prefix(b"python").or_else(|| name.strip_prefix(b"pypy"));
    rest.is_some_and(|rest| rest.iter().all(|b| b.is_ascii_digit() || *b == b'.' || *b == b't'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interpreters_are_told_by_name() {
        for name in ["python", "/a/bin/python3", "python3.13t", "pypy3"] {
            assert!(is_interpreter(Path::new(name)), "{name}");
        }
        for name in ["pythonista", "python3-config", "bash", "/python/x"] {
            assert!(!is_interpreter(Path::new(name)), "{name}");
        }
    }

    #[test]
    fn the_system_and_homes_are_never_bundled() {
        for path in ["/", "/usr", "/usr/local", "/dev/shm/x", "relative"] {
            assert!(!may_bundle(Path::new(path)), "{path}");
        }
        assert!(may_bundle(Path::new("/opt/conda")));
        if let Some(home) =
            std::env::var_os("HOME").map(PathBuf::from).filter(|h| h.parent().is_some())
        {
            assert!(!may_bundle(&home));
            assert!(may_bundle(&home.join("venv")));
        }
    }

    #[test]
    fn a_wrapper_script_is_run_and_its_other_output_is_ignored() {
        let dir = tempfile::tempdir().unwrap();
        let env = dir.path().join("env");
        std::fs::create_dir(&env).unwrap();
        let wrapper = dir.path().join("python3");
        let script = format!(
            "#!/bin/sh\necho hello\nprintf '\\0pyshm\\0{0}/bin/python\\0{0}\\0/usr\\0{0}\\0/usr\\0'\n",
            env.display()
        );
        std::fs::write(&wrapper, script).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&wrapper, mode).unwrap();
        let python = Python::ask(&wrapper).unwrap();
        assert_eq!(python.prefixes, [env.clone(), PathBuf::from("/usr")]);
        assert_eq!(python.bundled(), [env]);
    }

    #[test]
    fn an_error_names_the_program_that_does_not_answer() {
        let error = Python::ask(Path::new("/bin/false")).unwrap_err().to_string();
        assert!(error.contains("/bin/false") && error.contains("-b"), "{error}");
    }

    #[test]
    fn a_prefix_below_another_is_part_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("envs/x");
        std::fs::create_dir_all(&inner).unwrap();
        let outer = dir.path().to_path_buf();
        let prefixes = vec![inner, outer.clone(), PathBuf::from("/usr")];
        let python = Python { executable: PathBuf::new(), prefixes };
        assert_eq!(python.bundled(), [outer]);
    }
}
