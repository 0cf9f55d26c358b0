//! Makes a program that differs short. Delta debugging removes steps and lines of the tree, and then the words of the
//! steps are made plainer.

use std::time::{Duration, Instant};

use crate::program::Program;
use crate::twins::{self, Difference, Ground, What};

/// The time after which shortening ends.
const PATIENCE: Duration = Duration::from_secs(60);

/// The properties that a shorter program must keep: the part that differs, and the verb of the step that shows this.
type Signature = (What, String);

/// The verb of a step.
pub fn verb_of(step: &str) -> &str {
    let mut words = step.split(' ');
    match words.next() {
        Some(word) if word.len() == 1 && word.as_bytes()[0].is_ascii_digit() => {
            words.next().unwrap_or("")
        }
        word => word.unwrap_or(""),
    }
}

fn signature(program: &Program, difference: &Difference) -> Signature {
    (difference.what, verb_of(&program.steps[difference.step]).to_string())
}

struct Shortener<'a> {
    ground: &'a Ground,
    wanted: Signature,
    best: Program,
    difference: Difference,
    until: Instant,
}

impl Shortener<'_> {
    /// Whether a shorter program still has the same signature. If so, it becomes the best program so far.
    fn accept(&mut self, mut candidate: Program) -> bool {
        if Instant::now() > self.until {
            return false;
        }
        let Ok(Some(difference)) = twins::run(self.ground, &candidate) else { return false };
        if signature(&candidate, &difference) != self.wanted {
            return false;
        }
        candidate.steps.truncate(difference.step + 1);
        self.best = candidate;
        self.difference = difference;
        true
    }

    /// Leaves out parts of a list of lines, in halves, quarters and so on down to single lines.
    fn reduce(&mut self, lines_of: impl Fn(&mut Program) -> &mut Vec<String>) {
        let mut size = lines_of(&mut self.best).len().div_ceil(2).max(1);
        loop {
            let mut from = lines_of(&mut self.best).len();
            while from > 0 {
                let to = from.min(lines_of(&mut self.best).len());
                from = to.saturating_sub(size);
                let mut candidate = self.best.clone();
                lines_of(&mut candidate).drain(from..to);
                self.accept(candidate);
            }
            if size == 1 {
                return;
            }
            size = size.div_ceil(2);
        }
    }

    /// Replaces words by plainer ones.
    fn simplify(&mut self) {
        for n in (0..self.best.steps.len()).rev() {
            let Some(step) = self.best.steps.get(n).cloned() else { continue };
            for plainer in plainer_steps(&step) {
                let mut candidate = self.best.clone();
                candidate.steps[n] = plainer;
                if self.accept(candidate) {
                    break;
                }
            }
        }
    }
}

fn plainer_steps(step: &str) -> Vec<String> {
    let mut plainer = Vec::new();
    let words: Vec<_> = step.split(' ').collect();
    if words[0].len() == 1 && words[0].as_bytes()[0].is_ascii_digit() {
        plainer.push(words[1..].join(" "));
    }
    for (n, word) in words.iter().enumerate().skip(1) {
        let mut with = |new: String| {
            let mut words = words.clone();
            words[n] = &new;
            plainer.push(words.join(" "));
        };
        if word.contains('|') {
            let flags: Vec<_> = word.split('|').collect();
            for left_out in 0..flags.len() {
                let mut fewer = flags.clone();
                fewer.remove(left_out);
                with(fewer.join("|"));
            }
        }
        for (complex, plain) in [("//", "/"), ("/./", "/"), ("{M}/alias/", "{E}/"), ("/../p/", "/")]
        {
            if word.contains(complex) {
                with(word.replace(complex, plain));
            }
        }
    }
    plainer
}

/// Returns the shortest program that was found, and its difference. It differs in the same part, at the same verb.
pub fn shorten(
    ground: &Ground,
    program: &Program,
    difference: &Difference,
) -> (Program, Difference) {
    let mut best = program.clone();
    best.steps.truncate(difference.step + 1);
    let mut shortener = Shortener {
        ground,
        wanted: signature(program, difference),
        best,
        difference: difference.clone(),
        until: Instant::now() + PATIENCE,
    };
    for _ in 0..3 {
        let before = shortener.best.to_string();
        shortener.reduce(|program| &mut program.steps);
        shortener.reduce(|program| &mut program.opened);
        shortener.reduce(|program| &mut program.tree);
        shortener.simplify();
        if shortener.best.to_string() == before {
            break;
        }
    }
    (shortener.best, shortener.difference)
}
