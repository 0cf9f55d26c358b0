//! Builds trees to pack, and tars that no packing program writes.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use crate::common::{Ended, Tool, end};

/// Makes a tree with one object of each kind that packing programs write in different ways.
pub fn make_tree(dir: &Path) {
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
    symlink("long/".repeat(60), dir.join("long-target")).unwrap();
    let bytes = std::ffi::OsStr::from_bytes(b"not-utf8-\xff\xfe");
    fs::write(dir.join(bytes), "bytes").unwrap();
    fs::write(dir.join("new\nline"), "newline").unwrap();
    let deep = dir.join(format!("{}/{}", "d".repeat(120), "e".repeat(120)));
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("f".repeat(120)), "deep").unwrap();
    let hundred = (0..100).fold(dir.join("nested"), |path, _| path.join("n"));
    fs::create_dir_all(&hundred).unwrap();
    fs::write(hundred.join("last"), "hundred").unwrap();
    let large: Vec<u8> = (0..3_000_000u32).flat_map(|i| (i / 3).to_le_bytes()).collect();
    fs::write(dir.join("large"), large).unwrap();
    let sparse = fs::File::create(dir.join("sparse")).unwrap();
    for i in 0..60 {
        std::os::unix::fs::FileExt::write_all_at(&sparse, b"data", i * 200_000).unwrap();
    }
    sparse.set_len(20 << 20).unwrap();
    for (name, seconds) in [("lib/a.py", 1_600_000_000), ("lib", 1_500_000_000), ("empty", 17)] {
        let time = std::time::UNIX_EPOCH + std::time::Duration::new(seconds, 123_456_789);
        fs::File::open(dir.join(name)).unwrap().set_modified(time).unwrap();
    }
}

/// Runs a shell command in a directory, and panics if it fails.
#[track_caller]
pub fn sh(directory: &Path, command: &str) {
    let out = end(std::process::Command::new("sh").arg("-ec").arg(command).current_dir(directory));
    assert_eq!(out.code, 0, "{command}: {}", out.stderr);
}

/// Stages `archive` for the prefix `name` in the tool's directory.
pub fn stage(tool: &Tool, archive: &Path, name: &str) -> Ended {
    let prefix = tool.path(name);
    tool.run(&[
        "stage".as_ref(),
        "-b".as_ref(),
        archive.as_os_str(),
        "--prefix".as_ref(),
        prefix.as_os_str(),
    ])
}

/// One member of a tar. A test can falsify every byte of it.
pub struct Raw {
    pub header: tar::Header,
    pub data: Vec<u8>,
}

/// Makes a member with a well-formed header.
pub fn member(name: &str, kind: u8, data: &[u8]) -> Raw {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::new(kind));
    header.set_size(data.len() as u64);
    header.set_mode(0o644);
    header.set_mtime(1_000_000_000);
    header.set_uid(0);
    header.set_gid(0);
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    Raw { header, data: data.to_vec() }
}

/// Makes a symbolic or hard link.
pub fn link(name: &str, kind: u8, target: &str) -> Raw {
    let mut raw = member(name, kind, b"");
    raw.header.set_link_name_literal(target).unwrap();
    raw
}

/// Makes an extended header with these records.
pub fn pax(records: &[(&str, &[u8])]) -> Raw {
    let mut data = Vec::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let length = (rest..).find(|n| rest + n.to_string().len() == *n).unwrap();
        data.extend_from_slice(format!("{length} {key}=").as_bytes());
        data.extend_from_slice(value);
        data.push(b'\n');
    }
    member("pax", b'x', &data)
}

/// Replaces bytes of a member's header, from the offset `at`.
pub fn with_field(mut raw: Raw, at: usize, bytes: &[u8]) -> Raw {
    raw.header.as_mut_bytes()[at..at + bytes.len()].copy_from_slice(bytes);
    raw
}

/// Makes a tar of these members, with correct checksums and an end.
pub fn tar(members: Vec<Raw>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for mut raw in members {
        raw.header.set_cksum();
        bytes.extend_from_slice(raw.header.as_bytes());
        bytes.extend_from_slice(&raw.data);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}
