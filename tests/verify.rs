//! Tests `pyshm verify`. It must name every difference between a bundle, a stage and the original tree, and nothing
//! else.

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use common::{Ended, Tool, end};

/// A small tree, its bundle and its stage.
struct World {
    tool: Tool,
    env: PathBuf,
    bundle: PathBuf,
    stage: PathBuf,
}

impl World {
    fn new() -> Self {
        let tool = Tool::new();
        let env = tool.path("env");
        fs::create_dir_all(env.join("lib/empty")).unwrap();
        fs::write(env.join("lib/a.py"), "a = 1\n").unwrap();
        fs::write(env.join("lib/b.py"), "b = 1\n").unwrap();
        fs::write(env.join("lib/zero"), "").unwrap();
        fs::hard_link(env.join("lib/a.py"), env.join("lib/same.py")).unwrap();
        symlink(env.join("lib/a.py"), env.join("link")).unwrap();
        // The file `large` is larger than a frame.
        let large: Vec<u8> =
            (0..5_000_000u32).flat_map(|i| (i.wrapping_mul(2_654_435_761)).to_le_bytes()).collect();
        fs::write(env.join("large"), large).unwrap();
        let bundle = tool.bundle("env", "env.tar.zst");
        let stage = tool.run(&["stage".as_ref(), "-b".as_ref(), bundle.as_os_str()]).ok();
        Self { tool, env, bundle, stage: stage.trim().into() }
    }

    fn verify(&self, options: &[&str]) -> Ended {
        let bundle = self.bundle.to_str().unwrap();
        let options: Vec<&str> =
            options.iter().map(|o| if *o == "BUNDLE" { bundle } else { o }).collect();
        self.tool.run(&[&["verify"], &options[..]].concat())
    }

    /// Runs `verify`, which must find differences, and returns the differences in the path `name`.
    fn about(&self, options: &[&str], name: &str) -> Vec<String> {
        let out = self.verify(options);
        assert_eq!(out.code, 1, "{}{}", out.stdout, out.stderr);
        let path = format!("{}: ", self.env.join(name).display());
        out.stdout.lines().filter_map(|line| line.strip_prefix(&path)).map(String::from).collect()
    }

    fn staged(&self, name: &str) -> PathBuf {
        self.stage.join("fs").join(self.env.strip_prefix("/").unwrap()).join(name)
    }
}

/// Changes a file and restores its modification time.
fn keep_time(path: &Path, change: impl FnOnce()) {
    let time = fs::metadata(path).unwrap().modified().unwrap();
    change();
    fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

#[test]
fn equal_trees_are_reported_equal() {
    let world = World::new();
    for options in [
        &["-b", "BUNDLE"][..],
        &["-b", "BUNDLE", "--stage"],
        &["-b", "BUNDLE", "--source", "--stage"],
        &["--source", "--stage", world.stage.to_str().unwrap()],
    ] {
        let out = world.verify(options);
        assert_eq!((out.code, out.stderr.as_str()), (0, ""), "{options:?}: {}", out.stdout);
        assert!(out.stdout.contains("equal, 9 paths"), "{}", out.stdout);
    }
    let json = world.verify(&["-b", "BUNDLE", "--json"]).ok();
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&value["equal"], &value["paths"]), (&true.into(), &9.into()));
}

#[test]
fn each_kind_of_change_in_the_source_is_named() {
    let world = World::new();
    let env = &world.env;
    let source = &["-b", "BUNDLE"];
    keep_time(&env.join("lib/b.py"), || fs::write(env.join("lib/b.py"), "b = 2\n").unwrap());
    assert!(world.about(source, "lib/b.py")[0].starts_with("content: bundle "));
    keep_time(&env.join("large"), || {
        fs::File::options().write(true).open(env.join("large")).unwrap().set_len(77).unwrap();
    });
    assert_eq!(world.about(source, "large"), ["size: bundle 20000000, source 77"]);
    fs::set_permissions(env.join("lib/zero"), fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(world.about(source, "lib/zero"), ["mode: bundle 0644, source 0600"]);
    fs::write(env.join("new\nname"), "").unwrap();
    let out = world.verify(source);
    assert!(
        out.stdout.contains(r"new\nname: missing: it is in the source and not in the bundle"),
        "{}",
        out.stdout
    );
    fs::remove_file(env.join("link")).unwrap();
    symlink("elsewhere", env.join("link")).unwrap();
    assert!(world.about(source, "link").iter().any(|l| l.starts_with("target: ")));
    fs::remove_file(env.join("link")).unwrap();
    fs::create_dir(env.join("link")).unwrap();
    assert_eq!(world.about(source, "link"), ["type: bundle symlink, source directory"]);
    fs::remove_dir(env.join("link")).unwrap();
    assert_eq!(world.about(source, "link"), ["missing: it is in the bundle and not in the source"]);
    std::os::unix::fs::chown(env.join("lib/empty"), Some(7), Some(8)).unwrap();
    assert_eq!(world.about(source, "lib/empty"), ["owner: bundle 0:0, source 7:8"]);
    fs::File::open(env.join("lib")).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    assert!(world.about(source, "lib")[0].starts_with("mtime: bundle "));
    assert_eq!(
        world.about(&["--source", "--stage", world.stage.to_str().unwrap()], "lib/zero").len(),
        1
    );
}

#[test]
fn a_damaged_stage_is_named() {
    let world = World::new();
    let stage = &["-b", "BUNDLE", "--stage"];
    let file = world.staged("large");
    let mut bytes = fs::read(&file).unwrap();
    bytes[10_000_000] ^= 1;
    fs::write(&file, bytes).unwrap();
    assert!(world.about(stage, "large")[0].starts_with("content: bundle "));
    fs::write(world.staged("lib/b.py"), "short").unwrap();
    assert!(world.about(stage, "lib/b.py")[0].contains("it has 5 bytes, 6 in the index"));
    fs::remove_file(world.staged("lib/zero")).unwrap();
    assert!(world.about(stage, "lib/zero")[0].starts_with("damaged: stage: the index has it"));
    fs::write(world.staged("lib/stray"), "").unwrap();
    assert_eq!(world.about(stage, "lib/stray"), ["stray: it is in the stage and in no index"]);
}

#[test]
fn a_damaged_bundle_is_named_or_refused() {
    let world = World::new();
    let good = fs::read(&world.bundle).unwrap();
    let size = good.len();
    // The first flipped byte lies in the data of the large file, the second in the manifest.
    let mut flipped = good.clone();
    flipped[size - size / 3] ^= 1;
    fs::write(&world.bundle, &flipped).unwrap();
    assert!(world.about(&["-b", "BUNDLE"], "large")[0].starts_with("damaged: bundle: "));
    let mut flipped = good.clone();
    flipped[300] ^= 1;
    fs::write(&world.bundle, &flipped).unwrap();
    let out = world.verify(&["-b", "BUNDLE"]);
    assert!(out.code == 2 && out.stderr.contains("manifest is damaged"), "{}", out.stderr);
}

#[test]
fn verify_exits_with_2_where_it_cannot_compare() {
    let world = World::new();
    for (options, message) in [
        (&["-b", "/nowhere/x.tar.zst"][..], "/nowhere/x.tar.zst"),
        (&[], "nothing is named"),
        (&["--stage", world.stage.to_str().unwrap()], "a stage with nothing"),
        (&["--source", "--stage", "0123456789abcdef"], "0123456789abcdef"),
    ] {
        let out = world.verify(options);
        assert!(
            out.code == 2 && out.stderr.contains(message),
            "{options:?}: {} {}",
            out.code,
            out.stderr
        );
    }
    fs::remove_dir_all(&world.env).unwrap();
    assert_eq!(world.verify(&["-b", "BUNDLE"]).code, 2);
}

#[test]
fn a_foreign_tar_is_compared_by_the_attributes_that_it_has() {
    let world = World::new();
    let (env, tar) = (&world.env, world.tool.path("x.tar.gz"));
    let pack = std::process::Command::new("tar")
        .arg("-C")
        .arg(env)
        .arg("-czf")
        .arg(&tar)
        .arg(".")
        .status();
    assert!(pack.unwrap().success());
    let options = ["-b", tar.to_str().unwrap(), "--prefix", env.to_str().unwrap()];
    world.verify(&options).ok();
    end(std::process::Command::new("touch").arg(env.join("lib/new.py"))).ok();
    let out = world.verify(&options);
    assert!(out.code == 1 && out.stdout.contains("lib/new.py: missing"), "{}", out.stdout);
    assert_eq!(fs::metadata(env.join("lib/new.py")).unwrap().size(), 0);
}
