//! Makes a stage by hand, for development: `mkstage [-o] [-a ALIAS=CANONICAL] STAGE LIBPYSHM TRAMPOLINE PREFIX…`.
//! Not a tool for users: it trusts its arguments and runs `cp` and `patchelf`.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use pyshm_format::build::{IndexBuilder, NewEntry};
use pyshm_format::{Kind, PrefixMode, Stat, Time, layout, state};

fn main() {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let mut mode = PrefixMode::Snapshot;
    let mut aliases = Vec::new();
    while args[0].starts_with('-') {
        match args.remove(0).as_str() {
            "-o" => mode = PrefixMode::Overlay,
            _ => aliases.push(args.remove(0)),
        }
    }
    let stage = PathBuf::from(args.remove(0));
    let (lib, trampoline) = (args.remove(0), args.remove(0));
    let _ = fs::remove_dir_all(&stage);
    for dir in ["fs", "orig", "lib", "bin"] {
        fs::create_dir_all(stage.join(dir)).unwrap();
    }
    let private = fs::Permissions::from_mode(0o700);
    fs::set_permissions(stage.parent().unwrap(), private.clone()).unwrap();
    fs::set_permissions(&stage, private).unwrap();
    fs::copy(lib, stage.join(layout::SHIM)).unwrap();
    if Path::new(&trampoline).exists() {
        fs::copy(trampoline, stage.join(layout::TRAMPOLINE)).unwrap();
    }
    let mut index = IndexBuilder::new(stage.as_os_str().as_bytes(), 0);
    let mut entries = BTreeMap::new();
    let prefixes: Vec<PathBuf> = args.iter().map(PathBuf::from).collect();
    for prefix in &prefixes {
        let path = prefix.as_os_str().as_bytes();
        let number = index.prefix(path, path, mode, &[0; 11]);
        let to = below(&stage, "fs", prefix);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        assert!(Command::new("cp").arg("-a").arg(prefix).arg(&to).status().unwrap().success());
        walk(prefix, &mut |path| {
            entries.insert(path.to_owned(), number);
        });
    }
    for alias in &aliases {
        let (path, canonical) = alias.split_once('=').unwrap();
        index.prefix(path.as_bytes(), canonical.as_bytes(), mode, &[0; 11]);
    }
    for (path, &number) in &entries {
        let meta = path.symlink_metadata().unwrap();
        let staged = below(&stage, "fs", path);
        let kind = match meta.file_type() {
            t if t.is_dir() => Kind::Directory,
            t if t.is_file() => Kind::File,
            t if t.is_symlink() => Kind::Symlink,
            _ => Kind::Other,
        };
        let mut target = PathBuf::new();
        if kind == Kind::Symlink {
            target = fs::read_link(path).unwrap();
            if target.is_absolute() && prefixes.iter().any(|p| target.starts_with(p)) {
                fs::remove_file(&staged).unwrap();
                symlink(relative(path.parent().unwrap(), &target), &staged).unwrap();
            }
        }
        let edited = kind == Kind::File && rewrite(&stage, path, &prefixes);
        index.entry(&NewEntry {
            path: path.as_os_str().as_bytes(),
            kind,
            flags: 0,
            target: target.as_os_str().as_bytes(),
            edited,
            prefix: number,
            stat: stat(&meta),
        });
    }
    fs::write(stage.join(layout::INDEX), index.finish()).unwrap();
    fs::write(stage.join(layout::STATE), state::header()).unwrap();
    fs::File::options()
        .write(true)
        .open(stage.join(layout::STATE))
        .unwrap()
        .set_len(state::FILE_BYTES as u64)
        .unwrap();
    println!("{} entries", entries.len());
}

fn below(stage: &Path, part: &str, path: &Path) -> PathBuf {
    stage.join(part).join(path.strip_prefix("/").unwrap())
}

fn walk(path: &Path, f: &mut dyn FnMut(&Path)) {
    f(path);
    if path.symlink_metadata().unwrap().is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            walk(&entry.unwrap().path(), f);
        }
    }
}

fn relative(from: &Path, to: &Path) -> PathBuf {
    let common = from.components().zip(to.components()).take_while(|(a, b)| a == b).count();
    let up = from.components().skip(common).map(|_| OsStr::new(".."));
    up.chain(to.components().skip(common).map(|c| c.as_os_str())).collect()
}

/// Makes absolute RUNPATHs relative; the pristine file goes under `orig/`.
fn rewrite(stage: &Path, path: &Path, prefixes: &[PathBuf]) -> bool {
    let staged = below(stage, "fs", path);
    let mut magic = [0; 4];
    if fs::File::open(&staged).and_then(|mut f| f.read_exact(&mut magic)).is_err()
        || magic != *b"\x7fELF"
    {
        return false;
    }
    let Ok(out) = Command::new("patchelf").arg("--print-rpath").arg(&staged).output() else {
        return false;
    };
    let old = String::from_utf8_lossy(&out.stdout).trim().to_owned();
    if !old.split(':').any(|d| prefixes.iter().any(|p| Path::new(d).starts_with(p))) {
        return false;
    }
    let new: Vec<String> = old
        .split(':')
        .map(|d| {
            match Path::new(d).is_absolute() && prefixes.iter().any(|p| Path::new(d).starts_with(p))
            {
                true => {
                    format!("$ORIGIN/{}", relative(path.parent().unwrap(), Path::new(d)).display())
                }
                false => d.to_owned(),
            }
        })
        .collect();
    let pristine = below(stage, "orig", path);
    fs::create_dir_all(pristine.parent().unwrap()).unwrap();
    let ok = |c: &mut Command| assert!(c.status().unwrap().success());
    ok(Command::new("cp").arg("-a").arg(&staged).arg(&pristine));
    ok(Command::new("patchelf").arg("--set-rpath").arg(new.join(":")).arg(&staged));
    true
}

fn stat(m: &fs::Metadata) -> Stat {
    let time = |sec: i64, nsec: i64| Time { sec, nsec: nsec as u32 };
    Stat {
        dev: m.dev(),
        ino: m.ino(),
        rdev: m.rdev(),
        nlink: m.nlink(),
        size: m.size(),
        blocks: m.blocks(),
        mode: m.mode(),
        uid: m.uid(),
        gid: m.gid(),
        blksize: m.blksize() as u32,
        atime: time(m.atime(), m.atime_nsec()),
        mtime: time(m.mtime(), m.mtime_nsec()),
        ctime: time(m.ctime(), m.ctime_nsec()),
        btime: Time::default(),
    }
}
