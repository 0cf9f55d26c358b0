//! Tells the user about staging: the line at the end, warnings, and the timelines of the nodes.
#![forbid(unsafe_code)]

use crate::instrument::timeline;
use crate::protocol::events::Ready;
use crate::text::bytes;

/// Prints warnings about bundles.
pub fn warn(warnings: &[String]) {
    for warning in warnings {
        warn_line!("pyshm-run: warning: {warning}");
    }
}

/// Prints the timelines of the nodes if `ready` has them, that is if `--timeline` was given.
pub fn show_timeline(ready: &Ready) {
    if !ready.timeline.is_empty() {
        let table = timeline::table(&ready.timeline);
        warn_line!("pyshm-run: busy while staging:\n{}", table.trim_end());
    }
}

/// Returns the line that says at the end what staging did. `answered` is the number of operations that were answered
/// locally, if known.
#[must_use]
pub fn line(ready: &Ready, answered: Option<u64>) -> String {
    let nodes = match ready.nodes {
        1 => "this node".to_string(),
        n => format!("{n} nodes"),
    };
    let mut parts = Vec::new();
    if ready.bundle_bytes == 0 && ready.adopted > 0 {
        parts.push("no bundle was read".to_string());
    } else if ready.bundle_bytes == 0 {
        parts.push(format!("the stage was there already on {nodes}"));
    } else {
        parts.push(format!("{} bundle", bytes(ready.bundle_bytes)));
        if ready.nodes > 1 {
            parts.push(format!("broadcast to {nodes} in {:.1} s", ready.broadcast_seconds));
            parts.push(format!("unpacked in {:.1} s", ready.unpack_seconds));
        } else {
            parts.push(format!("unpacked on {nodes} in {:.1} s", ready.unpack_seconds));
        }
    }
    if ready.adopted > 0 {
        let names = ready.adopted_from.iter().filter_map(|stage| stage.file_name());
        let names: Vec<_> = names.map(|name| name.to_string_lossy()).collect();
        let from = match names.len() {
            0 => "other stages".to_string(),
            1 => format!("stage {}", names[0]),
            _ => format!("stages {}", names.join(" and ")),
        };
        let on =
            if ready.nodes > 1 { format!(" on {} of them", ready.adopted) } else { String::new() };
        parts.push(format!("{} taken from {from}{on}", bytes(ready.adopted_bytes)));
    }
    if (ready.bundle_bytes > 0 || ready.adopted > 0) && ready.reused > 0 {
        parts.push(format!("there already on {} of them", ready.reused));
    }
    if ready.changed > 0 {
        parts.push(format!("{} paths changed since they were packed", grouped(ready.changed)));
    }
    if ready.staged < ready.nodes {
        parts.push(format!("{} of them without a stage", ready.nodes - ready.staged));
    }
    if let Some(answered) = answered {
        parts.push(format!("{} operations answered locally", grouped(answered)));
    }
    parts.join(", ")
}

/// Writes a number with commas between groups of three digits: `24,512`.
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_what_was_delivered() {
        let ready = Ready {
            nodes: 4,
            staged: 4,
            bundle_bytes: 175_200_000,
            broadcast_seconds: 0.8,
            unpack_seconds: 1.9,
            ..Ready::default()
        };
        assert_eq!(
            line(&ready, Some(24512)),
            "175.2 MB bundle, broadcast to 4 nodes in 0.8 s, unpacked in 1.9 s, 24,512 operations answered locally"
        );
        let here = Ready { nodes: 1, staged: 1, ..ready.clone() };
        assert_eq!(line(&here, None), "175.2 MB bundle, unpacked on this node in 1.9 s");
        let partly = Ready {
            adopted: 3,
            adopted_bytes: 512_000_000,
            adopted_from: vec!["/dev/shm/pyshm-0/00ff".into()],
            ..ready.clone()
        };
        let said = line(&partly, None);
        assert!(said.ends_with("1.9 s, 512.0 MB taken from stage 00ff on 3 of them"), "{said}");
        let again = Ready { bundle_bytes: 0, ..ready };
        assert_eq!(
            line(&again, Some(7)),
            "the stage was there already on 4 nodes, 7 operations answered locally"
        );
    }
}
