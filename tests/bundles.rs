//! Tests bundles. pyshm stages the tree that it packed. It refuses damaged and hostile bundles, and then leaves nothing
//! of the stage.

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use common::{Hostile, Tool, listing};
use pyshm_tools::bundle::head::Head;
use pyshm_tools::exit_codes;
use pyshm_tools::manifest::Manifest;
use pyshm_tools::manifest::entry::EntryKind;
use pyshm_tools::manifest::prefix::{Mode, PrefixRecord};

/// Makes a small prefix with files, directories and links of every kind.
fn make_prefix(dir: &Path) {
    fs::create_dir_all(dir.join("lib/sub")).unwrap();
    fs::create_dir_all(dir.join("empty")).unwrap();
    fs::write(dir.join("lib/a.py"), "print('a')\n").unwrap();
    fs::write(dir.join("lib/zero"), "").unwrap();
    fs::write(dir.join("lib/sub/tool"), "#!/bin/sh\necho tool\n").unwrap();
    fs::set_permissions(dir.join("lib/sub/tool"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::hard_link(dir.join("lib/a.py"), dir.join("lib/same.py")).unwrap();
    symlink("lib", dir.join("lib64")).unwrap();
    symlink(dir.join("lib/a.py"), dir.join("absolute")).unwrap();
    symlink("/usr/bin/env", dir.join("outward")).unwrap();
    symlink("nowhere", dir.join("dangling")).unwrap();
    // The file is larger than a frame, so several threads write it. Its bytes are hard to compress, so most bytes of
    // the bundle belong to the file's data, and a flipped byte shows.
    let mut state = 1u64;
    let mut noise = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    fs::write(dir.join("large"), (0..20 << 20).map(|_| noise()).collect::<Vec<_>>()).unwrap();
    for i in 0..300 {
        fs::write(dir.join(format!("lib/sub/{i}.py")), format!("x = {i}\n").repeat(i)).unwrap();
    }
}

#[test]
fn a_staged_tree_equals_the_original() {
    for ending in ["tar.zst", "tar.gz"] {
        let tool = Tool::new();
        let prefix = tool.path("env");
        make_prefix(&prefix);
        let bundle = tool.bundle("env", &format!("b.{ending}"));
        let stage = tool.run(&["stage", "-b", bundle.to_str().unwrap()]).ok();
        let staged = Path::new(stage.trim()).join("fs").join(prefix.strip_prefix("/").unwrap());
        assert_eq!(listing(&staged), listing(&prefix), "{ending}");
        assert_eq!(fs::read_link(staged.join("absolute")).unwrap(), Path::new("lib/a.py"));
        assert_eq!(fs::read_link(staged.join("outward")).unwrap(), Path::new("/usr/bin/env"));
        let inode = |name: &str| fs::metadata(staged.join(name)).unwrap().ino();
        assert_eq!(inode("lib/a.py"), inode("lib/same.py"));
        tool.run(&["unstage", "--all"]).ok();
        assert!(tool.root_is_empty());
    }
}

#[test]
fn tar_reads_a_bundle() {
    let tool = Tool::new();
    make_prefix(&tool.path("env"));
    for (ending, option) in [("tar.zst", "--zstd"), ("tar.gz", "--gzip")] {
        let bundle = tool.bundle("env", &format!("b.{ending}"));
        let out = tool.path(&format!("out-{ending}"));
        fs::create_dir(&out).unwrap();
        let tar = std::process::Command::new("tar")
            .args([option, "-xf"])
            .arg(&bundle)
            .arg("-C")
            .arg(&out)
            .status();
        assert!(tar.unwrap().success());
        let unpacked = out.join(tool.path("env").strip_prefix("/").unwrap());
        assert_eq!(
            fs::read(unpacked.join("large")).unwrap(),
            fs::read(tool.path("env/large")).unwrap()
        );
        assert_eq!(fs::read_link(unpacked.join("absolute")).unwrap(), tool.path("env/lib/a.py"));
    }
}

#[test]
fn inspect_says_what_a_bundle_holds() {
    let tool = Tool::new();
    make_prefix(&tool.path("env"));
    let bundle = tool.bundle("env", "b.tar.zst");
    let json = tool.run(&["inspect", bundle.to_str().unwrap(), "--json", "--entries"]).ok();
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(value["prefixes"][0]["path"], tool.path("env").to_str().unwrap());
    assert_eq!(value["symlinks"], 4);
    assert_eq!(value["files"], 305);
    let entries = value["entries"].as_array().unwrap();
    let tool_entry =
        entries.iter().find(|e| e["path"].as_str().unwrap().ends_with("sub/tool")).unwrap();
    assert_eq!(tool_entry["mode"], 0o100_755);
}

#[test]
fn a_bundle_that_is_missing_truncated_or_no_bundle_is_refused() {
    let tool = Tool::new();
    make_prefix(&tool.path("env"));
    let good = tool.bundle("env", "good.tar.zst");
    let bytes = fs::read(&good).unwrap();
    let plain_tar = tool.path("plain.tar");
    assert!(
        std::process::Command::new("tar")
            .arg("-cf")
            .arg(&plain_tar)
            .arg(tool.path("env/lib"))
            .status()
            .unwrap()
            .success()
    );
    let plain = fs::read(&plain_tar).unwrap();
    let cases: [(&str, &[u8], &str); 6] = [
        ("empty", b"", "it is empty"),
        ("text", b"hello, this is no tar at all", "not a tar"),
        ("plain", &plain, "--prefix DIR"),
        ("half", &bytes[..bytes.len() / 2], "truncated"),
        ("stub", &bytes[..40], "truncated"),
        ("longer", &[&bytes[..], b"x"].concat(), "longer than it should be"),
    ];
    for (name, content, message) in cases {
        let path = tool.path(name);
        fs::write(&path, content).unwrap();
        let out = tool.run(&["stage", "-b", path.to_str().unwrap()]).fails(exit_codes::BAD_BUNDLE);
        assert!(out.contains(message) && out.contains(path.to_str().unwrap()), "{name}: {out}");
        assert!(tool.root_is_empty(), "{name}");
    }
    let out = tool.run(&["stage", "-b", "/nowhere/b.tar.zst"]).fails(exit_codes::NO_INPUT);
    assert!(out.contains("/nowhere/b.tar.zst") && out.contains("No such file"), "{out}");
}

#[test]
fn one_flipped_byte_is_found_or_harmless() {
    let tool = Tool::new();
    make_prefix(&tool.path("env"));
    for ending in ["tar.zst", "tar.gz"] {
        let good = tool.bundle("env", &format!("good.{ending}"));
        let bytes = fs::read(&good).unwrap();
        let bad = tool.path(&format!("bad.{ending}"));
        let places =
            [0, 9, 17, 60, 200, 3000, bytes.len() / 3, bytes.len() / 2, bytes.len() - 1000];
        let mut refused = 0;
        for at in places {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            fs::write(&bad, damaged).unwrap();
            let out = tool.run(&["stage", "-b", bad.to_str().unwrap()]);
            if out.code == 0 {
                // No reader uses this byte: it may belong to a time in a gzip header or to a header of the tar. So the
                // stage must be right.
                let stage = out.stdout.trim();
                tool.run(&["verify", "-q", "--source", "--stage", stage]).ok();
                tool.run(&["unstage", "--all"]).ok();
            } else {
                refused += 1;
                let message = out.fails(exit_codes::BAD_BUNDLE);
                assert!(message.contains(bad.to_str().unwrap()), "byte {at}: {message}");
                assert!(tool.root_is_empty(), "byte {at}");
            }
        }
        assert!(refused >= places.len() / 2, "{ending}: {refused} refused");
    }
}

#[test]
fn hostile_manifests_are_refused_by_name() {
    let tool = Tool::new();
    let link = |target: &str| EntryKind::Symlink(serde_bytes::ByteBuf::from(target));
    let file = |offset| EntryKind::File { offset, digest: [0; 32], runpath: None };
    let cases: [(&str, Vec<Hostile>, &str); 8] = [
        ("dotdot", vec![Hostile::new("/p/../x", file(512), 1)], "'..'"),
        ("relative", vec![Hostile::new("p/x", file(512), 1)], "not an absolute path"),
        (
            "outside",
            vec![Hostile::new("/etc/passwd", file(512), 1)],
            "does not lie in a directory of the bundle",
        ),
        (
            "through",
            vec![Hostile::new("/p/l", link("/etc"), 4), Hostile::new("/p/l/x", file(512), 1)],
            "does not lie in a directory",
        ),
        (
            "twice",
            vec![Hostile::new("/p/x", file(512), 0), Hostile::new("/p/x", link("/etc/x"), 6)],
            "appears twice",
        ),
        (
            "bomb",
            vec![Hostile::new("/p/x", file(512), 1 << 60)],
            "claims data that the bundle does not have",
        ),
        (
            "hard",
            vec![Hostile::new("/p/h", EntryKind::HardLink(77), 1)],
            "hard link to something that is not a file",
        ),
        ("nul", vec![Hostile::new("/p/a\0b", file(512), 1)], "not a possible path"),
    ];
    for (name, entries, message) in cases {
        let bundle = tool.path(&format!("{name}.tar.zst"));
        common::write_hostile(&bundle, entries);
        let out =
            tool.run(&["stage", "-b", bundle.to_str().unwrap()]).fails(exit_codes::BAD_BUNDLE);
        assert!(out.contains(message) && out.contains(bundle.to_str().unwrap()), "{name}: {out}");
        assert!(tool.root_is_empty(), "{name}");
    }
}

/// In these bundles the head and the manifest agree with each other, but not with the data.
#[test]
fn manifests_that_contradict_the_data_are_refused_by_name() {
    type Lie = fn(&mut Manifest, &mut Head);
    let prefix = |path: &str| PrefixRecord {
        path: serde_bytes::ByteBuf::from(path),
        aliases: vec![],
        mode: Mode::Snapshot,
    };
    let cases: [(&str, Lie, &str); 13] = [
        ("digest of a frame", |m, _| m.frames[0].digest[7] ^= 1, "a digest differs"),
        ("a frame with less data than it says", |m, _| m.frames[0].raw = 4097, "it is damaged"),
        ("a frame with more data than it says", |m, _| m.frames[0].raw = 2048, "it is damaged"),
        ("a frame of 4 GB", |m, _| m.frames[0].raw = u32::MAX, "more than any frame has"),
        ("a packed frame of 4 GB", |m, _| m.frames[0].packed = u32::MAX, "more than any frame has"),
        ("more frames", |m, _| m.frames.push(m.frames[0]), "it is truncated"),
        ("fewer frames", |m, _| m.frames.clear(), "claims data that the bundle does not have"),
        ("a manifest of 2^60 bytes", |_, head| head.raw = 1 << 60, "manifest"),
        ("no prefix", |m, _| m.prefixes.clear(), "names no prefix"),
        ("a prefix up", |m, _| m.prefixes[0].path = b"/p/../etc".to_vec().into(), "'..'"),
        ("the root", |m, _| m.prefixes[0].path = b"/".to_vec().into(), "entry / has"),
        (
            "another prefix",
            |m, _| m.prefixes[0].path = b"/q".to_vec().into(),
            "does not lie in a directory of the bundle",
        ),
        ("an alias up", |m, _| m.prefixes[0].aliases.push(b"/a/..".to_vec().into()), "'..'"),
    ];
    let tool = Tool::new();
    let refused = |name: &str, lie: &dyn Fn(&mut Manifest, &mut Head), message: &str| {
        let bundle = tool.path(&format!("{}.tar.zst", name.replace(' ', "-")));
        let file = EntryKind::File { offset: 0, digest: [0; 32], runpath: None };
        let entries = vec![Hostile::new("/p/x", file, 2048)];
        common::write_lies(&bundle, entries, |manifest, head| lie(manifest, head));
        let out =
            tool.run(&["stage", "-b", bundle.to_str().unwrap()]).fails(exit_codes::BAD_BUNDLE);
        assert!(out.contains(message) && out.contains(bundle.to_str().unwrap()), "{name}: {out}");
        assert_eq!(out.lines().count(), 1, "{name}: {out}");
        assert!(tool.root_is_empty(), "{name}");
    };
    for (name, lie, message) in cases {
        refused(name, &lie, message);
    }
    refused("nested", &|m, _| m.prefixes.push(prefix("/p/q")), "/p/q lies below another one");
}

#[test]
fn a_command_runs_in_spite_of_a_hostile_bundle_unless_fallback_is_off() {
    let tool = Tool::new();
    let bundle = tool.path("hostile.tar.zst");
    let file = EntryKind::File { offset: 512, digest: [0; 32], runpath: None };
    common::write_hostile(&bundle, vec![Hostile::new("/p/../x", file, 1)]);
    let run = |option: &str| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_pyshm-run"));
        command.arg(option).arg("--root").arg(tool.root()).arg("-b").arg(&bundle);
        common::end(command.args(["sh", "-c", "echo ran; exit 3"]))
    };
    let out = run("--fallback");
    assert_eq!((out.code, out.stdout.as_str()), (3, "ran\n"));
    assert!(out.stderr.contains("warning") && out.stderr.contains("'..'"), "{}", out.stderr);
    assert_eq!(out.stderr.lines().count(), 1, "{}", out.stderr);
    let out = run("--no-fallback");
    assert_eq!(out.stdout, "");
    assert!(out.fails(exit_codes::BAD_BUNDLE).contains(bundle.to_str().unwrap()));
    assert!(tool.root_is_empty());
}

#[test]
fn a_prefix_that_changes_while_it_is_packed_is_noticed() {
    let tool = Tool::new();
    let prefix = tool.path("env");
    fs::create_dir(&prefix).unwrap();
    // A sparse file is quick to make but takes long to read.
    fs::File::create(prefix.join("z-large")).unwrap().set_len(4 << 30).unwrap();
    let bundle = tool.path("b.tar.zst");
    let mut packing = std::process::Command::new(env!("CARGO_BIN_EXE_pyshm"))
        .args(["bundle", "env"])
        .arg(&prefix)
        .arg("-o")
        .arg(&bundle)
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // The temporary file of `pyshm bundle` shows that it has walked the prefix.
    let begun = || {
        fs::read_dir(tool.path(""))
            .unwrap()
            .flatten()
            .any(|e| e.file_name().as_encoded_bytes().starts_with(b".pyshm-bundle-"))
    };
    while !begun() {
        assert!(packing.try_wait().unwrap().is_none(), "pyshm bundle ended too soon");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    fs::write(prefix.join("a-new"), "new").unwrap();
    let out = packing.wait_with_output().unwrap();
    let message = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(exit_codes::TRY_AGAIN.into()), "{message}");
    assert!(message.contains("changed while it was packed"), "{message}");
    let left: Vec<_> =
        fs::read_dir(tool.path("")).unwrap().flatten().map(|e| e.file_name()).collect();
    assert_eq!(left.len(), 2, "only the prefix and the root are left: {left:?}");
}

#[test]
fn a_prefix_that_does_not_exist_is_named() {
    let tool = Tool::new();
    let out = tool.run(&[
        "bundle",
        "env",
        "/nowhere/env",
        "-o",
        tool.path("b.tar.zst").to_str().unwrap(),
    ]);
    let message = out.fails(exit_codes::NO_INPUT);
    assert!(message.contains("/nowhere/env") && message.contains("No such file"), "{message}");
    assert!(!tool.path("b.tar.zst").exists());
    fs::create_dir(tool.path("env")).unwrap();
    let out = tool.run(&[
        "bundle",
        "env",
        tool.path("env").to_str().unwrap(),
        "-o",
        tool.path("b.zip").to_str().unwrap(),
    ]);
    assert!(out.fails(exit_codes::USAGE).contains(".tar.zst"));
}

#[test]
fn a_bundle_that_does_not_fit_is_refused_with_the_numbers() {
    let tool = Tool::new();
    make_prefix(&tool.path("env"));
    let bundle = tool.bundle("env", "b.tar.zst");
    // The mount in a namespace of its own needs root, as the whole test suite does.
    let script = format!(
        "mount -t tmpfs -o size=8m tmpfs {root} && {pyshm} stage -b {bundle} --root {root}; code=$?; ls -A {root}; exit $code",
        root = tool.root().display(),
        pyshm = env!("CARGO_BIN_EXE_pyshm"),
        bundle = bundle.display()
    );
    let out = std::process::Command::new("unshare")
        .args(["--mount", "sh", "-c", &script])
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(exit_codes::CANNOT_WRITE.into()), "{message}");
    assert!(message.contains("8.4 MB free") && message.contains("are needed"), "{message}");
    assert_eq!(String::from_utf8_lossy(&out.stdout), "", "nothing is left");
}

#[test]
fn a_directory_that_another_user_made_first_is_not_trusted() {
    let tool = Tool::new();
    make_prefix(&tool.path("env"));
    let bundle = tool.bundle("env", "b.tar.zst");
    let place = tool.root().join("pyshm-0");
    fs::create_dir(&place).unwrap();
    std::os::unix::fs::chown(&place, Some(12345), None).unwrap();
    let out = tool.run(&["stage", "-b", bundle.to_str().unwrap()]).fails(exit_codes::CANNOT_WRITE);
    assert!(out.contains("belongs to another user"), "{out}");
    fs::remove_dir(&place).unwrap();
    symlink("/tmp", &place).unwrap();
    let out = tool.run(&["stage", "-b", bundle.to_str().unwrap()]).fails(exit_codes::CANNOT_WRITE);
    assert!(out.contains("not a directory"), "{out}");
}

#[test]
fn the_loader_finds_staged_libraries_by_absolute_search_paths() {
    let tool = Tool::new();
    // In the short prefix with the deep directory, "$ORIGIN/../…" is longer than the original search path. In the long
    // prefix it fits in the same place.
    for (prefix, deep) in [
        (tool.path("e"), "a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q/r/s"),
        (tool.path("environment"), "lib/x"),
    ] {
        fs::create_dir_all(prefix.join(deep)).unwrap();
        fs::create_dir_all(prefix.join("lib")).unwrap();
        let gcc = |output: &Path, source: &str, more: &[&str]| {
            let file = tool.path("source.c");
            fs::write(&file, source).unwrap();
            let status = std::process::Command::new("gcc")
                .args(["-shared", "-fPIC", "-o"])
                .arg(output)
                .arg(&file)
                .args(more)
                .status();
            assert!(status.unwrap().success());
        };
        let lib = prefix.join("lib");
        gcc(&lib.join("libdep.so"), "int dep(void) { return 42; }", &[]);
        for kind in ["--enable-new-dtags", "--disable-new-dtags"] {
            let user = prefix.join(deep).join(format!("libuser{kind}.so"));
            let search = format!("-L{0} -Wl,-rpath,{0} -Wl,{kind} -ldep", lib.display());
            gcc(
                &user,
                "int dep(void); int user(void) { return dep(); }",
                &search.split(' ').collect::<Vec<_>>(),
            );
        }
        let bundle = tool.bundle(prefix.to_str().unwrap(), "b.tar.zst");
        let stage = tool.run(&["stage", "-b", bundle.to_str().unwrap()]).ok();
        let inside =
            |part: &str| Path::new(stage.trim()).join(part).join(prefix.strip_prefix("/").unwrap());
        for kind in ["--enable-new-dtags", "--disable-new-dtags"] {
            let name = format!("{deep}/libuser{kind}.so");
            let ldd =
                common::end(std::process::Command::new("ldd").arg(inside("fs").join(&name))).ok();
            assert!(ldd.contains(stage.trim()) && !ldd.contains("not found"), "{ldd}");
            assert_eq!(
                fs::read(inside("orig").join(&name)).unwrap(),
                fs::read(prefix.join(&name)).unwrap(),
                "the stage keeps the unedited library"
            );
        }
        tool.run(&["unstage", "--all"]).ok();
    }
}
