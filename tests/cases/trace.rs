//! The trace of a run by strace: operations on the prefix, and whether the shim was loaded.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file that `trace.sh` wrote.
pub struct Trace {
    file: PathBuf,
    text: String,
}

/// Operations on the prefixes.
pub struct Counted {
    pub total: u64,
    /// The operations that are made on any processor: all without the loader's tries in subdirectories for this one.
    pub on_any_processor: u64,
    /// The first of them, for people.
    pub list: String,
}

impl Trace {
    /// The trace of a run that has ended.
    pub fn read(file: &Path) -> Self {
        let text = fs::read(file).unwrap_or_default();
        Self { file: file.to_path_buf(), text: String::from_utf8_lossy(&text).into() }
    }

    /// Whether the loader loaded the stage's shim.
    pub fn loaded(&self, stage: &Path) -> bool {
        let shim = format!("\"{}/lib/libpyshm.so\"", stage.display());
        self.text.lines().any(|l| l.contains("open") && l.contains(&shim) && !l.contains(" = -1 "))
    }
}

/// Counts the path operations under the prefixes, by `count_ops.py`.
pub fn count(trace: &Trace, prefixes: &[PathBuf]) -> Counted {
    let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools/count_ops.py");
    // The system's own, which starts quickest.
    let mut command = Command::new("python3");
    command.env("PATH", "/usr/bin:/bin");
    command.arg("-S").arg(tool).arg(&trace.file).args(["--list", "12"]);
    for prefix in prefixes {
        command.arg("--under").arg(prefix);
    }
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}{}", trace.text);
    let list = String::from_utf8(output.stdout).unwrap();
    let number = |what: &str| -> u64 {
        let line = list.lines().find_map(|line| line.trim().split_once(what));
        line.and_then(|(number, _)| number.parse().ok()).expect("a number")
    };
    let total = number(" in all:");
    let on_any_processor = total - number(" of these by the loader for the processor");
    Counted { total, on_any_processor, list }
}
