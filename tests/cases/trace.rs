//! Reads the strace output of a run: counts the run's operations on the prefix, and tells whether the loader loaded the
//! shim.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The strace output that `trace.sh` wrote, and its file.
pub struct Trace {
    file: PathBuf,
    text: String,
}

/// The numbers of operations on the prefixes.
pub struct Counted {
    pub total: u64,
    /// The operations that a run makes on every machine: all except the loader's tries in subdirectories for the
    /// processor.
    pub on_any_processor: u64,
    /// The first operations, as text for messages.
    pub list: String,
}

impl Trace {
    /// Reads the trace of a run that has ended. A missing file counts as an empty trace.
    pub fn read(file: &Path) -> Self {
        let text = fs::read(file).unwrap_or_default();
        Self { file: file.to_path_buf(), text: String::from_utf8_lossy(&text).into() }
    }

    /// Whether the loader loaded the shim of this stage.
    pub fn loaded(&self, stage: &Path) -> bool {
        let shim = format!("\"{}/lib/libpyshm.so\"", stage.display());
        self.text.lines().any(|l| l.contains("open") && l.contains(&shim) && !l.contains(" = -1 "))
    }
}

/// Counts the path operations under the prefixes with `count_ops.py`.
pub fn count(trace: &Trace, prefixes: &[PathBuf]) -> Counted {
    let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools/count_ops.py");
    // The system's Python starts fastest.
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
