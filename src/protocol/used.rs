//! What a job has had of its stages: operations that were answered, and why stages were closed, so that nothing was
//! answered from them any more.
#![forbid(unsafe_code)]

use pyshm_format::Reason;
use serde::{Deserialize, Serialize};

/// What a job has had of its stages.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used {
    /// Number of operations that were answered locally, on all nodes.
    pub answered: u64,
    /// Number of operations below a prefix that went to the shared file system, on all nodes.
    pub passed: u64,
    /// Why stages are closed.
    #[serde(default)]
    pub closings: Closings,
}

/// Why the stages of some nodes are closed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closings {
    /// Number of nodes whose stage is closed.
    pub nodes: u64,
    /// How often each reason arose, in the order of [`Reason::ALL`].
    pub times: Vec<u64>,
    /// A program that closed a stage; empty if none is known.
    #[serde(default)]
    pub program: String,
}

impl Closings {
    /// What the bytes of a state file say.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let found = pyshm_format::Closings::of(bytes);
        if found.reasons.is_empty() {
            return Self::default();
        }
        Self {
            nodes: 1,
            times: found.times.to_vec(),
            program: String::from_utf8_lossy(found.program).into_owned(),
        }
    }

    /// Whether no stage is closed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes == 0
    }

    /// The reasons that arose, and how often.
    pub fn reasons(&self) -> impl Iterator<Item = (Reason, u64)> {
        let counted = Reason::ALL.into_iter().zip(self.times.iter().copied());
        counted.filter(|(_, times)| *times > 0)
    }

    /// The reasons for people; empty if no stage is closed.
    #[must_use]
    pub fn text(&self) -> String {
        let reason = |(reason, times): (Reason, u64)| {
            let program = match reason {
                Reason::Removed | Reason::Full | Reason::Damaged => "",
                _ => self.program.as_str(),
            };
            let first = if times > 1 { "first " } else { "" };
            match (program, times) {
                ("", 0 | 1) => reason.text().to_string(),
                ("", _) => format!("{} ({times} times)", reason.text()),
                (_, 0 | 1) => format!("{} ({program})", reason.text()),
                _ => format!("{} ({times} times, {first}{program})", reason.text()),
            }
        };
        self.reasons().map(reason).collect::<Vec<_>>().join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reasons_are_said_with_their_numbers_and_the_program() {
        assert_eq!(Closings::of(&[0; 8192]), Closings::default());
        let mut bytes = [0; 8192];
        bytes[pyshm_format::state::CLOSED] = Reason::Unshimmed.bit();
        let known = Closings::of(&bytes);
        assert_eq!(known.text(), Reason::Unshimmed.text());
        bytes[pyshm_format::state::TIMES + 8 * Reason::Unshimmed as usize] = 3;
        bytes[pyshm_format::state::PROGRAM..][..4].copy_from_slice(b"/bin");
        let known = Closings::of(&bytes);
        assert!(known.text().ends_with("(3 times, first /bin)"), "{}", known.text());
        assert!(!known.is_empty() && known.reasons().count() == 1);
    }
}
