//! Builds libraries and programs that need compiler options of their own, such as search paths in the prefix.
//!
//! Invariants: each object is built once, for a placeholder prefix. The placeholder's name has the same length as the
//! name of every real prefix. [`put`] replaces the placeholder by the real name, so both trees of a case hold the same
//! bytes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::probes;
use crate::tree::Tree;

/// The placeholder in objects for the directory that contains the prefix.
const PLACE: &str = "/var/tmp/pyshm-case-PPPPPP/mnt";

/// The objects: name, source, and options for the compiler. In the options `{E}` is the prefix, `{B}` is the directory
/// of the objects, and `{S}` is the directory of the sources. A library comes before the objects that are linked with
/// this library.
const OBJECTS: &[(&str, &str, &str)] = &[
    ("libmarker.so", "marker.c", "-shared -DTEXT=of_the_prefix -Wl,-soname,libmarker.so"),
    ("libother.so", "marker.c", "-shared -DTEXT=of_another_place -Wl,-soname,libmarker.so"),
    ("libgone.so", "marker.c", "-shared -Dmarker=gone -DTEXT=gone -Wl,-soname,libgone.so"),
    // Libraries that call dlopen, each with another kind of search path.
    ("libcaller-runpath.so", "caller.c", "-shared -Wl,--enable-new-dtags,-rpath,{E}/lib/plugins"),
    ("libcaller-rpath.so", "caller.c", "-shared -Wl,--disable-new-dtags,-rpath,{E}/lib/plugins"),
    ("libcaller-origin.so", "caller.c", "-shared -Wl,--enable-new-dtags,-rpath,$ORIGIN/plugins"),
    ("libcaller-none.so", "caller.c", "-shared"),
    // Libraries that need other libraries.
    (
        "libneeds-runpath.so",
        "needs.c",
        "-shared {B}/libmarker.so -Wl,--enable-new-dtags,-rpath,{E}/nope:{E}/lib/plugins",
    ),
    (
        "libneeds-rpath.so",
        "needs.c",
        "-shared {B}/libmarker.so -Wl,--disable-new-dtags,-rpath,{E}/lib/plugins",
    ),
    ("libneeds-gone.so", "needs.c", "-shared -Dmarker=gone {B}/libgone.so"),
    ("libundefined.so", "needs.c", "-shared -Dmarker=nobody_defines_this"),
    // A compiler's run-time library that is newer than the system's, and an extension that needs it.
    (
        "libgcc_s.so.1",
        "marker.c",
        "-shared -Dmarker=newer -DTEXT=newer_than_the_system_s -Wl,-soname,libgcc_s.so.1 \
         -Wl,--version-script,{S}/newer.map",
    ),
    (
        "libextension.so",
        "needs.c",
        "-shared -Dmarker=newer {B}/libgcc_s.so.1 -Wl,--enable-new-dtags,-rpath,{E}/lib/newer",
    ),
    ("libthrows.so", "throws.cc", "-shared -Wl,--enable-new-dtags,-rpath,{E}/lib/c++"),
    (
        "catches",
        "catches.cc",
        "{B}/libthrows.so -Wl,--enable-new-dtags,-rpath,{E}/lib:{E}/lib/c++ -ldl",
    ),
    ("libtls.so", "tls.c", "-shared"),
    ("tls", "uses-tls.c", "{B}/libtls.so -Wl,-rpath,{E}/lib"),
    ("uses", "uses.c", "{B}/libmarker.so"),
    ("libearly.so", "early.c", "-shared"),
    ("early", "uses-early.c", "-Wl,--no-as-needed {B}/libearly.so -Wl,-rpath,{E}/lib"),
    ("static", "static.c", "-static"),
    ("musl", "static.c", "-specs /usr/lib/x86_64-linux-musl/musl-gcc.specs"),
    ("old", "old.c", ""),
    ("fortified", "fortified.c", "-O2 -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2"),
    ("setuid", "setuid.c", ""),
];

/// Builds the objects, once per process, and returns their directory.
fn build() -> &'static Path {
    static BUILD: OnceLock<PathBuf> = OnceLock::new();
    BUILD.get_or_init(|| {
        let built = Path::new(env!("CARGO_TARGET_TMPDIR")).join("case-objects");
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/probes/objects");
        fs::create_dir_all(&built).unwrap();
        for (name, source, words) in OBJECTS {
            compile(&built.join(name), &sources.join(source), words);
        }
        built
    })
}

/// Compiles an object if it is older than its source or than this test program, which contains the options.
fn compile(object: &Path, source: &Path, words: &str) {
    let time = |path: &Path| fs::metadata(path).and_then(|m| m.modified()).ok();
    let own = std::env::current_exe().unwrap();
    if time(object).is_some_and(|t| Some(t) > time(source) && Some(t) > time(&own)) {
        return;
    }
    let directory = |path: &Path| path.parent().unwrap().to_str().unwrap().to_string();
    // Only this process uses this temporary name, because several test programs may build at the same time.
    let new = object.with_extension(format!("new.{}", std::process::id()));
    let words = words
        .replace("{E}", &format!("{PLACE}/env"))
        .replace("{B}", &directory(object))
        .replace("{S}", &directory(source));
    let compiler = if source.extension().is_some_and(|e| e == "cc") { "g++" } else { "gcc" };
    let mut command = Command::new(compiler);
    command.args(["-O1", "-w", "-pthread"]);
    // Libraries in `words` must follow the source that needs them.
    let position_independent = words.contains("-shared").then_some("-fPIC");
    command.args(position_independent).arg(source).args(words.split_whitespace());
    let status = command.arg("-o").arg(&new).status();
    assert!(status.unwrap().success(), "{}", source.display());
    fs::rename(new, object).unwrap();
}

/// Puts an object into a tree.
pub fn put(t: &Tree, object: &str, name: &str) {
    copy(t, &build().join(object), name);
}

/// Puts a compiled probe into a tree.
pub fn put_probe(t: &Tree, probe: &str, name: &str) {
    copy(t, &probes::build().join(probe), name);
}

/// Puts any program or library into a tree. In the copy the placeholder is replaced by the real name of the directory.
pub fn copy(t: &Tree, from: &Path, name: &str) {
    let mut bytes = fs::read(from).unwrap();
    let real = t.fill("{M}");
    assert_eq!(real.len(), PLACE.len());
    let mut at = 0;
    while let Some(n) = bytes[at..].windows(PLACE.len()).position(|w| w == PLACE.as_bytes()) {
        bytes[at + n..at + n + PLACE.len()].copy_from_slice(real.as_bytes());
        at += n + PLACE.len();
    }
    let to = t.path(name);
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::write(&to, bytes).unwrap();
    fs::set_permissions(&to, PermissionsExt::from_mode(0o755)).unwrap();
}

/// Returns the path of a run-time library of g++. Panics if g++ has none of this name.
pub fn compiler_library(name: &str) -> PathBuf {
    let output = Command::new("g++").arg(format!("-print-file-name={name}")).output().unwrap();
    let path = PathBuf::from(String::from_utf8(output.stdout).unwrap().trim());
    assert!(path.is_absolute(), "g++ has no {name}");
    path
}

/// Whether an object refers to a dynamic symbol, as `nm` writes it.
pub fn refers_to(object: &Path, symbol: &str) -> bool {
    let output = Command::new("nm").arg("-D").arg(object).output().unwrap();
    let symbols = String::from_utf8(output.stdout).unwrap();
    symbols.lines().any(|line| line.split_whitespace().last() == Some(symbol))
}

/// Returns the path of a built object.
pub fn built(object: &str) -> PathBuf {
    build().join(object)
}
