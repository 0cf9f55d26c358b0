//! What `libpyshm.so` brings into every process: its exported symbols and the libraries it needs.

mod common;

use std::process::Command;

use common::library;

fn output(program: &str, args: &[&str]) -> String {
    let out =
        Command::new(program).args(args).arg(library()).output().expect("binutils are installed");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).expect("plain text")
}

#[test]
fn it_exports_the_hooks_and_nothing_else() {
    let text = output("nm", &["-D", "--defined-only"]);
    let mut names: Vec<&str> = text.lines().filter_map(|l| l.split_whitespace().nth(2)).collect();
    names.sort_unstable();
    let expected: Vec<&str> = include_str!("../exports.txt").lines().collect();
    assert_eq!(names, expected);
}

#[test]
fn it_needs_libc_and_the_loader_alone() {
    let text = output("readelf", &["-d", "-W"]);
    let needed = text.lines().filter(|l| l.contains("(NEEDED)"));
    for line in needed {
        assert!(line.contains("[libc.so.") || line.contains("[ld-linux"), "{line}");
    }
}
