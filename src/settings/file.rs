//! Finds and reads the settings file, `pyshm.toml`:
//!
//! ```toml
//! root = "/dev/shm"
//! bundles = ["/apps/science.tar.zst", { path = "/apps/tools.tar.gz", prefix = "/apps/tools" }]
//!
//! [launcher.srun]
//! options = ["--account=support"]
//! ```
//!
//! The error for a mistake names the file, the line, the key, the value and the expected form.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::bundle::Named;
use crate::error::{Error, Result};
use crate::launchers::registry;
use crate::settings::table::{Setting, TABLE};
use crate::settings::value::{WrongForm, variable};

/// The variable that names a settings file.
pub const VARIABLE: &str = "PYSHM_CONFIG";
/// The file of the system.
const SYSTEM: &str = "/etc/pyshm.toml";
/// The file of an installation, below its prefix.
const INSTALLED: &str = "etc/pyshm.toml";

const BUNDLES: &str = "bundles";
const LAUNCHER: &str = "launcher";

/// The contents of a settings file.
#[derive(Debug, Default)]
pub struct File {
    /// Its path.
    pub path: PathBuf,
    /// The text of each setting, with its line.
    values: BTreeMap<&'static str, (String, usize)>,
    /// The bundles, each with its line.
    pub bundles: Vec<(Named, usize)>,
    /// For each launcher's key, options of the staging step, with their line.
    options: BTreeMap<&'static str, (Vec<String>, usize)>,
}

/// Finds the file that applies: the one that `PYSHM_CONFIG` names, else the installation's, else the system's.
#[must_use]
pub fn find() -> Option<PathBuf> {
    if let Some(named) = variable(VARIABLE) {
        return Some(named.into());
    }
    let exe = std::env::current_exe().ok();
    let prefix = exe.as_deref().and_then(|exe| exe.parent()?.parent());
    let places = prefix.map(|prefix| prefix.join(INSTALLED)).into_iter().chain([SYSTEM.into()]);
    places.into_iter().find(|place| place.exists())
}

impl File {
    /// Reads a settings file.
    ///
    /// # Errors
    /// [`Error::NoInput`] when the file cannot be read, [`Error::Usage`] with the first mistake in the file.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|e| match e.kind() {
            ErrorKind::InvalidData => {
                Error::Usage(format!("failed to read {}: it is not UTF-8 text", path.display()))
            }
            _ => Error::read("settings", path)(e),
        })?;
        Parser { path, text: &text }.file()
    }

    /// A setting's text and its line.
    #[must_use]
    pub fn value(&self, setting: &Setting) -> Option<(OsString, usize)> {
        self.values.get(setting.key).map(|(text, line)| (text.into(), *line))
    }

    /// For each launcher's key, options of the staging step, with their line.
    pub fn options(&self) -> impl Iterator<Item = (&'static str, &[String], usize)> {
        self.options.iter().map(|(launcher, (words, line))| (*launcher, &words[..], *line))
    }
}

type Value<'a> = Spanned<DeValue<'a>>;

struct Parser<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Parser<'_> {
    fn file(&self) -> Result<File> {
        let table = DeTable::parse(self.text)
            .map_err(|e| self.wrong(e.span().unwrap_or_default(), e.message()))?;
        let mut file = File { path: self.path.to_path_buf(), ..File::default() };
        for (key, value) in table.get_ref() {
            let line = self.line(&key.span());
            match key.get_ref().as_ref() {
                BUNDLES => file.bundles = self.bundles(value)?,
                LAUNCHER => self.launchers(value, &mut file)?,
                name => {
                    let setting = TABLE.iter().find(|s| s.key == name);
                    let known = TABLE.iter().map(|s| s.key).chain([BUNDLES, LAUNCHER]);
                    let setting = setting.ok_or_else(|| self.unknown(key, known))?;
                    file.values.insert(setting.key, (self.value(setting, value)?, line));
                }
            }
        }
        Ok(file)
    }

    fn value(&self, setting: &Setting, value: &Value<'_>) -> Result<String> {
        let text = match value.get_ref() {
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(number) => number.as_str().replace('_', ""),
            DeValue::Boolean(flag) => flag.to_string(),
            _ => self.source(value).to_string(),
        };
        let wrong = |why: WrongForm| {
            let text = format!("{} is {}, which is {why}", setting.key, self.source(value));
            self.wrong(value.span(), &text)
        };
        setting.form.check(OsStr::new(&text)).map_err(wrong)?;
        Ok(text)
    }

    fn bundles(&self, value: &Value<'_>) -> Result<Vec<(Named, usize)>> {
        let expected = "a list of files; write it as bundles = [\"/apps/science.tar.zst\"]";
        let list =
            value.get_ref().as_array().ok_or_else(|| self.other(BUNDLES, value, expected))?;
        list.iter().map(|entry| Ok((self.bundle(entry)?, self.line(&entry.span())))).collect()
    }

    fn bundle(&self, entry: &Value<'_>) -> Result<Named> {
        let table = match entry.get_ref() {
            DeValue::String(_) => {
                return Ok(Named { path: self.path_of("bundles", entry)?, ..Named::default() });
            }
            DeValue::Table(table) => table,
            _ => {
                let expected = "a file, or a table such as { path = \"/apps/tools.tar.gz\", prefix = \"/apps/tools\" }";
                return Err(self.other("an entry of bundles", entry, expected));
            }
        };
        let mut named = Named::default();
        for (key, value) in table {
            match key.get_ref().as_ref() {
                "path" => named.path = self.path_of("path", value)?,
                "prefix" => named.prefix = Some(self.path_of("prefix", value)?),
                "layer" => {
                    let flag = value.get_ref().as_bool();
                    named.layer =
                        flag.ok_or_else(|| self.other("layer", value, "true or false"))?;
                }
                _ => return Err(self.unknown(key, ["path", "prefix", "layer"])),
            }
        }
        if named.path.as_os_str().is_empty() {
            return Err(self.wrong(entry.span(), "a bundle has no path; add path = \"FILE\""));
        }
        Ok(named)
    }

    fn path_of(&self, key: &str, value: &Value<'_>) -> Result<PathBuf> {
        let expected = "an absolute path; write it from / on, in quotes";
        let text = value.get_ref().as_str().filter(|text| text.starts_with('/'));
        text.map(PathBuf::from).ok_or_else(|| self.other(key, value, expected))
    }

    fn launchers(&self, value: &Value<'_>, file: &mut File) -> Result<()> {
        let expected = "a table; write it as [launcher.srun]";
        let table =
            value.get_ref().as_table().ok_or_else(|| self.other(LAUNCHER, value, expected))?;
        for (name, value) in table {
            let known = registry::settings_keys().find(|known| *known == name.get_ref().as_ref());
            let known = known.ok_or_else(|| self.unknown(name, registry::settings_keys()))?;
            let table =
                value.get_ref().as_table().ok_or_else(|| self.other(known, value, expected))?;
            for (key, value) in table {
                if key.get_ref().as_ref() != "options" {
                    return Err(self.unknown(key, ["options"]));
                }
                file.options.insert(known, (self.words(value)?, self.line(&key.span())));
            }
        }
        Ok(())
    }

    fn words(&self, value: &Value<'_>) -> Result<Vec<String>> {
        let expected = "a list of words; write it as options = [\"--account=support\"]";
        let wrong = || self.other("options", value, expected);
        let list = value.get_ref().as_array().ok_or_else(wrong)?;
        let word = |entry: &Value<'_>| entry.get_ref().as_str().map(String::from).ok_or_else(wrong);
        list.iter().map(word).collect()
    }

    /// Makes the error of a value that is not `expected`.
    fn other(&self, key: &str, value: &Value<'_>, expected: &str) -> Error {
        let text = format!("{key} is {}, which is not {expected}", self.source(value));
        self.wrong(value.span(), &text)
    }

    /// Makes the error of a key that is not one of `known`.
    fn unknown<'k>(
        &self,
        key: &Spanned<std::borrow::Cow<'_, str>>,
        known: impl IntoIterator<Item = &'k str>,
    ) -> Error {
        let name = key.get_ref();
        let known: Vec<_> = known.into_iter().collect();
        let near = known.iter().map(|k| (strsim::damerau_levenshtein(k, name), k)).min();
        let way = match near {
            Some((distance, near)) if distance <= 2 => format!("did you mean '{near}'?"),
            _ => format!("the keys are {}", known.join(", ")),
        };
        self.wrong(key.span(), &format!("there is no key '{name}' here; {way}"))
    }

    /// Makes the error of a mistake at `span`.
    fn wrong(&self, span: Range<usize>, why: &str) -> Error {
        let (path, line) = (self.path.display(), self.line(&span));
        Error::Usage(format!("failed to read {path}, line {line}: {why}"))
    }

    /// The line of a span, from 1.
    fn line(&self, span: &Range<usize>) -> usize {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        before.matches('\n').count() + 1
    }

    /// The first line of a value, as the file has it.
    fn source(&self, value: &Value<'_>) -> &str {
        self.text.get(value.span()).and_then(|text| text.lines().next()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::table;

    fn parse(text: &str) -> Result<File> {
        Parser { path: Path::new("/etc/pyshm.toml"), text }.file()
    }

    #[test]
    fn settings_bundles_and_options_are_read_with_their_lines() {
        let file = parse(
            "# ours\nroot = \"/local\"\nwait = 60\nkeep = true\n\n[[bundles]]\npath = \"/a.tar.gz\"\nprefix = \"/a\"\n\
             [[bundles]]\npath = \"/b.tar\"\nlayer = true\n[launcher.srun]\noptions = [\"-A\", \"x\"]\n",
        )
        .unwrap();
        assert_eq!(file.value(&table::ROOT), Some(("/local".into(), 2)));
        assert_eq!(file.value(&table::WAIT), Some(("60".into(), 3)));
        assert_eq!(file.value(&table::KEEP), Some(("true".into(), 4)));
        assert_eq!(file.value(&table::CHUNK), None);
        assert_eq!(file.bundles[0].0.prefix, Some("/a".into()));
        assert!(file.bundles[1].0.layer && file.bundles[1].1 == 9);
        assert_eq!(file.options().next().unwrap().1, ["-A", "x"]);
        let file = parse("bundles = [\"/a\", { path = \"/b\" }]").unwrap();
        assert_eq!(file.bundles.len(), 2);
    }

    #[test]
    fn the_error_of_a_mistake_has_line_key_value_and_the_way_out() {
        for (text, said) in [
            (
                "root = \"shm\"",
                "line 1: root is \"shm\", which is not an absolute path; write it from / on",
            ),
            ("\n\nwait = \"5 min\"", "line 3: wait is \"5 min\", which is not a number of seconds"),
            ("wait = [1]", "wait is [1]"),
            ("wiat = 3", "there is no key 'wiat' here; did you mean 'wait'?"),
            ("colour = 3", "the keys are root, reserve"),
            ("keep = \"often\"", "yes or no"),
            ("reroute = \"of\"", "shim, env, off"),
            ("bundles = \"/a\"", "bundles is \"/a\", which is not a list"),
            ("bundles = [3]", "an entry of bundles is 3"),
            ("bundles = [\"a\"]", "absolute path"),
            (
                "[[bundles]]\npath = \"/a\"\nprefx = \"/b\"",
                "line 3: there is no key 'prefx' here; did you mean 'prefix'?",
            ),
            ("[[bundles]]\nlayer = true", "has no path"),
            ("[[bundles]]\npath = \"/a\"\nlayer = 1", "layer is 1"),
            ("[launcher.srn]\noptions = []", "did you mean 'srun'?"),
            ("[launcher.srun]\noption = []", "did you mean 'options'?"),
            ("[launcher.srun]\noptions = \"-A x\"", "a list of words"),
            ("root = ", "line 1"),
            ("root = \"/a\"\nroot = \"/b\"", "line 2"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.starts_with("failed to read /etc/pyshm.toml, line "), "{text}: {error}");
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
