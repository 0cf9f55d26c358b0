//! Lays out `lib/pyshm/$LIB/libpyshm.so` below the prefix, the path in `LD_PRELOAD` that works for 64-bit and 32-bit
//! programs.
//!
//! The loader replaces `$LIB` by its name for the libraries' directory (ld.so(8)): `lib64` or `lib/x86_64-linux-gnu`
//! for 64-bit programs, `lib`, `lib32` or `lib/i386-linux-gnu` for 32-bit programs. Each directory with a 64-bit name
//! has a link to `lib/libpyshm.so`. Each directory with a 32-bit name has the empty library of
//! [`crate::install::stub`]. A loader that uses another name, or does not know `$LIB`, finds no library.
//!
//! The directories lie in `lib/pyshm` and not in the prefix, because `lib` is one of these names.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::Result;
use crate::install::stub;
use crate::install::tree::InstallTree;

/// The directory that has `$LIB`, below the prefix.
const DIR: &str = "lib/pyshm";
/// The library itself, relative to that directory.
const LIBRARY: &str = "../libpyshm.so";
const NAME: &str = "libpyshm.so";

/// Programs of one word size.
struct Abi {
    /// Their loader.
    loader: &'static str,
    /// The names by which these loaders, and no others, replace `$LIB`.
    usual: &'static [&'static str],
}

#[cfg(target_arch = "x86_64")]
const NATIVE: Abi =
    Abi { loader: "/lib64/ld-linux-x86-64.so.2", usual: &["lib64", "lib/x86_64-linux-gnu"] };
#[cfg(target_arch = "x86_64")]
const NARROW: Option<Abi> =
    Some(Abi { loader: "/lib/ld-linux.so.2", usual: &["lib", "lib32", "lib/i386-linux-gnu"] });

#[cfg(not(target_arch = "x86_64"))]
const NATIVE: Abi =
    Abi { loader: "/lib/ld-linux-aarch64.so.1", usual: &["lib64", "lib/aarch64-linux-gnu"] };
#[cfg(not(target_arch = "x86_64"))]
const NARROW: Option<Abi> = None;

/// The value of `LD_PRELOAD` for an installation in `prefix`.
pub(super) fn value(prefix: &Path) -> PathBuf {
    prefix.join(DIR).join("$LIB").join(NAME)
}

/// Whether an installation in `prefix` has the directory of [`value`].
pub(super) fn is_laid_out(prefix: &Path) -> bool {
    prefix.join(DIR).is_dir()
}

/// Writes the directory below the prefix of `tree`.
pub(super) fn lay_out(tree: &InstallTree) -> Result<()> {
    let native = lib_names(&NATIVE);
    for name in &native {
        let up = "../".repeat(Path::new(name).components().count());
        tree.link(&Path::new(DIR).join(name).join(NAME), &Path::new(&up).join(LIBRARY))?;
    }
    let Some(narrow) = NARROW else { return Ok(()) };
    // A name that both word sizes use belongs to 64-bit programs.
    for name in lib_names(&narrow).iter().filter(|name| !native.contains(name)) {
        tree.file(&Path::new(DIR).join(name).join(NAME), &stub::i386(), 0o755)?;
    }
    Ok(())
}

/// Returns the usual names, because other machines may use this installation, and the name that this machine's loader
/// reports.
fn lib_names(abi: &Abi) -> Vec<String> {
    let mut names: Vec<String> = abi.usual.iter().map(|name| (*name).into()).collect();
    names.extend(ask_for_lib_name(abi.loader).filter(|name| !abi.usual.contains(&name.as_str())));
    names
}

/// Asks a loader for the name by which it replaces `$LIB`; loaders since glibc 2.33 answer.
fn ask_for_lib_name(loader: &str) -> Option<String> {
    let mut command = Command::new(loader);
    command.arg("--list-diagnostics").env_clear().stdin(Stdio::null()).stderr(Stdio::null());
    let said = command.output().ok()?.stdout;
    lib_name_in(&String::from_utf8_lossy(&said))
}

/// Finds the name in a loader's diagnostics.
fn lib_name_in(diagnostics: &str) -> Option<String> {
    let value = diagnostics.lines().find_map(|line| line.strip_prefix("dl_dst_lib="))?;
    let name = value.trim_matches('"');
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_');
    let below = !name.is_empty() && !name.starts_with('/');
    (below && name.chars().all(plain)).then(|| name.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_for_lib_is_found_in_a_loaders_diagnostics() {
        assert_eq!(lib_name_in("a=1\ndl_dst_lib=\"lib/x\"\n").as_deref(), Some("lib/x"));
        assert_eq!(lib_name_in("dl_dst_lib=\"../lib\""), None);
        assert_eq!(lib_name_in("dl_dst_lib=\"\""), None);
        assert_eq!(lib_name_in("unrecognized option"), None);
    }

    #[test]
    fn each_name_leads_64_bit_programs_to_the_library_and_32_bit_ones_to_the_stub() {
        let dir = tempfile::tempdir().unwrap();
        let tree = InstallTree::new(dir.path(), None).unwrap();
        tree.file(Path::new("lib/libpyshm.so"), b"library", 0o755).unwrap();
        lay_out(&tree).unwrap();
        let at = |name: &str| std::fs::canonicalize(dir.path().join(DIR).join(name).join(NAME));
        for name in lib_names(&NATIVE) {
            assert_eq!(at(&name).unwrap(), dir.path().join("lib/libpyshm.so"), "{name}");
        }
        for name in
            NARROW.iter().flat_map(lib_names).filter(|name| !lib_names(&NATIVE).contains(name))
        {
            assert_eq!(std::fs::read(at(&name).unwrap()).unwrap(), stub::i386(), "{name}");
        }
        // A second time, over the existing files.
        lay_out(&tree).unwrap();
    }
}
