//! Makes the file that says how `--reroute env` changes a program's environment. Users choose `--reroute env` for
//! programs that the shim cannot enter.
//!
//! `PYTHONHOME` turns off the detection of virtual environments, so the packages of a virtual environment are added to
//! `PYTHONPATH`. Everything is derived from the manifests alone. [`layout::ENVIRONMENT`] describes the format.
#![forbid(unsafe_code)]

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use pyshm_format::layout;

use crate::manifest::Stack;
use crate::manifest::entry::EntryKind;

/// The parts of a Python installation that a prefix has.
struct Python {
    prefix: PathBuf,
    /// The name of its library directory, such as `python3.11`.
    version: Option<String>,
    is_venv: bool,
    has_stdlib: bool,
    has_bin: bool,
    has_lib: bool,
}

impl Python {
    fn find(prefix: &Path, stack: &Stack) -> Self {
        let mut python = Self {
            prefix: prefix.to_path_buf(),
            version: None,
            is_venv: false,
            has_stdlib: false,
            has_bin: false,
            has_lib: false,
        };
        for (_, entry) in stack.entries() {
            let Ok(below) = entry.path().strip_prefix(prefix) else { continue };
            let mut parts = below.components().map(|c| c.as_os_str());
            let (first, second, third) = (parts.next(), parts.next(), parts.next());
            if parts.next().is_some() {
                continue;
            }
            let names = [first, second, third].map(|p| p.and_then(|p| p.to_str()));
            match names {
                [Some("pyvenv.cfg"), None, None] => python.is_venv = true,
                [Some("bin"), None, None] => python.has_bin = true,
                [Some("lib"), None, None] => python.has_lib = true,
                [Some("lib"), Some(name), None]
                    if is_version(name) && matches!(entry.kind, EntryKind::Directory) =>
                {
                    python.version = Some(name.to_string());
                }
                [Some("lib"), Some(name), Some("os.py")] if is_version(name) => {
                    python.version = Some(name.to_string());
                    python.has_stdlib = true;
                }
                _ => {}
            }
        }
        python
    }
}

fn is_version(name: &str) -> bool {
    name.strip_prefix("python").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// Returns the changes of the environment for the stage of `stack` whose directory is `stage`. If several prefixes have
/// a Python, the last one wins.
pub(super) fn environment(stack: &Stack, stage: &Path) -> Vec<u8> {
    let pythons: Vec<Python> =
        stack.prefixes().iter().map(|p| Python::find(p.path(), stack)).collect();
    let staged = |path: &Path| {
        let mut bytes = stage.join(layout::FS).into_os_string();
        bytes.push(path);
        bytes
    };
    let mut text = Vec::new();
    let mut add = |name: &str, how: &str, path: PathBuf| {
        text.extend_from_slice(name.as_bytes());
        text.extend_from_slice(how.as_bytes());
        text.extend_from_slice(staged(&path).as_bytes());
        text.push(0);
    };
    // The directory that is added last comes first in the variable, so that a virtual environment wins over its base.
    let (venvs, bases): (Vec<&Python>, Vec<&Python>) = pythons.iter().partition(|p| p.is_venv);
    for python in bases.iter().chain(&venvs) {
        if python.has_bin {
            add("PATH", "+=", python.prefix.join("bin"));
        }
        if python.has_lib {
            add("LD_LIBRARY_PATH", "+=", python.prefix.join("lib"));
        }
    }
    let home = bases.iter().rev().find(|p| p.has_stdlib);
    if let Some(home) = home {
        add("PYTHONHOME", "=", home.prefix.clone());
    }
    // The user's own values are cleared first: they would lead to the shared file system, or to another Python.
    if home.is_some() || !venvs.is_empty() {
        text.extend_from_slice(b"PYTHONPATH\0PYTHONUSERBASE\0");
    }
    for python in venvs {
        let Some(version) = &python.version else { continue };
        let packages = python.prefix.join("lib").join(version).join("site-packages");
        text.extend_from_slice(b"PYTHONPATH+=");
        text.extend_from_slice(staged(&packages).as_bytes());
        text.push(0);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::{PackOptions, PrefixSpec, pack};
    use crate::manifest::Manifest;
    use crate::manifest::prefix::Mode;
    use crate::progress::Progress;

    /// Packs a prefix with this name and these files, and returns the bundle's manifest.
    fn manifest(root: &Path, name: &str, files: &[&str]) -> Manifest {
        let prefix = root.join(name);
        for file in files {
            let path = prefix.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let specs = [PrefixSpec { path: prefix, mode: Mode::Snapshot }];
        let options = PackOptions { level: None, progress: Progress::Hidden };
        pack(&specs, &root.join(format!("{name}.tar.zst")), &options).unwrap().manifest
    }

    fn lines(manifests: &[Manifest], root: &Path) -> Vec<String> {
        let mut stack = Stack::default();
        manifests.iter().for_each(|m| stack.lay(m.clone()).unwrap());
        let text = String::from_utf8(environment(&stack, Path::new("/s"))).unwrap();
        text.split_terminator('\0').map(|l| l.replace(root.to_str().unwrap(), "")).collect()
    }

    #[test]
    fn a_complete_environment_becomes_pythonhome() {
        let dir = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(dir.path()).unwrap();
        let conda = manifest(&root, "conda", &["bin/python3.11", "lib/python3.11/os.py"]);
        let want = [
            "PATH+=/s/fs/conda/bin",
            "LD_LIBRARY_PATH+=/s/fs/conda/lib",
            "PYTHONHOME=/s/fs/conda",
            "PYTHONPATH",
            "PYTHONUSERBASE",
        ];
        assert_eq!(lines(&[conda], &root), want);
    }

    #[test]
    fn a_virtual_environments_packages_are_in_pythonpath_and_its_programs_come_first() {
        let dir = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(dir.path()).unwrap();
        let venv = manifest(
            &root,
            "venv",
            &["pyvenv.cfg", "bin/python", "lib/python3.11/site-packages/x.py"],
        );
        let base = manifest(&root, "base", &["bin/python3.11", "lib/python3.11/os.py"]);
        let got = lines(&[venv, base], &root);
        assert_eq!(got[0], "PATH+=/s/fs/base/bin");
        assert_eq!(got[2], "PATH+=/s/fs/venv/bin");
        assert!(got.contains(&"PYTHONHOME=/s/fs/base".to_string()));
        assert_eq!(got.last().unwrap(), "PYTHONPATH+=/s/fs/venv/lib/python3.11/site-packages");
    }

    #[test]
    fn a_prefix_without_a_python_adds_only_its_programs_and_libraries() {
        let dir = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(dir.path()).unwrap();
        let app = manifest(&root, "app", &["bin/tool"]);
        assert_eq!(lines(&[app], &root), ["PATH+=/s/fs/app/bin"]);
    }
}
