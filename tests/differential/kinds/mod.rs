//! Tells which kinds a tree or a step belongs to, and which kinds a random program may contain.
//!
//! A kind is a group of situations in which the two runs may differ. If a kind is off, the runs are known to differ in
//! these situations, and trees and steps of this kind are not generated. Turn the kind on in [`KINDS`] when pyshm no
//! longer differs there. `PYSHM_DIFFERENTIAL_ALL=1` turns all kinds on, and `PYSHM_DIFFERENTIAL_KINDS=lock,mount` turns
//! some kinds on.
//!
//! ```text
//! table      the kinds
//! met        the kinds that a step belongs to
//! deeds      the objects that a step names, and what the step does to them
//! now        the state of the processes before a step
//! ```

mod deeds;
mod met;
mod now;
mod table;

pub use now::Now;
pub use table::Kind;

use crate::program::User;
use table::KINDS;

/// The kinds that programs may contain.
#[derive(Debug, Clone)]
pub struct Kinds {
    off: Vec<Kind>,
}

impl Kinds {
    /// The kinds that are on in the table or in the environment.
    pub fn chosen() -> Self {
        let all = std::env::var_os("PYSHM_DIFFERENTIAL_ALL").is_some();
        let some = std::env::var("PYSHM_DIFFERENTIAL_KINDS").unwrap_or_default();
        let some: Vec<_> = some.split(',').collect();
        let off =
            KINDS.iter().filter(|(_, name, why)| why.is_some() && !all && !some.contains(name));
        Self { off: off.map(|(kind, ..)| *kind).collect() }
    }

    /// Whether a kind is known to differ.
    pub fn is_off(&self, kind: Kind) -> bool {
        self.off.contains(&kind)
    }

    /// Whether the kind of this name is known to differ. Fails if there is no such kind.
    pub fn is_name_off(&self, name: &str) -> Result<bool, String> {
        let kind = KINDS.iter().find(|(_, known, ..)| *known == name);
        kind.map(|(kind, ..)| self.is_off(*kind)).ok_or_else(|| format!("there is no kind {name}"))
    }

    /// Whether a tree may have this line.
    pub fn allow_line(&self, line: &str, user: User) -> bool {
        let words: Vec<_> = line.split(' ').collect();
        let kind = match words[..] {
            ["bind", ..] => Kind::Mount,
            ["hard", name, _] if !name.starts_with("{E}") => Kind::OutsideLink,
            [_, name, ..] if user == User::Ordinary && is_closed(name) => Kind::Permission,
            _ => return true,
        };
        !self.is_off(kind)
    }

    /// Whether a step may be performed now.
    pub fn allow_step(&self, now: &Now<'_>, step: &str) -> bool {
        self.off.is_empty() || !now.kinds_of(step).iter().any(|kind| self.is_off(*kind))
    }
}

/// Whether only root may read or search an object of this name in a tree.
fn is_closed(name: &str) -> bool {
    ["priv", "blind", "mute", "secret"].iter().any(|closed| name.contains(closed))
}
