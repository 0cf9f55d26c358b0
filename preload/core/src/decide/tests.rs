//! Compares decisions with the kernel's answers for a real directory tree.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;

use proptest::prelude::*;
use pyshm_format::build::{IndexBuilder, NewEntry};
use pyshm_format::state::{self, Mark};
use pyshm_format::{Diverged, Index, Kind, PrefixMode, Stat, hash_path};

use crate::base::scratch::Scratch;
use crate::decide::view::{Decision, Follow, Found, View, Walked, Want};
use crate::decide::walk::walk;

const STAGE: &[u8] = b"/dev/shm/pyshm-1/s";

fn words() -> Vec<AtomicU64> {
    (0..state::FILE_BYTES / 8).map(|_| AtomicU64::new(0)).collect()
}

/// A tree on disk under a temporary directory: `env` is the prefix, `other` lies outside.
struct Tree {
    root: PathBuf,
    index: Vec<u8>,
}

impl Tree {
    fn new(name: &str, mode: PrefixMode) -> Self {
        let root = std::env::temp_dir()
            .canonicalize()
            .unwrap()
            .join(format!("pyshm-route-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        let env = root.join("env");
        for dir in ["lib/python/site", "bin", "empty"] {
            fs::create_dir_all(env.join(dir)).unwrap();
        }
        fs::create_dir_all(root.join("other/deep")).unwrap();
        fs::create_dir_all(root.join("env2")).unwrap();
        for file in
            ["env/lib/python/os.py", "env/bin/python", "env/lib/a", "other/deep/f", "env2/f"]
        {
            fs::write(root.join(file), file).unwrap();
        }
        let link = |to: &Path, at: &str| symlink(to, env.join(at)).unwrap();
        link(Path::new("lib"), "lib64");
        link(Path::new("python"), "lib/py");
        link(&env.join("lib/python"), "abs");
        link(&root.join("other"), "out");
        link(Path::new("../../other/deep"), "lib/up");
        link(Path::new("nowhere"), "dangling");
        link(Path::new("loop2"), "loop1");
        link(Path::new("loop1"), "loop2");
        link(Path::new("."), "self");
        link(Path::new("../env/lib"), "round");
        link(Path::new("lib/a/"), "slashed");
        let mut index = IndexBuilder::new(STAGE, 0);
        let path = env.as_os_str().as_bytes();
        let prefix = index.prefix(path, path, mode, &[0; 11]);
        let alias = root.join("alias");
        index.prefix(alias.as_os_str().as_bytes(), path, mode, &[0; 11]);
        symlink(&env, &alias).unwrap();
        add(&mut index, prefix, &env);
        Self { index: index.finish(), root }
    }

    fn view<'a>(&'a self, words: &'a [AtomicU64]) -> View<'a> {
        View::new(Index::parse(&self.index).unwrap(), Diverged::new(words).unwrap())
    }

    fn path(&self, tail: &str) -> Vec<u8> {
        [self.root.as_os_str().as_bytes(), b"/", tail.as_bytes()].concat()
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

fn add(index: &mut IndexBuilder, prefix: u16, path: &Path) {
    let meta = path.symlink_metadata().unwrap();
    let target = fs::read_link(path).unwrap_or_default();
    let kind = match meta.file_type() {
        t if t.is_dir() => Kind::Directory,
        t if t.is_symlink() => Kind::Symlink,
        _ => Kind::File,
    };
    index.entry(&NewEntry {
        path: path.as_os_str().as_bytes(),
        kind,
        flags: 0,
        target: target.as_os_str().as_bytes(),
        edited: false,
        prefix,
        bundle: 0,
        xattrs: None,
        stat: Stat { ino: meta.ino(), mode: meta.mode(), size: meta.size(), ..Stat::default() },
    });
    if kind == Kind::Directory {
        for entry in fs::read_dir(path).unwrap() {
            add(index, prefix, &entry.unwrap().path());
        }
    }
}

/// Finds where a path leads by `walk`, and asserts that `find_fast` agrees.
fn find<'a>(view: &View<'a>, path: &[u8], follow: Follow, scratch: &mut Scratch) -> Walked<'a> {
    let walked = walk(view, path, follow, scratch);
    if let Some(fast) = view.find_fast(path, follow) {
        let same = match (fast, walked.found) {
            (Found::Entry(a), Found::Entry(b)) => a.path() == b.path(),
            (Found::Absent { errno: a, .. }, Found::Absent { errno: b, .. }) => a == b,
            (a, b) => core::mem::discriminant(&a) == core::mem::discriminant(&b),
        };
        assert!(same, "{:?}: {fast:?} is not {:?}", OsStr::from_bytes(path), walked.found);
    }
    walked
}

/// Asserts that the decision agrees with the kernel's answer for the same path.
fn agree(view: &View<'_>, path: &[u8], follow: Follow) {
    let mut scratch = Scratch::zeroed();
    let walked = find(view, path, follow, &mut scratch);
    agrees(view, path, follow, walked, &scratch);
}

fn agrees(view: &View<'_>, path: &[u8], follow: Follow, walked: Walked<'_>, scratch: &Scratch) {
    let name = Path::new(OsStr::from_bytes(path));
    let kernel = if follow.is_yes() { name.metadata() } else { name.symlink_metadata() };
    let key = |m: fs::Metadata| (m.ino(), m.mode());
    match view.decide(walked, Want::Attributes) {
        Decision::Outside | Decision::Pass => {}
        Decision::PassAs(len) => {
            let to = Path::new(OsStr::from_bytes(scratch.path(len)));
            let there = if follow.is_yes() { to.metadata() } else { to.symlink_metadata() };
            match (kernel, there) {
                (Ok(a), Ok(b)) => assert_eq!(key(a), key(b), "{name:?} is not {to:?}"),
                (Err(a), Err(b)) => {
                    assert_eq!(a.raw_os_error(), b.raw_os_error(), "{name:?} is not {to:?}")
                }
                (a, b) => panic!("{name:?} gives {a:?}, {to:?} gives {b:?}"),
            }
        }
        Decision::Redirect(e) => {
            let s = e.stat();
            assert_eq!(key(kernel.unwrap()), (s.ino, s.mode), "{name:?}");
        }
        Decision::Absent(errno) => {
            assert_eq!(kernel.unwrap_err().raw_os_error(), Some(errno), "{name:?}")
        }
    }
}

/// Whether the index answers for a path; otherwise the path passes to the kernel.
fn answered(view: &View<'_>, path: &[u8]) -> bool {
    let walked = find(view, path, Follow::Yes, &mut Scratch::zeroed());
    matches!(view.decide(walked, Want::Attributes), Decision::Redirect(_) | Decision::Absent(_))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_index_agrees_with_the_kernel(paths in prop::collection::vec(
        prop::collection::vec(prop::sample::select(vec![
            "lib", "lib64", "python", "py", "site", "os.py", "abs", "out", "up", "deep", "f", "a", "bin", "dangling",
            "loop1", "self", "round", "slashed", "empty", "nope", ".", "..", "", "env", "env2", "other",
        ]), 0..7), 64..65))
    {
        let tree = Tree::new("prop", PrefixMode::Snapshot);
        let words = words();
        let view = tree.view(&words);
        for parts in paths {
            for start in ["env", "/env", "alias", "env/", "./env"] {
                let path = tree.path(&format!("{start}/{}", parts.join("/")));
                agree(&view, &path, Follow::Yes);
                agree(&view, &path, Follow::No);
            }
        }
    }
}

/// Paths that exist, paths that do not exist, and paths that lead through links.
const SPELLINGS: &[&str] = &[
    "env",
    "env/",
    "env/lib/a",
    "env/lib/nope",
    "env/lib64/a",
    "env/lib64/nope",
    "env/abs/os.py",
    "env/out/deep/f",
    "env/lib/py/site",
    "env/dangling",
    "env/loop1",
    "env/slashed",
    "env/bin/../lib/a",
    "env/lib/a/x",
    "env/nope/x",
    "env/lib/up/f",
    "env/round/python/os.py",
    "env/self/bin/python",
    "env/empty",
    "env/empty/x",
    "alias/lib/a",
    "alias/nope",
    "env2/f",
    "other/deep/f",
];

#[test]
fn a_damaged_index_gives_only_true_answers() {
    let tree = Tree::new("damaged", PrefixMode::Snapshot);
    let words = words();
    let head = u32::from_le_bytes(*tree.index[36..].first_chunk().unwrap()) as usize;
    let mut state = 1u64;
    let mut random = |n: usize| {
        // Knuth's MMIX generator, whose low bits are poor.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as usize % n
    };
    let (mut answered, mut passed) = (0, 0);
    for _ in 0..2000 {
        let mut bad = tree.index.clone();
        for _ in 0..=random(6) {
            let at = head + random(bad.len() - head);
            let len = (random(8) * random(32)).min(bad.len() - at);
            bad[at] ^= 1 << random(8);
            bad[at..at + len].fill(0);
        }
        let view = View::new(Index::parse(&bad).unwrap(), Diverged::new(&words).unwrap());
        for spelling in SPELLINGS {
            let path = tree.path(spelling);
            for follow in [Follow::Yes, Follow::No] {
                let mut scratch = Scratch::zeroed();
                let walked = walk(&view, &path, follow, &mut scratch);
                agrees(&view, &path, follow, walked, &scratch);
                if let Found::Unknown = walked.found {
                    passed += 1;
                }
                if let Some(found) = view.find_fast(&path, follow) {
                    agrees(&view, &path, follow, Walked { found, len: 0 }, &scratch);
                    answered += 1;
                }
            }
        }
    }
    assert!(answered > 10_000 && passed > 1000, "{answered} {passed}");
}

#[test]
fn a_sibling_whose_name_begins_with_the_name_of_a_prefix_lies_outside() {
    let tree = Tree::new("component", PrefixMode::Snapshot);
    let words = words();
    let view = tree.view(&words);
    assert!(matches!(view.find_fast(&tree.path("env2/f"), Follow::Yes), Some(Found::Outside)));
    assert!(answered(&view, &tree.path("env")));
    assert!(answered(&view, &tree.path("env/")));
    assert!(answered(&view, &tree.path("alias/lib/a")));
}

#[test]
fn a_miss_passes_under_overlay_and_is_absent_under_snapshot() {
    for (name, mode, expect) in
        [("ov", PrefixMode::Overlay, false), ("sn", PrefixMode::Snapshot, true)]
    {
        let tree = Tree::new(name, mode);
        let words = words();
        assert_eq!(answered(&tree.view(&words), &tree.path("env/lib/nope")), expect);
        assert_eq!(answered(&tree.view(&words), &tree.path("env/lib64/nope")), expect);
        assert!(answered(&tree.view(&words), &tree.path("env/lib64/a")));
    }
}

#[test]
fn only_diverged_paths_pass() {
    let tree = Tree::new("diverged", PrefixMode::Snapshot);
    let words = words();
    let view = tree.view(&words);
    let hash = |p: &str| hash_path(&tree.path(p));
    view.diverged.mark(Mark::Path, hash("env/lib/a"));
    assert!(!answered(&view, &tree.path("env/lib/a")));
    assert!(!answered(&view, &tree.path("env/lib64/a")));
    assert!(answered(&view, &tree.path("env/lib/b")));
    view.diverged.mark(Mark::Path, hash("env/lib/new"));
    assert!(!answered(&view, &tree.path("env/lib/new")));
    assert!(!answered(&view, &tree.path("env/lib/new/below")));
    view.diverged.mark(Mark::Listing, hash("env/bin"));
    assert!(!answered(&view, &tree.path("env/bin")));
    assert!(answered(&view, &tree.path("env/bin/python")));
    view.diverged.mark(Mark::Subtree, hash("env/lib/python"));
    assert!(!answered(&view, &tree.path("env/abs/os.py")));
    assert!(!answered(&view, &tree.path("env/lib/python/site/x")));
    assert!(answered(&view, &tree.path("env/lib/nope")));
}

#[test]
fn a_path_through_a_diverged_link_passes() {
    let tree = Tree::new("link", PrefixMode::Snapshot);
    let words = words();
    let view = tree.view(&words);
    view.diverged.mark(Mark::Path, hash_path(&tree.path("env/lib64")));
    assert!(!answered(&view, &tree.path("env/lib64/a")));
    assert!(!answered(&view, &tree.path("env/lib64/nope")));
    assert!(answered(&view, &tree.path("env/lib/a")));
}

#[test]
fn a_full_set_lets_everything_pass() {
    let tree = Tree::new("full", PrefixMode::Snapshot);
    let words = words();
    let view = tree.view(&words);
    for i in 0..state::SLOTS as u64 {
        view.diverged.mark(Mark::Path, i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    }
    assert!(!answered(&view, &tree.path("env/lib/a")));
    assert!(!answered(&view, &tree.path("env/nope")));
}

#[test]
fn marks_of_many_threads_are_all_found() {
    let words = words();
    let set = Diverged::new(&words).unwrap();
    std::thread::scope(|s| {
        for t in 0..4u64 {
            s.spawn(move || {
                (0..2000).for_each(|i| set.mark(Mark::Path, hash_path(&(i * 3 + t).to_le_bytes())))
            });
        }
    });
    for t in 0..4u64 {
        assert!((0..2000).all(|i| set.has(Mark::Path, hash_path(&(i * 3 + t).to_le_bytes()))));
    }
    assert!(!set.has(Mark::Listing, hash_path(&0u64.to_le_bytes())));
}

#[test]
fn an_open_with_o_directory_or_o_path_gets_the_kernels_answer() {
    let tree = Tree::new("flags", PrefixMode::Snapshot);
    let words = words();
    let view = tree.view(&words);
    let open = |path: &str, follow: Follow, flags: i32| {
        let walked = find(&view, &tree.path(path), follow, &mut Scratch::zeroed());
        view.decide(walked, Want::Data(flags))
    };
    assert!(matches!(
        open("env/lib/a", Follow::Yes, libc::O_DIRECTORY),
        Decision::Absent(libc::ENOTDIR)
    ));
    assert!(matches!(open("env/lib64", Follow::No, 0), Decision::Absent(libc::ELOOP)));
    assert!(matches!(open("env/lib64", Follow::No, libc::O_PATH), Decision::Pass));
    assert!(matches!(open("env/lib64", Follow::Yes, libc::O_DIRECTORY), Decision::Redirect(_)));
    view.diverged.mark(Mark::Listing, hash_path(&tree.path("env/lib")));
    assert!(matches!(open("env/lib64", Follow::Yes, libc::O_DIRECTORY), Decision::Pass));
}
