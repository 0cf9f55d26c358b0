//! Compiles the programs that cases run, if their sources are newer than the programs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

use crate::place::Place;

const CHECKOUT: &str = env!("CARGO_MANIFEST_DIR");
const BUILT: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/cases");

/// Compiles the probes and copies the scripts, once per process, and returns their directory.
pub fn build() -> &'static Path {
    static BUILD: OnceLock<()> = OnceLock::new();
    BUILD.get_or_init(|| {
        fs::create_dir_all(BUILT).unwrap();
        let sources = Path::new(CHECKOUT).join("tests/cases/probes");
        let sources: Vec<_> = fs::read_dir(sources).unwrap().map(|e| e.unwrap().path()).collect();
        let headers = sources.iter().filter(|path| path.extension().is_some_and(|e| e == "h"));
        let headers = headers.filter_map(|path| modified(path)).max();
        for source in sources {
            let name = source.file_stem().unwrap().to_str().unwrap();
            match source.extension().and_then(|e| e.to_str()) {
                Some("c") => compile(&source, headers, &Path::new(BUILT).join(name)),
                Some("py") => copy_script(&source, &Path::new(BUILT).join(format!("{name}.py"))),
                _ => {}
            }
        }
    });
    Path::new(BUILT)
}

/// Returns the directory of the compiled probes, under the name that the place's user sees.
pub fn directory(place: &Place) -> &str {
    place.probes().to_str().unwrap()
}

/// Builds the program that stands in for the shared file system, `tests/cluster/mdsfs.c`, and returns its path.
pub fn file_system() -> &'static Path {
    static BUILD: OnceLock<PathBuf> = OnceLock::new();
    BUILD.get_or_init(|| {
        let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mdsfs");
        let script = Path::new(CHECKOUT).join("tests/cluster/build-mdsfs.sh");
        let output = Command::new("bash").arg(script).arg(&program).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        program
    })
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|m| m.modified()).ok()
}

fn compile(source: &Path, headers: Option<SystemTime>, program: &Path) {
    if modified(program) > headers.max(modified(source)) {
        return;
    }
    let new = temporary_name(program);
    // -w: the probes call deprecated functions on purpose.
    let cc =
        Command::new("cc").args(["-O1", "-w", "-o"]).arg(&new).arg(source).arg("-ldl").status();
    assert!(cc.unwrap().success(), "{}", source.display());
    fs::rename(new, program).unwrap();
}

fn copy_script(from: &Path, to: &Path) {
    let new = temporary_name(to);
    fs::copy(from, &new).unwrap();
    fs::rename(new, to).unwrap();
}

/// Returns a temporary name that only this process uses, because several test programs may build at the same time.
fn temporary_name(path: &Path) -> PathBuf {
    path.with_extension(format!("new.{}", std::process::id()))
}
