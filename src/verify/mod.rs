//! Compares a bundle, a stage and the tree they were made from, path by path: which of them a job would see anew.
//!
//! Each is taken as a [`View`], with the digest of every file's data as it can be read now, never as something says it
//! was. What a side does not record (data that is not bundled, times of directories that a tar does not name) is not
//! compared.
#![forbid(unsafe_code)]

mod bundle;
mod digests;
mod source;
mod stage;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::manifest::prefix::PrefixRecord;
use crate::text::shown;
pub use crate::verify::bundle::of_bundles;
pub use crate::verify::source::of_source;
pub use crate::verify::stage::of_stage;

/// What a path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link.
    Symlink,
    /// Anything else.
    Other,
}

/// What is known of the data of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// blake3 of it.
    Digest([u8; 32]),
    /// It is not there, and not meant to be.
    Elsewhere,
    /// It is that of this path in the bundles below.
    Below(Vec<u8>),
    /// It should be there and cannot be read, or is not what its own side says.
    Damaged(String),
}

/// What is compared of a path.
#[derive(Debug, Clone)]
pub struct Facts {
    /// What it is.
    pub kind: Type,
    /// Permission bits.
    pub mode: u32,
    /// Owner and group.
    pub owner: (u32, u32),
    /// Bytes.
    pub size: u64,
    /// Last modification; `None` where nothing is recorded.
    pub mtime: Option<(i64, u32)>,
    /// A symbolic link's target.
    pub target: Vec<u8>,
    /// A file's data.
    pub content: Content,
}

/// One side of a comparison.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// "bundle", "stage" or "source".
    pub name: &'static str,
    /// Its paths.
    pub paths: BTreeMap<Vec<u8>, Facts>,
    /// The prefixes it stands for.
    pub prefixes: Vec<PrefixRecord>,
    /// Paths that belong to no other side: what should not be there at all.
    pub strays: Vec<Vec<u8>>,
    /// Bits of modes that it cannot have.
    pub no_modes: u32,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The path, with escapes for what cannot be shown.
    pub path: String,
    /// "content", "size", "missing" …
    pub what: &'static str,
    /// Both sides, in words.
    pub detail: String,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}: {}", self.path, self.what, self.detail)
    }
}

/// What is wrong with one side by itself.
#[must_use]
pub fn alone(view: &View) -> Vec<Difference> {
    let damaged = view.paths.iter().filter_map(|(path, facts)| match &facts.content {
        Content::Damaged(why) => Some(Difference {
            path: shown(path),
            what: "damaged",
            detail: format!("{}: {why}", view.name),
        }),
        _ => None,
    });
    let strays = view.strays.iter().map(|path| Difference {
        path: shown(path),
        what: "stray",
        detail: format!("it is in the {} and in no index", view.name),
    });
    damaged.chain(strays).collect()
}

/// What differs between two sides; what is wrong with one of them by itself is not repeated.
#[must_use]
pub fn compare(one: &View, other: &View) -> Vec<Difference> {
    let mut found = Vec::new();
    let (a, b) = (one.name, other.name);
    let mut say =
        |path: &[u8], what, detail| found.push(Difference { path: shown(path), what, detail });
    for (path, mine) in &one.paths {
        let Some(theirs) = other.paths.get(path) else {
            say(path, "missing", format!("it is in the {a} and not in the {b}"));
            continue;
        };
        if mine.kind != theirs.kind {
            say(path, "type", format!("{a} {:?}, {b} {:?}", mine.kind, theirs.kind).to_lowercase());
            continue;
        }
        let modes = 0o7777 & !(one.no_modes | other.no_modes);
        if mine.kind != Type::Symlink && (mine.mode ^ theirs.mode) & modes != 0 {
            say(
                path,
                "mode",
                format!("{a} {:04o}, {b} {:04o}", mine.mode & 0o7777, theirs.mode & 0o7777),
            );
        }
        if mine.owner != theirs.owner {
            let ((u, g), (v, h)) = (mine.owner, theirs.owner);
            say(path, "owner", format!("{a} {u}:{g}, {b} {v}:{h}"));
        }
        if let (Some(x), Some(y)) = (mine.mtime, theirs.mtime)
            && !same_time(x, y)
        {
            say(path, "mtime", format!("{a} {}.{:09}, {b} {}.{:09}", x.0, x.1, y.0, y.1));
        }
        if mine.target != theirs.target {
            say(
                path,
                "target",
                format!("{a} {}, {b} {}", shown(&mine.target), shown(&theirs.target)),
            );
        }
        if mine.kind == Type::File {
            if mine.size != theirs.size {
                say(path, "size", format!("{a} {}, {b} {}", mine.size, theirs.size));
            } else if let (Content::Digest(x), Content::Digest(y)) =
                (&mine.content, &theirs.content)
                && x != y
            {
                let hex = |digest: &[u8; 32]| {
                    blake3::Hash::from_bytes(*digest).to_hex()[..16].to_string()
                };
                say(path, "content", format!("{a} {}, {b} {}", hex(x), hex(y)));
            }
        }
    }
    for path in other.paths.keys().filter(|path| !one.paths.contains_key(*path)) {
        if !passes(one, path) {
            say(path, "missing", format!("it is in the {b} and not in the {a}"));
        }
    }
    found
}

/// Old tars, and some file systems, know whole seconds.
fn same_time(a: (i64, u32), b: (i64, u32)) -> bool {
    a == b || (a.0 == b.0 && (a.1 == 0 || b.1 == 0))
}

/// Whether a side lets a path that it does not know pass to the shared file system.
fn passes(view: &View, path: &[u8]) -> bool {
    let below = |p: &&PrefixRecord| {
        path.strip_prefix(p.path.as_slice()).is_some_and(|rest| rest.first() == Some(&b'/'))
    };
    let prefix = view.prefixes.iter().find(below);
    prefix.is_some_and(|p| p.mode == crate::manifest::Mode::Overlay)
}
