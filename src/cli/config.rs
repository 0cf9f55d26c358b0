//! Implements `pyshm config`, which shows the settings that apply and where each comes from, or checks them.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Map, Value, json};

use crate::bundle::Named;
use crate::bundle::Reader;
use crate::cli::json::print_json;
use crate::error::{Error, Result};
use crate::settings;
use crate::settings::table::{DefaultValue, TABLE};
use crate::settings::{File, Origin};

const AFTER_HELP: &str = "\
Examples:
  pyshm config                                         which settings apply here, and where does each come from?
  pyshm config --check                                 are the settings right, and do the bundles exist?
  pyshm config --check /etc/pyshm.toml                 the same for a file, before jobs use the file
  pyshm config --example                               a file with every key and what it means, commented out

The settings file is the one that PYSHM_CONFIG names, else etc/pyshm.toml of the installation, else /etc/pyshm.toml:

  root = \"/dev/shm\"             # every key is in 'pyshm config --example'
  keep = true
  bundles = [\"/apps/science.tar.zst\", { path = \"/apps/tools.tar.gz\", prefix = \"/apps/tools\" }]

  [launcher.srun]               # options for the step that stages; --example lists the launchers
  options = [\"--account=support\"]

A variable takes precedence over the file, the command line over both.

Exit codes: 0 all is right, 2 a setting is wrong, 65 a bundle is refused, 66 the file or a bundle does not exist";

/// `pyshm config`
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct Config {
    /// Print only what is wrong with the settings and their bundles, or with FILE and the bundles that it names
    #[arg(long, value_name = "FILE", num_args = 0..=1, conflicts_with = "json")]
    check: Option<Option<PathBuf>>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Print a file with every key and what it means, commented out
    #[arg(long, conflicts_with_all = ["check", "json"])]
    example: bool,
}

impl Config {
    pub(super) fn run(self) -> Result<()> {
        if self.example {
            print_line!("{}", settings::example::text().trim_end());
            return Ok(());
        }
        match self.check {
            Some(Some(path)) => check(File::read(&path)?.bundles.into_iter().map(|(b, _)| b)),
            Some(None) => {
                settings::check()?;
                check(settings::bundles().into_iter())
            }
            None => {
                settings::check()?;
                if self.json {
                    print_json(&to_json())
                } else {
                    print();
                    Ok(())
                }
            }
        }
    }
}

/// Opens every bundle; reports each that fails and returns the last error.
fn check(bundles: impl Iterator<Item = Named>) -> Result<()> {
    let mut last = None;
    for error in bundles.filter_map(|bundle| Reader::open(&bundle).err()) {
        if let Some(earlier) = last.replace(error) {
            warn_line!("pyshm: {earlier}");
        }
    }
    last.map_or(Ok(()), Err::<(), Error>)
}

/// Prints the settings in the form of a settings file, each with its origin.
fn print() {
    let file = settings::path();
    let file = file.as_deref().map_or("none".into(), |p| p.display().to_string());
    print_line!("# file: {file}");
    for setting in &TABLE {
        let (text, origin) = settings::in_force(setting);
        let line = match (text, setting.default) {
            (None, DefaultValue::Varies { how, .. }) => format!("# {} = ({how})", setting.key),
            (text, _) => {
                let text = text.unwrap_or_default();
                format!("{} = {}", setting.key, setting.written(&text.to_string_lossy()))
            }
        };
        print_line!("{line:<44}  # {origin}");
    }
    let bundles = settings::bundles_with_origins();
    if bundles.is_empty() {
        print_line!("{:<44}  # default", "bundles = []");
    } else {
        print_line!("bundles = [");
        bundles.iter().for_each(print_bundle);
        print_line!("]");
    }
    for (launcher, words, origin) in settings::step_options() {
        let words = toml::Value::from(words.to_vec());
        print_line!("{:<44}  # {origin}", format!("launcher.{launcher}.options = {words}"));
    }
}

fn print_bundle((bundle, origin): &(Named, Origin)) {
    let mut table = format!("path = {}", quoted(&bundle.path));
    if let Some(prefix) = &bundle.prefix {
        table += &format!(", prefix = {}", quoted(prefix));
    }
    table += if bundle.layer { ", layer = true" } else { "" };
    let missing = if bundle.path.exists() { "" } else { ", it is not there" };
    print_line!("{:<44}  # {origin}{missing}", format!("  {{ {table} }},"));
}

fn quoted(path: &Path) -> String {
    toml::Value::from(path.to_string_lossy().into_owned()).to_string()
}

fn to_json() -> Value {
    let from = |origin: &Origin| match origin {
        Origin::Variable(name) => json!({ "variable": name }),
        Origin::File(path, line) => json!({ "file": path, "line": line }),
        Origin::Default => json!("default"),
    };
    let mut values = Map::new();
    for setting in &TABLE {
        let (text, origin) = settings::in_force(setting);
        let value = text.map_or(Value::Null, |text| json!(text.to_string_lossy()));
        values.insert(setting.key.into(), json!({ "value": value, "from": from(&origin) }));
    }
    let bundle = |(named, origin): (Named, Origin)| {
        json!({
            "path": named.path, "prefix": named.prefix, "layer": named.layer, "from": from(&origin),
            "there": named.path.exists(),
        })
    };
    let bundles: Vec<_> = settings::bundles_with_origins().into_iter().map(bundle).collect();
    let options: Map<_, _> = settings::step_options()
        .map(|(launcher, words, origin)| {
            (launcher.to_string(), json!({ "options": words, "from": from(&origin) }))
        })
        .collect();
    json!({ "file": settings::path(), "settings": values, "bundles": bundles, "launcher": options })
}
