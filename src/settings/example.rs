//! Makes an example of a settings file, with every key commented out.
#![forbid(unsafe_code)]

use crate::launchers::registry;
use crate::settings::table::{DefaultValue, Setting, TABLE};

const HEAD: &str = "\
# Settings of pyshm for all users of this installation. This file lies at etc/pyshm.toml below the installation's prefix,
# at /etc/pyshm.toml, or at the path in PYSHM_CONFIG. A commented value is the default, or an example if the default depends
# on the system. A variable takes precedence over the file, the command line over both. 'pyshm config --check FILE' reports
# the mistakes in a file.
";

const LISTS: &str = "\
# Bundles for jobs that name none. Of these bundles, those that the command uses are staged. PYSHM_BUNDLES replaces this
# list; modules made by 'pyshm module --bundle' set PYSHM_BUNDLES.
# bundles = [\"/apps/science.tar.zst\", { path = \"/apps/tools.tar.gz\", prefix = \"/apps/tools\" }]

# Options of the staging step, for each launcher: LAUNCHERS.
# [launcher.srun]
# options = [\"--account=support\"]
";

/// The text of the example.
#[must_use]
pub fn text() -> String {
    let shown = |setting: &Setting| {
        let variable = setting.variable.map(|name| format!(" Variable: {name}."));
        let (default, value) = match setting.default {
            DefaultValue::Text(value) => (String::new(), value),
            DefaultValue::Varies { how, example } => (format!(" Default: {how}."), example),
        };
        let meaning = format!("{}{default}{}", setting.meaning, variable.unwrap_or_default());
        format!("# {meaning}\n# {} = {}\n\n", setting.key, setting.written(value))
    };
    let settings: String = TABLE.iter().map(shown).collect();
    let launchers = registry::settings_keys().collect::<Vec<_>>().join(", ");
    let lists = LISTS.replace("LAUNCHERS", &launchers);
    format!("{HEAD}\n{settings}{lists}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::File;

    #[test]
    fn every_commented_line_is_a_valid_setting() {
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
