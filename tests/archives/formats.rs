//! Stages tars of every format that packing programs write, and compares the stage with the packed tree.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::build::{make_tree, member, pax, sh, stage, tar, with_field};
use crate::common::{Tool, listing};

/// Returns the path of a staged prefix, in the stage that `pyshm stage` printed.
fn staged(tool: &Tool, printed: &str, name: &str) -> PathBuf {
    Path::new(printed.trim()).join("fs").join(tool.path(name).strip_prefix("/").unwrap())
}

/// Removes the fractions of seconds from a listing, because old formats do not have them.
fn whole_seconds(lines: Vec<String>) -> Vec<String> {
    let cut = |line: String| {
        let mut words: Vec<String> = line.split(' ').map(String::from).collect();
        for word in words
            .iter_mut()
            .filter(|w| w.contains('.') && w.starts_with(|c: char| c.is_ascii_digit()))
        {
            word.truncate(word.find('.').unwrap());
        }
        words.join(" ")
    };
    lines.into_iter().map(cut).collect()
}

fn listings_equal(staged: &Path, original: &Path, fractions: bool, what: &str) {
    let (mut a, mut b) = (listing(staged), listing(original));
    if !fractions {
        (a, b) = (whole_seconds(a), whole_seconds(b));
    }
    for (a, b) in a.iter().zip(&b) {
        assert_eq!(a, b, "{what}");
    }
    assert_eq!(a.len(), b.len(), "{what}");
}

#[test]
fn every_packer_s_tar_is_staged_as_the_tree_it_was_packed_from() {
    let tool = Tool::new();
    let env = tool.path("env");
    make_tree(&env);
    let python = "python3 -c \"import tarfile; t = tarfile.open('../x', 'w:gz', format=tarfile.FORMAT); t.add('.'); t.close()\"";
    for (command, fractions) in [
        ("tar -cf ../x .", false),
        ("tar --format=posix -cf ../x .", true),
        ("tar --format=oldgnu -cf ../x *", false),
        ("tar --format=posix -S --sparse-version=0.0 -czf ../x .", true),
        ("tar --format=posix -S --sparse-version=0.1 -czf ../x .", true),
        ("tar --format=posix -S --sparse-version=1.0 -czf ../x .", true),
        ("tar --format=gnu -S -czf ../x .", false),
        ("tar -cf - . | zstd -q > ../x", false),
        ("tar -cf - . | split -b 1000000 --filter 'zstd -q' > ../x", false),
        ("tar -cf - . | split -b 1000000 --filter 'gzip -c' > ../x", false),
        ("tar -C .. -cf ../x env", false),
        ("tar -P -czf ../x $PWD", false),
        ("tar -C / -cf ../x ${PWD#/}", false),
        ("bsdtar --format=pax -czf ../x .", true),
        ("bsdtar --format=gnutar -czf ../x .", false),
        (&*python.replace("FORMAT", "GNU_FORMAT"), false),
        // Python writes these times as floating-point numbers.
        (&*python.replace("FORMAT", "PAX_FORMAT"), false),
    ] {
        sh(&env, command);
        let out = stage(&tool, &tool.path("x"), "env");
        assert_eq!(out.code, 0, "{command}: {}", out.stderr);
        let printed = out.stdout;
        let copy = staged(&tool, &printed, "env");
        listings_equal(&copy, &env, fractions, command);
        assert_eq!(
            fs::read_link(copy.join("absolute")).unwrap(),
            Path::new("lib/a.py"),
            "{command}"
        );
        let inode = |name: &str| fs::metadata(copy.join(name)).unwrap().ino();
        assert_eq!(inode("lib/a.py"), inode("lib/same.py"), "{command}");
        tool.run(&["unstage", "--all"]).ok();
        fs::remove_file(tool.path("x")).unwrap();
    }
    assert!(tool.root_is_empty());
}

#[test]
fn holes_of_sparse_files_stay_holes() {
    let tool = Tool::new();
    let env = tool.path("env");
    fs::create_dir(&env).unwrap();
    // The octal digits of a header cannot express this size, neither for a file nor for a sparse one.
    fs::File::create(env.join("huge")).unwrap().set_len(9 << 30).unwrap();
    for format in [
        "--format=posix --sparse-version=1.0",
        "--format=posix --sparse-version=0.1",
        "--format=gnu",
    ] {
        sh(&env, &format!("tar -S {format} -czf ../x ."));
        let printed = stage(&tool, &tool.path("x"), "env").ok();
        let huge = fs::metadata(staged(&tool, &printed, "env").join("huge")).unwrap();
        assert_eq!((huge.len(), huge.blocks()), (9 << 30, 0), "{format}");
        tool.run(&["unstage", "--all"]).ok();
    }
}

#[test]
fn directories_that_the_tar_does_not_list_are_made() {
    let tool = Tool::new();
    let env = tool.path("env");
    fs::create_dir_all(env.join("a/b")).unwrap();
    fs::write(env.join("a/b/c"), "c").unwrap();
    // This tar lists only files, like a tar that conda-pack makes.
    sh(&env, "tar -czf ../x a/b/c");
    let printed = stage(&tool, &tool.path("x"), "env").ok();
    let made = fs::metadata(staged(&tool, &printed, "env").join("a/b")).unwrap();
    assert_eq!(made.mode() & 0o777, 0o755);
}

#[test]
fn a_prefix_need_not_exist_on_this_node() {
    let tool = Tool::new();
    let archive = tool.path("x.tar");
    fs::write(&archive, tar(vec![member("bin/tool", b'0', b"tool")])).unwrap();
    let printed = stage(&tool, &archive, "nowhere").ok();
    assert_eq!(fs::read(staged(&tool, &printed, "nowhere").join("bin/tool")).unwrap(), b"tool");
}

#[test]
fn many_members_take_little_time_and_memory() {
    let tool = Tool::new();
    let archive = tool.path("x.tar");
    let name = |i: usize| format!("d{}/f{i}", i / 100);
    fs::write(&archive, tar((0..100_000).map(|i| member(&name(i), b'0', b"x")).collect())).unwrap();
    let json = tool.run(&[
        "inspect".as_ref(),
        archive.as_os_str(),
        "--prefix".as_ref(),
        tool.path("env").as_os_str(),
        "--json".as_ref(),
        "--entries".as_ref(),
    ]);
    let value: serde_json::Value = serde_json::from_str(&json.ok()).unwrap();
    assert_eq!(
        (value["files"].as_u64(), value["directories"].as_u64()),
        (Some(100_000), Some(1001))
    );
    let entries = value["entries"].as_array().unwrap();
    let inodes: std::collections::HashSet<_> =
        entries.iter().map(|e| e["inode"].as_u64().unwrap()).collect();
    assert_eq!(inodes.len(), 101_001, "each entry has an inode number of its own");
    let printed = stage(&tool, &archive, "env").ok();
    assert_eq!(fs::read_dir(staged(&tool, &printed, "env").join("d999")).unwrap().count(), 100);
}

#[test]
fn extended_headers_override_the_header() {
    let tool = Tool::new();
    let archive = tool.path("x.tar");
    let named = pax(&[
        ("path", b"lib/named"),
        ("mtime", b"-1.5"),
        ("size", b"5"),
        ("SCHILY.xattr.user.note", b"a\0b\n"),
    ]);
    // The size in the header is false; the size in the extended header is right.
    let file = with_field(member("other", b'0', b"12345"), 124, b"77777777777\0");
    fs::write(&archive, tar(vec![named, file, member("after", b'0', b"after")])).unwrap();
    let printed = stage(&tool, &archive, "env").ok();
    let copy = staged(&tool, &printed, "env");
    assert_eq!(fs::read(copy.join("lib/named")).unwrap(), b"12345");
    assert_eq!(fs::read(copy.join("after")).unwrap(), b"after");
    let m = fs::metadata(copy.join("lib/named")).unwrap();
    assert_eq!((m.mtime(), m.mtime_nsec()), (-2, 500_000_000));
}

#[test]
fn staging_a_tar_needs_a_prefix_and_a_bundle_takes_no_other() {
    let tool = Tool::new();
    let env = tool.path("env");
    make_tree(&env);
    sh(&env, "tar -czf ../x .");
    let plain = tool.run(&["stage".as_ref(), "-b".as_ref(), tool.path("x").as_os_str()]).fails(65);
    assert!(plain.contains("--prefix DIR"), "{plain}");
    let ours = tool.bundle("env", "ours.tar.zst");
    stage(&tool, &ours, "env").ok();
    let other = stage(&tool, &ours, "other").fails(65);
    assert!(other.contains("it is a bundle of"), "{other}");
}
