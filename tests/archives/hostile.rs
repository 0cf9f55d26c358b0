//! Stages tars with members that no honest program writes. pyshm refuses each tar, names the member, and leaves nothing
//! of the stage.

use std::fs;
use std::io::Write;

use crate::build::{Raw, link, member, pax, stage, tar, with_field};
use crate::common::Tool;

/// Stages a tar of these members. The tool must refuse the tar with a message of one line that contains each of
/// `reasons`, and must leave nothing of the stage.
fn refused(name: &str, members: Vec<Raw>, code: u8, reasons: &[&str]) {
    let tool = Tool::new();
    let archive = tool.path("x.tar");
    fs::write(&archive, tar(members)).unwrap();
    let message = stage(&tool, &archive, "env").fails(code);
    assert_eq!(message.lines().count(), 1, "{name}: {message}");
    for reason in reasons.iter().chain(&[archive.to_str().unwrap()]) {
        assert!(message.contains(reason), "{name}: {message}");
    }
    assert!(tool.root_is_empty(), "{name}");
}

fn file(name: &str) -> Raw {
    member(name, b'0', b"data")
}

#[test]
fn names_that_lead_outside_the_prefix_are_refused() {
    let long = "x".repeat(256);
    let deep = vec!["y".repeat(200); 30].join("/");
    refused("dotdot", vec![file("a/../../x")], 65, &["a/../../x", "'..'"]);
    refused("absolute", vec![file("/etc/passwd")], 65, &["/etc/passwd", "outside the prefix"]);
    refused(
        "part",
        vec![pax(&[("path", long.as_bytes())]), file("p")],
        65,
        &["xxx", "more than 255"],
    );
    refused(
        "long",
        vec![pax(&[("path", deep.as_bytes())]), file("p")],
        65,
        &["yyy", "possible path"],
    );
    refused("nul", vec![pax(&[("path", b"a\0b")]), file("p")], 65, &["NUL"]);
    refused("gnu nul", vec![member("l", b'L', b"a\0b\0"), file("p")], 65, &["NUL"]);
    refused(
        "newline",
        vec![pax(&[("path", b"a\nb/../c")]), file("p")],
        65,
        &[r"a\nb/../c", "'..'"],
    );
    // This name is possible under the prefix, but too long below the path of the stage.
    let just = vec!["z".repeat(200); 20].join("/");
    refused(
        "too long here",
        vec![pax(&[("path", just.as_bytes())]), file("p")],
        65,
        &["zzz", "in a stage"],
    );
}

#[test]
fn members_behind_links_and_impossible_links_are_refused() {
    let through = vec![link("l", b'2', "/etc"), file("l/x")];
    refused("through a link", through, 65, &["l/x", "behind the symbolic link"]);
    let parent = vec![link("l", b'2', ".."), file("l/../x")];
    refused("above a link", parent, 65, &["l/../x", "'..'"]);
    refused(
        "hard, out",
        vec![link("h", b'1', "/etc/passwd")],
        65,
        &["h is a hard link to /etc/passwd", "outside"],
    );
    refused("hard, up", vec![link("h", b'1', "../x")], 65, &["h is a hard link to ../x", "'..'"]);
    refused(
        "hard, nothing",
        vec![link("h", b'1', "later"), file("later")],
        65,
        &["not a file that comes before it"],
    );
    refused(
        "hard, directory",
        vec![member("d/", b'5', b""), link("h", b'1', "d")],
        65,
        &["not a file"],
    );
    refused(
        "empty",
        vec![link("s", b'2', "")],
        65,
        &["s is a symbolic link with an impossible target"],
    );
    let long = "t".repeat(4096);
    refused(
        "long",
        vec![pax(&[("linkpath", long.as_bytes())]), link("s", b'2', "t")],
        65,
        &["longer than Linux takes"],
    );
}

#[test]
fn members_that_are_devices_fifos_or_unknown_are_refused() {
    refused(
        "character",
        vec![member("null", b'3', b"")],
        65,
        &["null is a character device", "leave it out"],
    );
    refused("block", vec![member("sda", b'4', b"")], 65, &["sda is a block device"]);
    refused("fifo", vec![member("pipe", b'6', b"")], 65, &["pipe is a fifo"]);
    refused(
        "unknown",
        vec![member("what", b'z', b"")],
        65,
        &["what is of a type that is not known"],
    );
    refused("volume", vec![member("rest", b'M', b"")], 65, &["another volume"]);
}

#[test]
fn names_that_appear_twice_are_refused() {
    refused("file", vec![file("x"), file("x")], 65, &["x appears twice", "make the archive again"]);
    refused("spelled otherwise", vec![file("a/x"), file("./a//x")], 65, &["appears twice"]);
    refused("link", vec![link("x", b'2', "/etc/passwd"), file("x")], 65, &["x appears twice"]);
    refused(
        "directory",
        vec![member("d/", b'5', b""), link("d", b'2', "/etc")],
        65,
        &["d appears twice"],
    );
    refused("the prefix", vec![link(".", b'2', "/etc"), file("x")], 65, &["appears twice"]);
    refused("the prefix as a file", vec![file(".")], 65, &["appears twice"]);
    refused(
        "below a file",
        vec![file("f"), file("f/x")],
        65,
        &["f/x lies below", "not a directory"],
    );
}

#[test]
fn false_sizes_and_malformed_fields_are_refused() {
    let size = |bytes: &[u8]| with_field(file("x"), 124, bytes);
    // The size 2^60 in binary form.
    let huge = b"\x80\0\0\0\x10\0\0\0\0\0\0\0";
    refused("huge", vec![size(huge)], 73, &["member x claims 1.2 EB", "left"]);
    refused(
        "negative",
        vec![size(&[0xff; 12])],
        65,
        &["member x claims a size that is not a number"],
    );
    refused("minus", vec![size(b"-0000000001\0")], 65, &["not a number"]);
    refused("garbage", vec![size(b"0000008abc \0")], 65, &["not a number"]);
    refused("pax", vec![pax(&[("size", b"-5")]), file("x")], 65, &["malformed size"]);
    refused(
        "pax huge",
        vec![pax(&[("size", b"99999999999999999999999")]), file("x")],
        65,
        &["malformed size"],
    );
    refused("more than there is", vec![size(b"00000100000\0")], 65, &["truncated"]);
    refused(
        "long name",
        vec![with_field(member("l", b'L', b""), 124, b"77777777777\0")],
        65,
        &["extended header that claims"],
    );
    refused(
        "mode",
        vec![with_field(file("x"), 100, b"rwxr-xr\0")],
        65,
        &["member x has a malformed mode"],
    );
    refused("mtime", vec![pax(&[("mtime", b"soon")]), file("x")], 65, &["malformed mtime"]);
    refused(
        "records",
        vec![member("x", b'x', b"99 path=a\n"), file("x")],
        65,
        &["malformed extended header"],
    );
    let sparse = |size: &[u8], map: &[u8]| {
        vec![pax(&[("GNU.sparse.size", size), ("GNU.sparse.map", map)]), file("x")]
    };
    refused("holes", sparse(b"10", b"0,2,1,2"), 65, &["member x has a malformed map"]);
    refused("holes outside", sparse(b"10", b"8,4"), 65, &["malformed map"]);
    refused(
        "hole of 2^60",
        sparse(b"1152921504606846976", b"0,4"),
        65,
        &["member x claims 1.2 EB"],
    );
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(data).unwrap();
    gz.finish().unwrap()
}

#[test]
fn damaged_headers_and_other_formats_are_refused() {
    let tool = Tool::new();
    let good = tar(vec![file("a"), file("b")]);
    for (name, bytes, reason) in [
        (
            "flipped",
            {
                let mut b = good.clone();
                b[1024] ^= 1;
                b
            },
            "no header",
        ),
        ("no end", good[..2048].to_vec(), "truncated"),
        ("half", good[..1300].to_vec(), "truncated"),
        ("two", [&good[..], &good[..]].concat(), "after its end"),
        ("text", b"hello, this is no tar at all".to_vec(), "not a tar"),
        ("empty", Vec::new(), "it is empty"),
        (
            "gzip, first data byte",
            b"\x1f\x8b\x08\0\0\0\0\0\0\x03garbage, no data".to_vec(),
            "damaged",
        ),
        ("gzip, of another method", b"\x1f\x8b\x07\0\0\0\0\0\0\x03".to_vec(), "damaged"),
        (
            "zstd, first data byte",
            b"\x28\xb5\x2f\xfd\xff\xff\xff\xff\xff\xff\xff\xff".to_vec(),
            "x.tar",
        ),
        ("gzip of nothing", gzip(b""), "truncated"),
        ("gzip of no tar", gzip(&[7; 4096]), "no header"),
        ("gzip in gzip", gzip(&gzip(&good)), "truncated"),
        ("bzip2", b"BZh91AY&SY".to_vec(), "compressed by bzip2"),
        ("xz", b"\xfd7zXZ\0\0".to_vec(), "compressed by xz"),
        ("zip", b"PK\x03\x04".to_vec(), "a zip file"),
    ] {
        let archive = tool.path("x.tar");
        fs::write(&archive, bytes).unwrap();
        let message = stage(&tool, &archive, "env").fails(65);
        assert!(message.contains(reason) && message.contains("x.tar"), "{name}: {message}");
        assert!(tool.root_is_empty(), "{name}");
    }
}

#[test]
fn setuid_and_setgid_bits_are_dropped_with_a_warning() {
    let tool = Tool::new();
    let archive = tool.path("x.tar");
    let mut sudo = file("bin/sudo");
    sudo.header.set_mode(0o6755);
    fs::write(&archive, tar(vec![sudo, file("bin/other")])).unwrap();
    let json = tool.run(&[
        "inspect".as_ref(),
        archive.as_os_str(),
        "--prefix".as_ref(),
        tool.path("env").as_os_str(),
        "--json".as_ref(),
        "--entries".as_ref(),
    ]);
    let value: serde_json::Value = serde_json::from_str(&json.ok()).unwrap();
    let entries = value["entries"].as_array().unwrap();
    assert!(entries.iter().any(|e| e["mode"] == 0o100_755));
    let staged = stage(&tool, &archive, "env");
    assert!(
        staged.stderr.contains("warning") && staged.stderr.contains("bin/sudo"),
        "{}",
        staged.stderr
    );
    let name = format!("bundle {}", archive.display());
    assert_eq!(staged.stderr.matches(&name).count(), 1, "{}", staged.stderr);
    staged.ok();
}

#[test]
fn harmless_oddities_are_accepted() {
    let tool = Tool::new();
    let archive = tool.path("x.tar");
    let members = vec![
        member("d/", b'5', b""),
        file("d/Case"),
        file("d/case"),
        member("d/", b'5', b""),
        file("d/./dot"),
        link("d/h", b'1', "d/case"),
        link("d/hh", b'1', "d/h"),
        link("d/s", b'2', "/etc"),
        link("d/hs", b'1', "d/s"),
    ];
    fs::write(&archive, tar(members)).unwrap();
    let printed = stage(&tool, &archive, "env").ok();
    let copy = std::path::Path::new(printed.trim())
        .join("fs")
        .join(tool.path("env/d").strip_prefix("/").unwrap());
    assert_eq!(fs::read_dir(copy).unwrap().count(), 7);
}
