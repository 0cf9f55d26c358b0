//! Tests extended attributes and access control lists: a program with the shim sees those of the original.

#[path = "common/shipped.rs"]
mod shipped;

use shipped::{Shipped, shown};

/// Makes the tree. The access list of `acl` is the one that `setfacl -m u:nobody:rw` writes on a file of mode 600.
const MAKE: &str = r#"
import os, struct, sys
os.chdir(sys.argv[1])
for name in ("file", "many", "plain", "acl", "closed"):
    open(name, "w").write(name)
    os.chmod(name, 0o600 if name in ("acl", "closed") else 0o644)
os.mkdir("dir")
os.symlink("file", "link"); os.symlink("nope", "dangling"); os.mkfifo("fifo")
os.setxattr("file", "user.a", b"value"); os.setxattr("file", "user.empty", b"")
os.setxattr("dir", "user.a", b"of the directory")
for i in range(20): os.setxattr("many", f"user.{i:03}", b"x" * i)
os.setxattr("many", "user.a", b"one")
os.setxattr("plain", "user.long", bytes(range(256)) * 12)
def acl(*entries): return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *e) for e in entries)
NONE = 0xffffffff
os.setxattr("acl", "system.posix_acl_access",
            acl((1, 6, NONE), (2, 6, 65534), (4, 0, NONE), (16, 6, NONE), (32, 0, NONE)))
os.setxattr("dir", "system.posix_acl_default", acl((1, 7, NONE), (4, 5, NONE), (32, 5, NONE)))
if os.getuid() == 0:
    os.setxattr("file", "trusted.x", b"for root"); os.setxattr("file", "security.x", b"y")
    os.setxattr("link", "trusted.x", b"of the link")
    os.chmod("..", 0o755)
"#;

const PROBE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/probes/xattrs.py");

fn staged() -> Shipped {
    let mut shipped = Shipped::new();
    let tree = shipped.tree.to_str().unwrap().to_string();
    let made = shipped.bare(&["python3", "-c", MAKE, &tree]).output().unwrap();
    assert!(made.status.success(), "{}", shown(&made));
    shipped.make_stage();
    shipped
}

#[test]
fn attributes_and_permissions_are_the_originals() {
    let shipped = staged();
    let probe = ["python3", PROBE, shipped.tree.to_str().unwrap()];
    let bare = shown(&shipped.bare(&probe).output().unwrap());
    let staged = shown(&shipped.interposed(&probe).output().unwrap());
    for (a, b) in bare.lines().zip(staged.lines()) {
        assert_eq!(a, b, "bare on the left");
    }
    assert_eq!(bare, staged);
    assert!(bare.contains("b'value'") && bare.lines().count() > 500, "the probe ran: {bare}");
}

#[test]
fn attributes_come_from_the_stage_until_the_program_changes_them() {
    let shipped = staged();
    let file = shipped.tree.join("file").to_str().unwrap().to_string();
    // A program without the shim sets the attribute. A snapshot does not show such a change.
    let set = "import os,sys; os.setxattr(sys.argv[1], 'user.a', sys.argv[2].encode())";
    assert!(shipped.bare(&["python3", "-c", set, &file, "new"]).status().unwrap().success());
    let get = "import os,sys; f = open(sys.argv[1]); print(os.getxattr(f.name, 'user.a'), os.getxattr(f.fileno(), 'user.a'))";
    let read = || shown(&shipped.interposed(&["python3", "-c", get, &file]).output().unwrap());
    assert!(read().ends_with("b'value' b'value'\n"), "{}", read());
    assert!(shipped.interposed(&["python3", "-c", set, &file, "mine"]).status().unwrap().success());
    assert!(read().ends_with("b'mine' b'mine'\n"), "{}", read());
}
