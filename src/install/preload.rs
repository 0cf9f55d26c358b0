//! Where `LD_PRELOAD` leads programs of each kind: `lib/pyshm/$LIB/libpyshm.so` below the prefix.
//!
//! The loader puts its own name for the libraries' directory in the place of `$LIB` (ld.so(8)): `lib64` or
//! `lib/x86_64-linux-gnu` for 64-bit programs, `lib`, `lib32` or `lib/i386-linux-gnu` for 32-bit ones. Under the names of the
//! first kind lies a link to `lib/libpyshm.so`, under those of the second the empty library of [`crate::install::stub`]. Where the
//! loader has another name, or is another libc's that knows no `$LIB`, there is nothing.
//!
//! A directory of its own, because `PREFIX/lib` is one of these names itself.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::Result;
use crate::install::put::Target;
use crate::install::stub;

/// The directory in which `$LIB` stands, below the prefix.
const DIR: &str = "lib/pyshm";
/// The library's own place, from the directory in which `$LIB` stands.
const LIBRARY: &str = "../libpyshm.so";
const NAME: &str = "libpyshm.so";

/// A kind of programs.
struct Kind {
    /// Its loader.
    loader: &'static str,
    /// How loaders of its kind name the libraries' directory, as far as it can be meant for no other kind.
    usual: &'static [&'static str],
}

#[cfg(target_arch = "x86_64")]
const NATIVE: Kind =
    Kind { loader: "/lib64/ld-linux-x86-64.so.2", usual: &["lib64", "lib/x86_64-linux-gnu"] };
#[cfg(target_arch = "x86_64")]
const NARROW: Option<Kind> =
    Some(Kind { loader: "/lib/ld-linux.so.2", usual: &["lib", "lib32", "lib/i386-linux-gnu"] });

#[cfg(not(target_arch = "x86_64"))]
const NATIVE: Kind =
    Kind { loader: "/lib/ld-linux-aarch64.so.1", usual: &["lib64", "lib/aarch64-linux-gnu"] };
#[cfg(not(target_arch = "x86_64"))]
const NARROW: Option<Kind> = None;

/// What `LD_PRELOAD` is to name, of an installation in `prefix`.
pub(super) fn value(prefix: &Path) -> PathBuf {
    prefix.join(DIR).join("$LIB").join(NAME)
}

/// Whether an installation in `prefix` has what [`value`] names.
pub(super) fn is_laid_out(prefix: &Path) -> bool {
    prefix.join(DIR).is_dir()
}

/// Lays out the directory.
pub(super) fn lay_out(target: &Target) -> Result<()> {
    let native = names(&NATIVE);
    for name in &native {
        let up = "../".repeat(Path::new(name).components().count());
        target.link(&Path::new(DIR).join(name).join(NAME), &Path::new(&up).join(LIBRARY))?;
    }
    let Some(narrow) = NARROW else { return Ok(()) };
    // Where both have the same name, programs of 64 bits are who is meant.
    for name in names(&narrow).iter().filter(|name| !native.contains(name)) {
        target.file(&Path::new(DIR).join(name).join(NAME), &stub::i386(), 0o755)?;
    }
    Ok(())
}

/// The usual names of a kind, and how the loader of this machine calls it, where it can be asked: another machine may run
/// what is installed here.
fn names(kind: &Kind) -> Vec<String> {
    let mut names: Vec<String> = kind.usual.iter().map(|name| (*name).into()).collect();
    names.extend(asked(kind.loader).filter(|name| !kind.usual.contains(&name.as_str())));
    names
}

/// What a loader puts in the place of `$LIB`: since glibc 2.33 it says so.
fn asked(loader: &str) -> Option<String> {
    let mut command = Command::new(loader);
    command.arg("--list-diagnostics").env_clear().stdin(Stdio::null()).stderr(Stdio::null());
    let said = command.output().ok()?.stdout;
    named(&String::from_utf8_lossy(&said))
}

fn named(diagnostics: &str) -> Option<String> {
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
    fn a_loader_says_what_it_puts_in_the_place_of_lib() {
        assert_eq!(named("a=1\ndl_dst_lib=\"lib/x\"\n").as_deref(), Some("lib/x"));
        assert_eq!(named("dl_dst_lib=\"../lib\""), None);
        assert_eq!(named("dl_dst_lib=\"\""), None);
        assert_eq!(named("unrecognized option"), None);
    }

    #[test]
    fn each_name_leads_64_bit_programs_to_the_library_and_32_bit_ones_to_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let target = Target::new(dir.path(), None).unwrap();
        target.file(Path::new("lib/libpyshm.so"), b"library", 0o755).unwrap();
        lay_out(&target).unwrap();
        let at = |name: &str| std::fs::canonicalize(dir.path().join(DIR).join(name).join(NAME));
        for name in names(&NATIVE) {
            assert_eq!(at(&name).unwrap(), dir.path().join("lib/libpyshm.so"), "{name}");
        }
        for name in NARROW.iter().flat_map(names).filter(|name| !names(&NATIVE).contains(name)) {
            assert_eq!(std::fs::read(at(&name).unwrap()).unwrap(), stub::i386(), "{name}");
        }
        // Again, over what is there.
        lay_out(&target).unwrap();
    }
}
