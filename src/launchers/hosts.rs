//! Reads the names of nodes from host lists, host files and Slurm's bracketed lists, and tells which name is this
//! node's.
#![forbid(unsafe_code)]

use std::collections::HashSet;

/// A node, and the number of ranks that this node takes before the next node gets a rank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// The name, as the user wrote it.
    pub name: String,
    /// The number of ranks; `None` if the launcher counts the node's cores.
    pub slots: Option<usize>,
}

impl Host {
    /// Returns a node with `slots`.
    pub fn new(name: impl Into<String>, slots: Option<usize>) -> Self {
        Self { name: name.into(), slots }
    }

    /// Adds `slots`, for a node that is named again.
    pub fn add_slots(&mut self, slots: Option<usize>) {
        self.slots = self.slots.zip(slots).map(|(a, b)| a + b);
    }
}

/// Reads a comma-separated list, `a,b:4`. A host without a number has `default` slots.
pub fn comma_list(text: &str, default: Option<usize>) -> Vec<Host> {
    text.split(',')
        .map(str::trim)
        .filter(|t| !t.is_empty())
        .map(|t| with_slots(t, default))
        .collect()
}

/// Reads `name` or `name:4`. A host without a number has `default` slots.
pub fn with_slots(text: &str, default: Option<usize>) -> Host {
    match text.rsplit_once(':').and_then(|(name, n)| Some((name, n.parse().ok()?))) {
        Some((name, slots)) => Host::new(name, Some(slots)),
        None => Host::new(text, default),
    }
}

/// Returns the lines of a host file, without comments and empty lines.
pub fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .map(|line| line.split('#').next().unwrap_or("").trim())
        .filter(|line| !line.is_empty())
}

/// Merges hosts of the same name into the first of them, with the sum of their slots.
pub fn merge_same_names(hosts: impl IntoIterator<Item = Host>) -> Vec<Host> {
    let mut merged: Vec<Host> = Vec::new();
    for host in hosts {
        match merged.iter_mut().find(|known| known.name == host.name) {
            Some(known) => known.add_slots(host.slots),
            None => merged.push(host),
        }
    }
    merged
}

/// Returns the nodes that get a rank when `ranks` ranks fill `hosts` one after the other. Each node takes `per_node`
/// ranks if that is given, else as many as it has slots. If the number of ranks, or the number of a node's slots, is
/// not known, all further nodes are returned too: a node too many makes staging longer, but a missing node makes the
/// job fail.
pub fn filled(hosts: &[Host], ranks: Option<usize>, per_node: Option<usize>) -> Vec<String> {
    let mut left = ranks;
    let mut used = Vec::new();
    let mut seen = HashSet::new();
    for host in hosts {
        if left == Some(0) {
            break;
        }
        if seen.insert(host.name.clone()) {
            used.push(host.name.clone());
        }
        left = match (left, per_node.or(host.slots)) {
            (Some(left), Some(slots)) => Some(left.saturating_sub(slots)),
            _ => None,
        };
    }
    used
}

/// Expands a node list of Slurm, `n[1-3,07],login`, to names; `None` when it is not understood.
pub fn expand_slurm_list(list: &str) -> Option<Vec<String>> {
    let mut names = Vec::new();
    for part in outside_brackets(list)? {
        expand_one(part, &mut names)?;
    }
    Some(names)
}

/// Splits a list at the commas that are not in brackets; `None` when a bracket is missing.
fn outside_brackets(list: &str) -> Option<Vec<&str>> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0usize, 0);
    for (i, c) in list.char_indices() {
        match c {
            '[' => depth += 1,
            ']' => depth = depth.checked_sub(1)?,
            ',' if depth == 0 => {
                parts.push(&list[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    parts.push(&list[start..]);
    (depth == 0).then(|| parts.into_iter().filter(|p| !p.is_empty()).collect())
}

/// Adds the names that `part`, with any number of brackets, stands for.
fn expand_one(part: &str, names: &mut Vec<String>) -> Option<()> {
    let Some(open) = part.find('[') else {
        names.push(part.to_string());
        return Some(());
    };
    let close = open + part[open..].find(']')?;
    for range in part[open + 1..close].split(',') {
        let (low, high) = range.split_once('-').unwrap_or((range, range));
        // The names are as wide as the first number: n[008-010] has leading zeros.
        let width = low.len();
        let (low, high): (u64, u64) = (low.parse().ok()?, high.parse().ok()?);
        if high < low || high - low > 1_000_000 {
            return None;
        }
        for number in low..=high {
            let name = format!("{}{number:0width$}{}", &part[..open], &part[close + 1..]);
            expand_one(&name, names)?;
        }
    }
    Some(())
}

/// Expands a list of Slurm, `2(x3),1`, to one number for each node; `None` when it is not understood.
pub fn expand_slurm_counts(text: &str) -> Option<Vec<usize>> {
    let mut numbers = Vec::new();
    for part in text.split(',') {
        let (number, times) = match part.split_once("(x") {
            Some((number, times)) => (number, times.strip_suffix(')')?.parse().ok()?),
            None => (part, 1),
        };
        let number: usize = number.trim().parse().ok()?;
        numbers.extend(std::iter::repeat_n(number, times));
    }
    Some(numbers)
}

/// Whether `name` means the node that calls itself `here`.
pub fn is_same_node(name: &str, here: &str) -> bool {
    if name == "localhost" || name == "::1" || name.starts_with("127.") || name == here {
        return true;
    }
    let short = |n: &str| n.split('.').next().unwrap_or(n).to_string();
    // "n1" and "n1.site.org" are one node; "n1.a" and "n1.b" are two.
    (!name.contains('.') || !here.contains('.')) && short(name) == short(here)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slurm_lists_expand_with_their_zeros() {
        assert_eq!(expand_slurm_list("n[1-2,07],login").unwrap(), ["n1", "n2", "n07", "login"]);
        assert_eq!(
            expand_slurm_list("r[1-2]n[08-09]").unwrap(),
            ["r1n08", "r1n09", "r2n08", "r2n09"]
        );
        assert_eq!(expand_slurm_list("n[1-"), None);
        assert_eq!(expand_slurm_counts("2(x3),1").unwrap(), [2, 2, 2, 1]);
    }

    #[test]
    fn ranks_fill_one_node_after_the_other() {
        let hosts = comma_list("a:2,b:2,c:2", Some(1));
        assert_eq!(filled(&hosts, Some(3), None), ["a", "b"]);
        assert_eq!(filled(&hosts, Some(3), Some(1)), ["a", "b", "c"]);
        assert_eq!(filled(&hosts, None, None), ["a", "b", "c"]);
        assert_eq!(filled(&comma_list("a,b", None), Some(1), None), ["a", "b"]);
    }

    #[test]
    fn this_node_is_known_by_its_short_name_too() {
        assert!(is_same_node("localhost", "n1"));
        assert!(is_same_node("n1", "n1.site.org"));
        assert!(is_same_node("n1.site.org", "n1"));
        assert!(!is_same_node("n1.a", "n1.b"));
        assert!(!is_same_node("n2", "n1"));
    }
}
