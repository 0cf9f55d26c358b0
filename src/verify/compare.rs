//! Compares two views, and lists the problems of each view alone.
#![forbid(unsafe_code)]

use serde::Serialize;

use crate::text::shown;
use crate::verify::view::{Facts, FileContent, PathType, View};

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The path, with its control characters escaped.
    pub path: String,
    /// "content", "size", "missing" …
    pub what: &'static str,
    /// Both sides, in words.
    pub detail: String,
}

impl Difference {
    fn new(path: &[u8], what: &'static str, detail: String) -> Self {
        Self { path: shown(path), what, detail }
    }
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}: {}", self.path, self.what, self.detail)
    }
}

/// Lists the problems of one side, such as damaged data, that show without a comparison.
#[must_use]
pub fn own_problems(view: &View) -> Vec<Difference> {
    let damaged = view.paths.iter().filter_map(|(path, facts)| match &facts.content {
        FileContent::Damaged(why) => {
            Some(Difference::new(path, "damaged", format!("{}: {why}", view.name)))
        }
        _ => None,
    });
    let strays = view.strays.iter().map(|path| {
        Difference::new(path, "stray", format!("it is in the {} and in no index", view.name))
    });
    damaged.chain(strays).collect()
}

/// Lists the differences between two sides, without the problems of [`own_problems`].
#[must_use]
pub fn compare(one: &View, other: &View) -> Vec<Difference> {
    let (a, b) = (one.name, other.name);
    let mut found = Vec::new();
    for (path, mine) in &one.paths {
        match other.paths.get(path) {
            Some(theirs) => compare_path(path, (one, mine), (other, theirs), &mut found),
            None => {
                let detail = format!("it is in the {a} and not in the {b}");
                found.push(Difference::new(path, "missing", detail));
            }
        }
    }
    for path in other.paths.keys().filter(|path| !one.paths.contains_key(*path)) {
        if !one.passes(path) {
            let detail = format!("it is in the {b} and not in the {a}");
            found.push(Difference::new(path, "missing", detail));
        }
    }
    found
}

/// Compares a path that both sides have.
fn compare_path(
    path: &[u8],
    (one, mine): (&View, &Facts),
    (other, theirs): (&View, &Facts),
    found: &mut Vec<Difference>,
) {
    let (a, b) = (one.name, other.name);
    let mut differs = |what, detail| found.push(Difference::new(path, what, detail));
    if mine.kind != theirs.kind {
        let detail = format!("{a} {:?}, {b} {:?}", mine.kind, theirs.kind).to_lowercase();
        differs("type", detail);
        return;
    }
    let modes = 0o7777 & !(one.unrecorded_modes | other.unrecorded_modes);
    if mine.kind != PathType::Symlink && (mine.mode ^ theirs.mode) & modes != 0 {
        let (x, y) = (mine.mode & 0o7777, theirs.mode & 0o7777);
        differs("mode", format!("{a} {x:04o}, {b} {y:04o}"));
    }
    if mine.owner != theirs.owner {
        let ((u, g), (v, h)) = (mine.owner, theirs.owner);
        differs("owner", format!("{a} {u}:{g}, {b} {v}:{h}"));
    }
    if let (Some(x), Some(y)) = (mine.mtime, theirs.mtime)
        && !is_same_time(x, y)
    {
        differs("mtime", format!("{a} {}.{:09}, {b} {}.{:09}", x.0, x.1, y.0, y.1));
    }
    if mine.target != theirs.target {
        let (x, y) = (shown(&mine.target), shown(&theirs.target));
        differs("target", format!("{a} {x}, {b} {y}"));
    }
    if mine.kind != PathType::File {
        return;
    }
    if mine.size != theirs.size {
        differs("size", format!("{a} {}, {b} {}", mine.size, theirs.size));
    } else if let (FileContent::Digest(x), FileContent::Digest(y)) =
        (&mine.content, &theirs.content)
        && x != y
    {
        let hex = |digest: &[u8; 32]| blake3::Hash::from_bytes(*digest).to_hex()[..16].to_string();
        differs("content", format!("{a} {}, {b} {}", hex(x), hex(y)));
    }
}

/// Whether two times are equal. If one of them has no fraction, only the seconds are compared, because old tars and
/// some file systems record whole seconds.
fn is_same_time(a: (i64, u32), b: (i64, u32)) -> bool {
    a == b || (a.0 == b.0 && (a.1 == 0 || b.1 == 0))
}
