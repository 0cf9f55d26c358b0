//! Modulefiles, for Lmod and for Tcl Environment Modules.
//!
//! There are two kinds. The general one gives every program of a session the library, in `LD_PRELOAD`. An environment's
//! adds its bundles to `PYSHM_BUNDLES`, and is loaded beside the general one and beside others of its kind. Nothing is done
//! but by the module system's own functions, so that unloading takes back what loading did, and no more.
#![forbid(unsafe_code)]

use std::fmt::Write;
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use crate::error::{Error, Result};
use crate::install::preload;

/// The general module's name.
pub const GENERAL: &str = "pyshm";
/// Prefixes whose directories are searched anyhow.
const SYSTEM: [&str; 2] = ["/", "/usr"];

/// For which module system.
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
    /// What it is called; its other versions conflict with it.
    pub name: String,
    /// Its version, for `whatis`.
    pub version: Option<String>,
    /// One line for `whatis` and help.
    pub description: String,
    /// Where pyshm is installed, for the general module.
    pub prefix: Option<PathBuf>,
    /// The value of `PYSHM_CONFIG`.
    pub config: Option<PathBuf>,
    /// What is added to `PYSHM_BUNDLES`, in their order: later ones win.
    pub bundles: Vec<PathBuf>,
}

/// What a module does when it is loaded.
enum Line {
    Set(&'static str, String),
    Prepend(&'static str, String),
    Append(&'static str, String),
    /// Only where the variable is set already: without it `man` looks beside each directory of `PATH`, with it nowhere else.
    PrependIfSet(&'static str, String),
}

impl Module {
    /// The modulefile.
    ///
    /// # Errors
    /// [`Error::Usage`] for a name or a path that no modulefile can say, and a prefix that [`Error::Unavailable`] says is no
    /// installation.
    pub fn text(&self, system: System) -> Result<String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._+-".contains(c);
        if self.name.is_empty() || self.name.starts_with('-') || !self.name.chars().all(plain) {
            let name = &self.name;
            return Err(Error::Usage(format!(
                "'{name}' is no name for a module: use letters, digits and . _ + -"
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
        if let Some(prefix) = &self.prefix {
            check_prefix(prefix)?;
            if !SYSTEM.iter().any(|system| prefix == Path::new(system)) {
                // Behind all others: it lies on the shared file system, and in front of them every rank would look into it for
                // every program that it starts.
                lines.push(Line::Append("PATH", element(&prefix.join("bin"))?));
                lines.push(Line::PrependIfSet("MANPATH", element(&prefix.join("share/man"))?));
            }
            lines.push(Line::Prepend("LD_PRELOAD", element(&preload::value(prefix))?));
        }
        if let Some(config) = &self.config {
            lines.push(Line::Set("PYSHM_CONFIG", text(config)?));
        }
        for bundle in &self.bundles {
            lines.push(Line::Append("PYSHM_BUNDLES", element(bundle)?));
        }
        Ok(lines)
    }

    fn help(&self) -> String {
        let what = match self.prefix {
            Some(_) => {
                "Start programs as ever. Python environments for which bundles are configured are staged in the nodes'\n\
                 memory and used from there.\n\n\
                 'pyshm doctor' says whether all is as it should be, PYSHM_LOG=1 what each program uses.\n\
                 PYSHM_DISABLE=1 turns it off for what is started with it.\n"
            }
            None => {
                "Adds to the bundles that pyshm stages. It needs the module of pyshm itself, or pyshm-run before the\n\
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
            let _ = match line {
                Line::Set(name, value) => writeln!(text, "setenv(\"{name}\", {})", lua(value)),
                Line::Prepend(name, value) => {
                    writeln!(text, "prepend_path(\"{name}\", {})", lua(value))
                }
                Line::Append(name, value) => {
                    writeln!(text, "append_path(\"{name}\", {})", lua(value))
                }
                Line::PrependIfSet(name, value) => {
                    let value = lua(value);
                    writeln!(
                        text,
                        "if os.getenv(\"{name}\") then\n  prepend_path(\"{name}\", {value})\nend"
                    )
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
            let _ = match line {
                Line::Set(name, value) => writeln!(text, "setenv {name} {}", tcl(value)),
                Line::Prepend(name, value) => writeln!(text, "prepend-path {name} {}", tcl(value)),
                Line::Append(name, value) => writeln!(text, "append-path {name} {}", tcl(value)),
                Line::PrependIfSet(name, value) => {
                    let value = tcl(value);
                    writeln!(
                        text,
                        "if {{[info exists ::env({name})]}} {{\n  prepend-path {name} {value}\n}}"
                    )
                }
            };
        }
        text
    }
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Checks that a prefix can stand in `LD_PRELOAD`, where no character can be quoted.
///
/// # Errors
/// [`Error::Usage`] says why not.
pub(super) fn check_prefix(prefix: &Path) -> Result<()> {
    let prefix_text = text(prefix)?;
    let bad = prefix_text.chars().find(|c| matches!(c, ':' | ' ' | '$'));
    if let Some(bad) = bad {
        let reason = match bad {
            '$' => "the loader takes it for the beginning of a name",
            _ => "it ends a name there",
        };
        return Err(Error::Usage(format!(
            "prefix '{prefix_text}' cannot stand in LD_PRELOAD because of the '{bad}': {reason}; choose another directory"
        )));
    }
    if !prefix.is_absolute() {
        return Err(Error::Usage(format!(
            "prefix '{prefix_text}' is no absolute path: modulefiles name it, so write it from / on"
        )));
    }
    Ok(())
}

/// A path as text.
fn text(path: &Path) -> Result<String> {
    let name = path.to_str().filter(|name| !name.chars().any(char::is_control));
    name.map(String::from).ok_or_else(|| {
        let path = path.display();
        Error::Usage(format!(
            "'{path}' has characters that no modulefile can say: give it another name"
        ))
    })
}

/// A path as an element of a list in a variable.
fn element(path: &Path) -> Result<String> {
    let name = text(path)?;
    match name.contains(':') {
        false => Ok(name),
        true => Err(Error::Usage(format!(
            "'{name}' cannot be an element of a list because of the ':': give it another name"
        ))),
    }
}

/// A string in Lua (reference manual, section 3.1).
fn lua(text: &str) -> String {
    quoted(text, "\"\\")
}

/// A word in Tcl (Tcl(n)): in quotes, where variables, commands and backslashes would be substituted. Braces are only counted
/// where a body in braces is read.
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
    fn what_a_list_or_a_modulefile_cannot_hold_is_refused() {
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
