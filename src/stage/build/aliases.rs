//! Tells which other names of a prefix hold on this node. They were recorded where the bundle was packed; here such a name
//! may be missing, closed to the user, or lead elsewhere.
//!
//! A name that does not hold is left to the kernel, like any other link that leads into a prefix.
#![forbid(unsafe_code)]

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Whether `alias` leads to `prefix` on this node. Where both are missing, the bundle stands for both.
pub(super) fn holds(prefix: &Path, alias: &Path) -> bool {
    let missing = |kind| matches!(kind, ErrorKind::NotFound | ErrorKind::NotADirectory);
    match (prefix.metadata(), alias.metadata()) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        (Err(one), Err(other)) => missing(one.kind()) && missing(other.kind()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::holds;

    #[test]
    fn an_alias_holds_where_it_leads_to_its_prefix() {
        let dir = tempfile::tempdir().unwrap();
        let [real, other, alias] = ["real", "other", "alias"].map(|name| dir.path().join(name));
        assert!(holds(&real, &alias));
        std::fs::create_dir(&real).unwrap();
        assert!(!holds(&real, &alias));
        std::fs::create_dir(&other).unwrap();
        symlink(&other, &alias).unwrap();
        assert!(!holds(&real, &alias));
        std::fs::remove_file(&alias).unwrap();
        symlink(&real, &alias).unwrap();
        assert!(holds(&real, &alias));
        std::fs::remove_file(&alias).unwrap();
        symlink("alias", &alias).unwrap();
        assert!(!holds(&real, &alias));
        std::fs::remove_dir(&real).unwrap();
        assert!(!holds(&real, &alias));
    }
}
