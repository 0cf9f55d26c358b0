//! Finds programs as `execvp` does, and the interpreters that scripts name.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use crate::error::{Error, Result};
use crate::program::python;

/// Finds `program` as `execvp` does.
///
/// # Errors
/// [`Error::CommandNotFound`] or [`Error::NotExecutable`], with the exit codes of a shell.
pub fn find(program: &OsStr) -> Result<PathBuf> {
    find_in(program, &path_elements())
}

/// Finds `program` as [`find`] does, in `directories` instead of those of `PATH`.
///
/// # Errors
/// As [`find`].
pub fn find_in(program: &OsStr, directories: &[PathBuf]) -> Result<PathBuf> {
    let name = || program.to_string_lossy().into_owned();
    if program.as_bytes().contains(&b'/') {
        let path = PathBuf::from(program);
        return match executable(&path) {
            Ok(()) => Ok(path),
            Err(e) if is_missing(&e) => Err(Error::CommandNotFound(name())),
            Err(cause) => Err(Error::NotExecutable { command: name(), cause }),
        };
    }
    let mut refused = None;
    let directories = if program.is_empty() { &[] } else { directories };
    for dir in directories {
        let path = dir.join(program);
        match executable(&path) {
            Ok(()) => return Ok(path),
            Err(e) if !is_missing(&e) => refused = Some(e),
            _ => {}
        }
    }
    match refused {
        Some(cause) => Err(Error::NotExecutable { command: name(), cause }),
        None => Err(Error::CommandNotFound(name())),
    }
}

/// Lists the directories of `PATH`; an empty element is the working directory.
#[must_use]
pub fn path_elements() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/bin:/usr/bin"));
    let dot = |p: PathBuf| if p.as_os_str().is_empty() { PathBuf::from(".") } else { p };
    std::env::split_paths(&path).map(dot).collect()
}

/// Checks that a path is a file that this process may execute.
fn executable(path: &Path) -> io::Result<()> {
    if std::fs::metadata(path)?.is_dir() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    Ok(access(path, Access::EXEC_OK)?)
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Reads the words after `#!` in a script's first line; `None` if the file is not a script.
fn shebang(path: &Path) -> Option<Vec<OsString>> {
    let mut start = Vec::new();
    std::fs::File::open(path).ok()?.take(256).read_to_end(&mut start).ok()?;
    let line = start.strip_prefix(b"#!")?.split(|b| *b == b'\n').next()?;
    let words = line.split(|b| b.is_ascii_whitespace()).filter(|w| !w.is_empty());
    Some(words.map(|w| OsStr::from_bytes(w).to_os_string()).collect())
}

/// Whether a program is a script, of any language.
#[must_use]
pub fn is_script(path: &Path) -> bool {
    shebang(path).is_some()
}

/// Finds the Python interpreter that runs when `program` runs: the program itself or the interpreter that its first
/// line names, else the interpreter of the active environment, else `python3` on `PATH`.
#[must_use]
pub fn interpreter(program: Option<&Path>) -> Option<PathBuf> {
    let named = program.and_then(|program| {
        if python::is_interpreter(program) {
            return Some(program.to_path_buf());
        }
        let words = shebang(program)?;
        let mut words = words.iter();
        let first = PathBuf::from(words.next()?);
        if first.file_name()? != "env" {
            return python::is_interpreter(&first).then_some(first);
        }
        let is_option = |w: &OsStr| w.as_bytes().starts_with(b"-") || w.as_bytes().contains(&b'=');
        let name = words.find(|w| !is_option(w))?;
        python::is_interpreter(Path::new(name)).then(|| find(name).ok())?
    });
    let active = python::ENVIRONMENT_VARIABLES.into_iter().find_map(|name| {
        let path = Path::new(&std::env::var_os(name)?).join("bin/python");
        path.exists().then_some(path)
    });
    named.or(active).or_else(|| find(OsStr::new("python3")).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(dir: &Path, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = dir.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode))
            .unwrap();
        path
    }

    #[test]
    fn programs_are_found_on_the_path_or_by_name() {
        assert!(find(OsStr::new("sh")).unwrap().is_absolute());
        assert_eq!(find(OsStr::new("/bin/sh")).unwrap(), Path::new("/bin/sh"));
    }

    #[test]
    fn missing_programs_and_those_not_executable_have_the_codes_of_a_shell() {
        let code = |p: &str| find(OsStr::new(p)).unwrap_err().exit_code();
        assert_eq!(code("no-such-program-anywhere"), 127);
        assert_eq!(code("/no/such/program"), 127);
        assert_eq!(code("/etc/passwd"), 126);
        assert_eq!(code("/etc"), 126);
        assert_eq!(code(""), 127);
    }

    #[test]
    fn a_scripts_first_line_names_its_interpreter() {
        let dir = tempfile::tempdir().unwrap();
        let direct = script(dir.path(), "a", "#!/x/bin/python3 -E\n", 0o755);
        assert_eq!(interpreter(Some(&direct)), Some("/x/bin/python3".into()));
        assert!(is_script(&direct));
        assert!(!is_script(Path::new("/bin/sh")));
        assert_eq!(
            interpreter(Some(Path::new("/y/bin/python3.11"))),
            Some("/y/bin/python3.11".into())
        );
    }
}
