//! A file of settings in which every key is shown and commented out.
#![forbid(unsafe_code)]

use crate::launchers::registry;
use crate::settings::table::{Setting, TABLE};
use crate::settings::value::Form;

const HEAD: &str = "\
# Settings of pyshm for all who use this installation: as etc/pyshm.toml below its prefix, as /etc/pyshm.toml, or where
# PYSHM_CONFIG says. What is commented out is the default, or stands for one that is no single value. A variable counts
# before the file, and the command line before both. 'pyshm config --check FILE' says what is wrong with a file.
";

const LISTS: &str = "\
# What is staged for jobs that name no bundle, as far as their commands use it. Instead of this list counts that of
# PYSHM_BUNDLES, which modules made by 'pyshm module --bundle' set.
# bundles = [\"/apps/science.tar.zst\", { path = \"/apps/tools.tar.gz\", prefix = \"/apps/tools\" }]

# Options of the step that stages, for each launcher: LAUNCHERS.
# [launcher.srun]
# options = [\"--account=support\"]
";

/// The text.
#[must_use]
pub fn text() -> String {
    let shown = |setting: &Setting| {
        let variable = setting.variable.map(|name| format!(" Variable: {name}."));
        let by_itself = match setting.default.starts_with('(') {
            true => format!(" Default: {}.", setting.default.trim_matches(['(', ')'])),
            false => String::new(),
        };
        let meaning = format!("{}{by_itself}{}", setting.meaning, variable.unwrap_or_default());
        format!("# {meaning}\n# {} = {}\n\n", setting.key, setting.written(value(setting)))
    };
    let settings: String = TABLE.iter().map(shown).collect();
    let launchers = registry::settings_keys().collect::<Vec<_>>().join(", ");
    let lists = LISTS.replace("LAUNCHERS", &launchers);
    format!("{HEAD}\n{settings}{lists}")
}

/// A value to begin with.
fn value(setting: &Setting) -> &'static str {
    match (setting.default.starts_with('('), setting.form) {
        (false, _) => setting.default,
        (true, Form::Flag) => "true",
        (true, Form::Directory) => "/scratch/me/pyshm",
        (true, _) => "1GB",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::File;

    #[test]
    fn every_line_that_is_commented_out_may_be_used() {
        let is_key = |line: &&str| {
            line.starts_with('[') || line.split(' ').nth(1).is_some_and(|word| word == "=")
        };
        let lines = text();
        let lines: Vec<&str> =
            lines.lines().filter_map(|line| line.strip_prefix("# ")).filter(is_key).collect();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pyshm.toml");
        std::fs::write(&path, lines.join("\n")).unwrap();
        let file = File::read(&path).unwrap();
        for setting in &TABLE {
            assert!(file.value(setting).is_some(), "{}", setting.key);
        }
        assert_eq!(file.bundles.len(), 2);
        assert_eq!(file.options().count(), 1);
    }
}
