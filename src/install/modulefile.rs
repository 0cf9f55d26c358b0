//! Makes modulefiles for Lmod and for Tcl Environment Modules.
//!
//! There are two kinds. The general module preloads the library into every program of a session (`LD_PRELOAD`). The
//! module of an environment adds the environment's bundles to `PYSHM_BUNDLES`. Several modules of environments can be
//! loaded in addition to the general module.
//!
//! Invariants: a modulefile calls the module system's own functions only, so unloading reverts exactly what loading
//! did.
#![forbid(unsafe_code)]

use std::fmt::Write;
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use crate::error::{Error, Result};
use crate::install::preload;

/// The name of the general module.
pub const GENERAL: &str = "pyshm";
/// Prefixes whose `bin` and `share/man` are searched without a module.
const SYSTEM: [&str; 2] = ["/", "/usr"];

/// A module system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum System {
    /// Lmod, in Lua
    Lmod,
    /// Tcl Environment Modules (Lmod reads them too)
    Tcl,
}

/// A module.
#[derive(Debug, Clone, Default)]
pub struct Module {
    /// Its name; other versions of the module conflict with it.
    pub name: String,
    /// Its version, for `whatis`.
    pub version: Option<String>,
    /// One line for `whatis` and help.
    pub description: String,
    /// Where pyshm is installed, for the general module.
    pub prefix: Option<PathBuf>,
    /// The value of `PYSHM_CONFIG`.
    pub config: Option<PathBuf>,
    /// The bundles that are added to `PYSHM_BUNDLES`; later ones win.
    pub bundles: Vec<PathBuf>,
}

/// The change that a module makes to one variable when it is loaded.
struct Line {
    action: Action,
    name: &'static str,
    value: String,
}

enum Action {
    Set,
    Prepend,
    Append,
    /// Prepends if the variable is set. This is for `MANPATH`: where it is not set, `man` looks beside each directory
    /// of `PATH`.
    PrependIfSet,
}

impl Module {
    /// Makes the text of the modulefile.
    ///
    /// # Errors
    /// [`Error::Usage`] for a name or a path that a modulefile cannot contain.
    pub fn text(&self, system: System) -> Result<String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._+-".contains(c);
        if self.name.is_empty() || self.name.starts_with('-') || !self.name.chars().all(plain) {
            let name = &self.name;
            return Err(Error::Usage(format!(
                "failed to name a module '{name}': use letters, digits and . _ + -"
            )));
        }
        let lines = self.lines()?;
        Ok(match system {
            System::Lmod => self.lmod(&lines),
            System::Tcl => self.tcl(&lines),
        })
    }

    fn lines(&self) -> Result<Vec<Line>> {
        let mut lines = Vec::new();
        let mut add = |action, name, value| lines.push(Line { action, name, value });
        if let Some(prefix) = &self.prefix {
            check_prefix(prefix)?;
            if !SYSTEM.iter().any(|system| prefix == Path::new(system)) {
                // `bin` comes last in PATH, because it lies on the shared file system. If it came first, every rank
                // would search it for every program that the rank starts.
                add(Action::Append, "PATH", element(&prefix.join("bin"))?);
                add(Action::PrependIfSet, "MANPATH", element(&prefix.join("share/man"))?);
            }
            add(Action::Prepend, "LD_PRELOAD", element(&preload::value(prefix))?);
        }
        if let Some(config) = &self.config {
            add(Action::Set, "PYSHM_CONFIG", text(config)?);
        }
        for bundle in &self.bundles {
            add(Action::Append, "PYSHM_BUNDLES", element(bundle)?);
        }
        Ok(lines)
    }

    fn help(&self) -> String {
        let what = match self.prefix {
            Some(_) => {
                "Start programs as usual. Python environments with configured bundles are staged in the nodes' memory and\n\
                 used from there.\n\n\
                 'pyshm doctor' checks that everything works, PYSHM_LOG=1 shows what each program uses.\n\
                 PYSHM_DISABLE=1 turns pyshm off for the programs that are started with it.\n"
            }
            None => {
                "Adds bundles to those that pyshm stages. Needs the module of pyshm itself, or pyshm-run before the\n\
                 command.\n"
            }
        };
        format!("{}\n\n{what}", self.description)
    }

    fn whatis(&self) -> Vec<String> {
        let version = self.version.iter().map(|version| format!("Version: {version}"));
        let name = std::iter::once(format!("Name: {}", self.name));
        name.chain(version).chain([format!("Description: {}", self.description)]).collect()
    }

    fn lmod(&self, lines: &[Line]) -> String {
        let mut text = format!("-- Made by 'pyshm module lmod', version {VERSION}.\n");
        let _ = writeln!(text, "help({})", lua(&self.help()));
        for line in self.whatis() {
            let _ = writeln!(text, "whatis({})", lua(&line));
        }
        let _ = writeln!(text, "conflict({})\n", lua(&self.name));
        for line in lines {
            let (name, value) = (line.name, lua(&line.value));
            let call = |function: &str| format!("{function}(\"{name}\", {value})\n");
            text += &match line.action {
                Action::Set => call("setenv"),
                Action::Prepend => call("prepend_path"),
                Action::Append => call("append_path"),
                Action::PrependIfSet => {
                    format!("if os.getenv(\"{name}\") then\n  {}end\n", call("prepend_path"))
                }
            };
        }
        text
    }

    fn tcl(&self, lines: &[Line]) -> String {
        let mut text = format!("#%Module1.0\n# Made by 'pyshm module tcl', version {VERSION}.\n");
        let _ = writeln!(text, "proc ModulesHelp {{}} {{\n  puts stderr {}\n}}", tcl(&self.help()));
        for line in self.whatis() {
            let _ = writeln!(text, "module-whatis {}", tcl(&line));
        }
        let _ = writeln!(text, "conflict {}\n", self.name);
        for line in lines {
            let (name, value) = (line.name, tcl(&line.value));
            let call = |function: &str| format!("{function} {name} {value}\n");
            text += &match line.action {
                Action::Set => call("setenv"),
                Action::Prepend => call("prepend-path"),
                Action::Append => call("append-path"),
                Action::PrependIfSet => {
                    format!("if {{[info exists ::env({name})]}} {{\n  {}}}\n", call("prepend-path"))
                }
            };
        }
        text
    }
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Checks that `LD_PRELOAD` can contain a prefix: no character can be quoted there.
///
/// # Errors
/// [`Error::Usage`] with the character, or when the prefix is not absolute.
pub(super) fn check_prefix(prefix: &Path) -> Result<()> {
    let prefix_text = text(prefix)?;
    let bad = prefix_text.chars().find(|c| matches!(c, ':' | ' ' | '$'));
    if let Some(bad) = bad {
        let reason = match bad {
            '$' => "begins a name that the loader replaces",
            _ => "separates names",
        };
        return Err(Error::Usage(format!(
            "failed to put prefix '{prefix_text}' into LD_PRELOAD: '{bad}' {reason} there; choose another directory"
        )));
    }
    if !prefix.is_absolute() {
        return Err(Error::Usage(format!(
            "failed to use prefix '{prefix_text}': modulefiles need an absolute path; write it from / on"
        )));
    }
    Ok(())
}

/// Returns a path as text that a modulefile can contain.
fn text(path: &Path) -> Result<String> {
    let name = path.to_str().filter(|name| !name.chars().any(char::is_control));
    name.map(String::from).ok_or_else(|| {
        let path = path.display();
        Error::Usage(format!(
            "failed to put '{path}' into a modulefile: it has control characters or is not UTF-8; rename it"
        ))
    })
}

/// Returns a path as text that a list in a variable can contain.
fn element(path: &Path) -> Result<String> {
    let name = text(path)?;
    if name.contains(':') {
        return Err(Error::Usage(format!(
            "failed to put '{name}' into a list of paths: ':' separates them; rename it"
        )));
    }
    Ok(name)
}

/// Quotes a string for Lua (reference manual, section 3.1).
fn lua(text: &str) -> String {
    quoted(text, "\"\\")
}

/// Quotes a word for Tcl (Tcl(n)), which substitutes variables, commands and backslashes in quotes. Braces are escaped
/// because Tcl counts them when it reads a body in braces.
fn tcl(text: &str) -> String {
    quoted(text, "\"\\$[]{}")
}

fn quoted(text: &str, special: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '\n' => quoted.push_str("\\n"),
            c if special.contains(c) => quoted.extend(['\\', c]),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(bundles: &[&str]) -> Module {
        let bundles = bundles.iter().map(PathBuf::from).collect();
        Module { name: "science".into(), bundles, ..Module::default() }
    }

    #[test]
    fn every_character_of_a_path_is_quoted_for_its_language() {
        let module = environment(&[r#"/a b"\$HOME[exit]{/x"#]);
        let lmod = module.text(System::Lmod).unwrap();
        assert!(
            lmod.contains(r#"append_path("PYSHM_BUNDLES", "/a b\"\\$HOME[exit]{/x")"#),
            "{lmod}"
        );
        let tcl = module.text(System::Tcl).unwrap();
        assert!(tcl.contains(r#"append-path PYSHM_BUNDLES "/a b\"\\\$HOME\[exit\]\{/x""#), "{tcl}");
    }

    #[test]
    fn a_name_or_path_that_a_modulefile_cannot_hold_is_refused() {
        for path in ["/a:b", "/a\nb"] {
            assert!(environment(&[path]).text(System::Tcl).is_err(), "{path}");
        }
        for prefix in ["/a b", "/a:b", "/$ORIGIN", "opt"] {
            assert!(check_prefix(Path::new(prefix)).is_err(), "{prefix}");
        }
        for name in ["", "-x", "a b", "a;b", "a/b"] {
            let module = Module { name: name.into(), ..Module::default() };
            assert!(module.text(System::Lmod).is_err(), "{name}");
        }
    }

    #[test]
    fn an_environments_module_neither_preloads_nor_conflicts_with_the_general_one() {
        for system in [System::Lmod, System::Tcl] {
            let text = environment(&["/one", "/two"]).text(system).unwrap();
            assert!(!text.contains("LD_PRELOAD") && !text.contains("Version"), "{text}");
            assert!(text.contains("science") && !text.contains("conflict(\"pyshm\")"), "{text}");
            assert!(text.find("/one") < text.find("/two"), "{text}");
        }
    }
}
