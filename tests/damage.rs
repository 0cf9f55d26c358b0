//! Runs programs with a damaged stage. The programs must print the same as without a stage, without a message or a
//! crash.
//!
//! `PYSHM_DAMAGE=100000 cargo test --test damage` starts 100,000 processes, each with different random damage.

#[path = "common/shipped.rs"]
mod shipped;

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use pyshm_format::build::IndexBuilder;
use pyshm_format::{PrefixMode, state};
use shipped::{Shipped, shown};

/// The number of starts with random damage, unless PYSHM_DAMAGE sets another number.
const STARTS: usize = 10_000;
const MAKE: &str = "cd $1; for i in 1 2 3 4 5 6 7 8; do echo file $i > f$i; mkdir d$i; for j in 1 2 3 4 5; do echo $i $j \
> d$i/g$j; done; ln -s f$i l$i; done; ln -s d1 ld; ln -s $PWD/d2 labs; ln -s nope dangling; mkfifo fifo; chmod +x f3";

/// A staged tree, and an undamaged copy of its stage.
struct Case {
    shipped: Shipped,
    whole: PathBuf,
}

impl Case {
    fn new() -> Self {
        let mut shipped = Shipped::new();
        let tree = shipped.tree.to_str().unwrap().to_string();
        assert!(shipped.bare(&["sh", "-c", MAKE, "sh", &tree]).status().unwrap().success());
        shipped.make_stage();
        let whole = shipped.path("whole");
        copy(&shipped.stage, &whole);
        Self { shipped, whole }
    }

    /// Replaces the stage by the undamaged copy.
    fn mend(&self) {
        fs::remove_dir_all(&self.shipped.stage).unwrap();
        copy(&self.whole, &self.shipped.stage);
    }

    fn tree(&self) -> &str {
        self.shipped.tree.to_str().unwrap()
    }

    /// Returns the log of the shim, which PYSHM_LOG switches on.
    fn said(&self) -> String {
        let out = self.shipped.interposed(&["true"]).env("PYSHM_LOG", "1").output().unwrap();
        shown(&out)
    }
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}

fn edit(path: &Path, f: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    f(&mut bytes);
    fs::write(path, bytes).unwrap();
}

/// Reads the offset of a part of the index, which stands at `at` in the header.
fn field(index: &[u8], at: usize) -> usize {
    u64::from_le_bytes(*index[at..].first_chunk().unwrap()) as usize
}

/// A kind of damage: its name, a text that the shim's log then contains, and the function that damages the stage.
type Damage = (&'static str, &'static str, fn(&Path));

const ACTIVE: &str = "pyshm: active (";

const DAMAGES: &[Damage] = &[
    ("nothing", ACTIVE, |_| ()),
    ("an empty index", "index is missing, too short", |s| edit(&s.join("index"), Vec::clear)),
    ("an index shorter than its header", "too short", |s| {
        edit(&s.join("index"), |b| b.truncate(100));
    }),
    ("half an index", "index is truncated", |s| {
        edit(&s.join("index"), |b| b.truncate(b.len() / 2))
    }),
    ("an index that lost a byte", "index is truncated", |s| {
        edit(&s.join("index"), |b| b.truncate(b.len() - 1))
    }),
    ("an index that grew", "index is truncated", |s| edit(&s.join("index"), |b| b.push(0))),
    ("no index", "index is missing", |s| fs::remove_file(s.join("index")).unwrap()),
    ("an index that is a directory", "index is missing", |s| {
        fs::remove_file(s.join("index")).unwrap();
        fs::create_dir(s.join("index")).unwrap();
    }),
    ("an index that is a link", "index is missing", |s| {
        fs::rename(s.join("index"), s.join("index2")).unwrap();
        symlink("index2", s.join("index")).unwrap();
    }),
    ("another file", "index was not written by pyshm", |s| edit(&s.join("index"), |b| b[0] ^= 1)),
    ("another version", "another version of pyshm", |s| edit(&s.join("index"), |b| b[8] += 1)),
    ("a damaged head", "head of the stage's index is damaged", |s| {
        edit(&s.join("index"), |b| b[150] ^= 4);
    }),
    ("no bucket", ACTIVE, |s| {
        edit(&s.join("index"), |b| {
            let (from, to) = (field(b, 40), field(b, 48));
            b[from..to].fill(0);
        });
    }),
    ("no entry", ACTIVE, |s| {
        edit(&s.join("index"), |b| {
            let (from, to) = (field(b, 48), field(b, 56));
            b[from..to].fill(0xff);
        });
    }),
    ("no string", ACTIVE, |s| {
        edit(&s.join("index"), |b| {
            let from = field(b, 56);
            b[from..].fill(b'/');
        });
    }),
    ("the index of another stage", "made for another directory", |s| {
        let mut other = IndexBuilder::new(b"/dev/shm/another", 0);
        other.prefix(b"/p", b"/p", PrefixMode::Snapshot, &[0; 11]);
        fs::write(s.join("index"), other.finish()).unwrap();
    }),
    ("no state", "state file is missing", |s| fs::remove_file(s.join("state")).unwrap()),
    ("a short state", "state file is damaged", |s| edit(&s.join("state"), |b| b.truncate(9000))),
    ("a tiny state", "state file is missing, too short", |s| {
        edit(&s.join("state"), |b| b.truncate(9))
    }),
    ("a longer state", "state file is damaged", |s| edit(&s.join("state"), |b| b.push(0))),
    ("a foreign state", "state file is damaged", |s| edit(&s.join("state"), |b| b[3] ^= 1)),
    ("another state's version", "state file is damaged", |s| edit(&s.join("state"), |b| b[8] ^= 4)),
    ("a state full of garbage", ACTIVE, |s| edit(&s.join("state"), |b| b[64..].fill(0xa5))),
    ("a directory that others may write", "others may write there", |s| {
        fs::set_permissions(s, fs::Permissions::from_mode(0o770)).unwrap();
    }),
    ("no staged files", ACTIVE, |s| fs::remove_dir_all(s.join("fs")).unwrap()),
    ("nothing but the shim", "index is missing", |s| {
        for entry in fs::read_dir(s).unwrap().map(|e| e.unwrap().path()) {
            let _ = fs::remove_file(&entry);
            if !entry.ends_with("lib") {
                let _ = fs::remove_dir_all(&entry);
            }
        }
    }),
];

/// Kinds of damage that only root can do.
const DAMAGES_BY_ROOT: &[Damage] = &[
    ("another user's directory", "belongs to another user", |s| {
        chown(s, Some(12345), None).unwrap()
    }),
    ("another user's index", "not this user's", |s| {
        chown(s.join("index"), Some(12345), None).unwrap();
    }),
    ("another user's state", "not this user's", |s| {
        chown(s.join("state"), Some(12345), None).unwrap();
    }),
];

/// Programs that read the tree, which is their last argument.
const PROGRAMS: &[&[&str]] = &[
    &[
        "sh",
        "-c",
        "cd $1; cat f1 f2 d1/g1 ld/g2 labs/g3; cat nope d1/nope 2>/dev/null; echo $?",
        "sh",
    ],
    &["sh", "-c", "ls -laiR $1; ls $1/d3; stat -c '%n %i %s %a %Y %N' $1/* $1/d2/*", "sh"],
    &[
        "bash",
        "-c",
        "for f in $1/f* $1/d1/*; do [ -p $f ] || read l < $f; echo $f $l; done; test -e $1/no || cd $1 && pwd",
        "bash",
    ],
    &["sh", "-c", "find -L $1 -printf '%p %i %y %l %s\\n' | sort", "sh"],
    &[
        "python3",
        "-c",
        "import os,sys; t=sys.argv[1]; print([(d, sorted(n), sorted(f)) for d,n,f in sorted(os.walk(t))]);\
      print([(e.name, e.inode(), e.is_file(), e.stat().st_size) for e in sorted(os.scandir(t+'/d1'), key=lambda e: e.name)]);\
      print(open(t+'/f3').read(), os.path.realpath(t+'/ld/g1'), os.path.exists(t+'/nope'), os.listxattr(t+'/f1'))",
    ],
];

#[test]
fn programs_with_a_damaged_stage_run_as_without_it_and_the_log_says_why() {
    let case = Case::new();
    let with_tree = |program: &[&'static str]| [program, &[case.tree()]].concat();
    let run = |mut c: Command| shown(&c.output().unwrap()).replace(case.tree(), "TREE");
    let bare: Vec<String> =
        PROGRAMS.iter().map(|p| run(case.shipped.bare(&with_tree(p)))).collect();
    for shown in &bare {
        assert!(shown.starts_with("exit status: 0\n") && shown.lines().count() > 4, "{shown}");
    }
    let by_root = if rustix::process::geteuid().is_root() { DAMAGES_BY_ROOT } else { &[] };
    for (what, said, damage) in DAMAGES.iter().chain(by_root) {
        damage(&case.shipped.stage);
        let log = case.said();
        assert!(log.contains(said) && log.lines().count() == 2, "{what}: {log}");
        for (program, bare) in PROGRAMS.iter().zip(&bare) {
            let staged = run(case.shipped.interposed(&with_tree(program)));
            assert_eq!(bare, &staged, "bare on the left, {what}: {program:?}");
        }
        case.mend();
    }
}

#[test]
fn staged_files_that_are_gone_are_read_from_the_original() {
    let case = Case::new();
    let staged = case.shipped.stage.join("fs").join(case.tree().trim_start_matches('/'));
    for name in ["f1", "d1/g1", "l2"] {
        fs::remove_file(staged.join(name)).unwrap();
    }
    fs::remove_dir_all(staged.join("d2")).unwrap();
    let read = [
        "sh",
        "-c",
        "cd $1; cat f1 l1 l2 d1/g1 ld/g1 labs/g1; ls d2; stat -c %s f1 d2/g1",
        "sh",
        case.tree(),
    ];
    let bare = shown(&case.shipped.bare(&read).output().unwrap());
    assert_eq!(bare, shown(&case.shipped.interposed(&read).output().unwrap()));
    assert!(bare.starts_with("exit status: 0"), "{bare}");
}

#[test]
fn garbage_in_variables_changes_nothing() {
    let case = Case::new();
    let long = "/x".repeat(3000);
    let stage = case.shipped.stage.to_str().unwrap();
    let slashed = format!("{stage}/");
    let values = [
        "/",
        "//",
        "/nope",
        ".",
        "x",
        "/dev/null",
        "/proc/self/mem",
        &long,
        &slashed,
        "\u{fffd}\n%s%n",
        " ",
    ];
    let program =
        ["sh", "-c", "cd $1; cat f1 ld/g1; ls; cat nope 2>/dev/null; echo $?", "sh", case.tree()];
    let bare = shown(&case.shipped.bare(&program).output().unwrap());
    for name in ["PYSHM_STAGE", "PYSHM_DISABLE", "PYSHM_NONE"] {
        for value in values {
            let mut c = case.shipped.interposed(&program);
            assert_eq!(bare, shown(&c.env(name, value).output().unwrap()), "{name}={value}");
            let silent = shown(&c.env("PYSHM_LOG", "0").output().unwrap());
            assert_eq!(bare, silent, "{name}={value} PYSHM_LOG=0");
        }
    }
    let log = |name: &str, value: &str| {
        let mut c = case.shipped.interposed(&["true"]);
        shown(&c.env("PYSHM_LOG", "yes").env(name, value).output().unwrap())
    };
    assert!(log("PYSHM_DISABLE", "1").contains("pyshm: inactive: PYSHM_DISABLE is set ("));
    assert!(log("PYSHM_STAGE", "x").contains("pyshm: inactive: PYSHM_STAGE is no usable"));
    assert!(log("PYSHM_STAGE", "/nope").contains("directory cannot be opened (/nope)"));
    assert!(log("PYSHM_STAGE", stage).contains(&format!("pyshm: active ({stage})")));
}

/// A generator of random numbers, the same in each run (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n as u64) as usize
    }

    /// Makes a random text for a variable.
    fn text(&mut self) -> OsString {
        let len = self.below(300);
        let mut text: Vec<u8> = (0..len).map(|_| 1 + self.below(255) as u8).collect();
        if self.below(2) == 0 {
            text.insert(0, b'/');
        }
        OsString::from_vec(text)
    }

    /// Damages random bytes behind the first `keep`.
    fn damage(&mut self, bytes: &mut Vec<u8>, keep: usize) {
        for _ in 0..1 << self.below(8) {
            let at = keep + self.below(bytes.len() - keep);
            let len = (self.below(20) * self.below(200)).min(bytes.len() - at);
            match self.below(5) {
                0..=2 => bytes[at] ^= 1 << self.below(8),
                3 => bytes[at..at + len].fill(self.below(2) as u8 * 255),
                _ => {
                    let to = keep + self.below(bytes.len() - keep - len);
                    bytes.copy_within(at..at + len, to);
                }
            }
        }
        if self.below(20) == 0 {
            bytes.truncate(self.below(bytes.len()));
        }
    }
}

#[test]
fn thousands_of_random_damages_change_nothing() {
    let case = Case::new();
    let shipped = &case.shipped;
    let program = shipped.path("damage");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/probes/damage.c");
    let cc = Command::new("cc").args(["-O1", "-w", "-o"]).arg(&program).arg(source).status();
    assert!(cc.unwrap().success());
    let probe = [program.to_str().unwrap(), case.tree()];
    let bare = shown(&shipped.bare(&probe).output().unwrap());
    assert!(bare.starts_with("exit status: 0\n") && bare.lines().count() > 400, "{bare}");
    let (index, states) = (shipped.stage.join("index"), shipped.stage.join("state"));
    let (whole_index, whole_state) = (fs::read(&index).unwrap(), fs::read(&states).unwrap());
    let head = u32::from_le_bytes(*whole_index[36..].first_chunk().unwrap()) as usize;
    let starts = std::env::var("PYSHM_DAMAGE").map_or(STARTS, |n| n.parse().unwrap());
    let (mut answered, mut passed) = (0, 0);
    for start in 0..starts {
        let mut random = Random(start as u64);
        let mut command = shipped.interposed(&probe);
        let kind = random.below(10);
        let (mut bad_index, mut bad_state) = (whole_index.clone(), whole_state.clone());
        match kind {
            // Most damage lies behind the head, because the shim rejects an index with one flipped bit in its head.
            0 => random.damage(&mut bad_index, 0),
            1..=6 => random.damage(&mut bad_index, head),
            7 => random.damage(&mut bad_state, 0),
            8 => random.damage(&mut bad_state, state::COUNT),
            _ => {
                for name in [
                    "PYSHM_STAGE",
                    "PYSHM_DISABLE",
                    "PYSHM_LD_PRELOAD",
                    "PYSHM_LD_LIBRARY_PATH",
                    "PYSHM_LOG2",
                ] {
                    if random.below(2) == 0 {
                        command.env(name, random.text());
                    }
                }
            }
        }
        fs::write(&index, &bad_index).unwrap();
        fs::write(&states, &bad_state).unwrap();
        let staged = shown(&command.output().unwrap());
        if bare != staged {
            let differ = bare.lines().zip(staged.lines()).find(|(a, b)| a != b);
            panic!("start {start}, kind {kind}: {differ:?}\n{staged}");
        }
        if (1..=6).contains(&kind) {
            let (a, p) = state::counters(&fs::read(&states).unwrap());
            (answered, passed) = (answered + a, passed + p);
        }
    }
    // The shim must have used the damaged indexes. Operations that met a damaged part must have passed.
    assert!(answered > starts as u64 * 10 && passed > starts as u64 * 10, "{answered} {passed}");
}
