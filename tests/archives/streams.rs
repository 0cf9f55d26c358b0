//! Stages compressed tars that are damaged, too large, or made to fill the memory of a node.

use std::fs;
use std::io::Write;

use crate::build::{make_tree, member, sh, stage, tar};
use crate::common::Tool;

#[test]
fn damage_anywhere_in_a_compressed_tar_is_found() {
    let tool = Tool::new();
    let env = tool.path("env");
    make_tree(&env);
    for command in ["tar -czf ../x .", "tar -cf - . | zstd -q --check > ../x"] {
        sh(&env, command);
        let good = fs::read(tool.path("x")).unwrap();
        let bad = |bytes: &[u8], what: &str| {
            fs::write(tool.path("bad"), bytes).unwrap();
            let message = stage(&tool, &tool.path("bad"), "env").fails(65);
            assert!(message.contains(tool.path("bad").to_str().unwrap()), "{message}");
            assert!(tool.root_is_empty(), "{command}: {what}");
            message
        };
        for part in [1, 2, 3] {
            let cut = bad(&good[..good.len() * part / 4], "cut");
            assert!(cut.contains("truncated"), "{command}: {cut}");
        }
        bad(&good[..good.len() - 1], "the last byte is missing");
        let garbage = bad(&[&good[..], b"garbage behind it"].concat(), "garbage");
        assert!(garbage.contains("extra bytes after its end"), "{garbage}");
        for part in [5, 11, 50, 90, 99] {
            let mut flipped = good.clone();
            flipped[good.len() * part / 100] ^= 0x10;
            bad(&flipped, "flipped");
        }
    }
}

#[test]
fn bombs_are_refused_before_they_fill_the_memory() {
    let tool = Tool::new();
    // The member claims 16 GB. The tar has 1.2 GB of zeros for the member, which compress to some megabytes.
    let mut header = member("zeros", b'0', b"").header;
    header.set_size(16 << 30);
    header.set_cksum();
    let write = |to: &mut dyn Write| {
        to.write_all(header.as_bytes()).unwrap();
        let block = vec![0; 1 << 20];
        (0..1200).for_each(|_| to.write_all(&block).unwrap());
    };
    let create = |name| fs::File::create(tool.path(name)).unwrap();
    let mut gz = flate2::write::GzEncoder::new(create("x.tar.gz"), flate2::Compression::fast());
    write(&mut gz);
    gz.finish().unwrap();
    let mut zst = zstd::stream::write::Encoder::new(create("x.tar.zst"), 1).unwrap();
    write(&mut zst);
    zst.finish().unwrap();
    for name in ["x.tar.gz", "x.tar.zst"] {
        let message = stage(&tool, &tool.path(name), "env").fails(65);
        assert!(
            message.contains("more than 250 times its size") && message.contains("zeros"),
            "{message}"
        );
        assert!(tool.root_is_empty());
    }
}

#[test]
fn a_tar_that_does_not_fit_is_refused_and_its_member_named() {
    let tool = Tool::new();
    let archive = tool.path("x.tar");
    let members = || vec![member("fits", b'0', b"x"), member("large", b'0', &vec![7; 9 << 20])];
    fs::write(&archive, tar(members())).unwrap();
    // In a compressed tar, the size of a member is unknown until the member's header is read.
    sh(&tool.path(""), "gzip -k x.tar");
    let out = in_a_small_file_system(&tool, &tool.path("x.tar.gz"));
    assert!(out.stderr.contains("its member large claims 9.4 MB"), "{}", out.stderr);
    assert_eq!(out.stdout, "", "nothing is left");
    out.fails(73);
    // The size of a plain tar is known before its first byte is read.
    let out = in_a_small_file_system(&tool, &archive);
    assert!(out.stderr.contains("but at least 76.5 MB are needed"), "{}", out.stderr);
    assert!(out.stderr.contains("more if its tars unpack to more"), "{}", out.stderr);
    assert_eq!(out.stdout, "", "nothing is left");
    out.fails(73);
}

#[test]
fn a_tar_with_more_members_than_free_inodes_is_refused() {
    let tool = Tool::new();
    let archive = tool.path("x.tar");
    let members = (0..500).map(|n| member(&format!("f{n}"), b'0', b"x")).collect();
    fs::write(&archive, tar(members)).unwrap();
    let out = in_a_file_system(&tool, &archive, "size=200m,nr_inodes=1200");
    assert!(
        out.stderr.contains("its member f") && out.stderr.contains("no inodes"),
        "{}",
        out.stderr
    );
    assert_eq!(out.stdout, "", "nothing is left");
    out.fails(73);
}

/// Stages in a file system with room for 8 MB besides the reserve that pyshm leaves free. Standard output lists the
/// files that are left in the file system.
fn in_a_small_file_system(tool: &Tool, archive: &std::path::Path) -> crate::common::Ended {
    in_a_file_system(tool, archive, "size=72m")
}

fn in_a_file_system(tool: &Tool, archive: &std::path::Path, options: &str) -> crate::common::Ended {
    // The mount in a namespace of its own needs root, as the whole test suite does.
    let script = format!(
        "mount -t tmpfs -o {options} tmpfs {root} && {pyshm} stage -b {archive} --prefix /opt/x --root {root}; code=$?; \
         ls -A {root}; exit $code",
        root = tool.root().display(),
        pyshm = env!("CARGO_BIN_EXE_pyshm"),
        archive = archive.display()
    );
    crate::common::end(std::process::Command::new("unshare").args(["--mount", "sh", "-c", &script]))
}

#[test]
fn a_zstd_window_that_takes_too_much_memory_is_refused_with_the_way_out() {
    let tool = Tool::new();
    let env = tool.path("env");
    fs::create_dir(&env).unwrap();
    fs::File::create(env.join("zeros")).unwrap().set_len(300 << 20).unwrap();
    sh(&env, "tar -cf - . | zstd -q --long=30 > ../x");
    let message = stage(&tool, &tool.path("x"), "env").fails(65);
    assert!(message.contains("without --long"), "{message}");
}
