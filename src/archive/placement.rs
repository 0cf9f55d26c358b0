//! Maps the names of an archive's members to paths below the prefix that the user named.
//!
//! The names of members may include none of the prefix (`tar -C DIR .`, conda-pack), its last part (`tar -C /opt/envs
//! science`), all of it (`tar -C / opt/envs/science`), or all of it with the leading slash (`tar -P`). The first member
//! that is not a directory above the prefix decides which of these forms a tar has. The names of all later members must
//! have the same form.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::archive::error::MemberProblem;
use crate::archive::members::{MemberKind, Members};
use crate::error::{Error, Result};
use crate::manifest::entry::EntryStat;
use crate::manifest::prefix::{Mode, PrefixRecord, aliases_of, bytes_of};
use crate::manifest::walk;

/// The most directories above the prefix that may precede the member that decides the form of the names.
const MOST_ABOVE: usize = 64;

/// A prefix, and which part of it the names of members include.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Placement {
    /// The prefix.
    pub prefix: PrefixRecord,
    /// The `lstat` of the prefix directory, if it exists. The stage shows its inode number, because a listing of the
    /// parent directory shows this number too.
    pub stat: Option<EntryStat>,
    /// How many of the prefix's last parts a relative name begins with.
    anchor: usize,
}

impl Placement {
    /// Places members below `prefix`, which need not exist.
    ///
    /// # Errors
    /// [`Error::Usage`] when it cannot be a prefix.
    pub fn below(prefix: &Path) -> Result<Self> {
        let spelled = std::path::absolute(prefix).map_err(Error::read("prefix", prefix))?;
        let real = std::fs::canonicalize(prefix);
        if real.is_err() && spelled.components().any(|c| c == Component::ParentDir) {
            return Err(Error::Usage(format!(
                "failed to use {} as a prefix: the prefix does not exist, so '..' in its path cannot be resolved; write \
                 the path without '..'",
                prefix.display()
            )));
        }
        let stat = real.as_ref().ok().and_then(|real| real.symlink_metadata().ok());
        if stat.as_ref().is_some_and(|m| !m.is_dir()) {
            let cause = std::io::ErrorKind::NotADirectory.into();
            return Err(Error::read("prefix", prefix)(cause));
        }
        let real = real.unwrap_or_else(|_| spelled.components().collect::<PathBuf>());
        if real == Path::new("/") {
            return Err(Error::Usage(
                "failed to use / as a prefix: name an environment's directory".into(),
            ));
        }
        let aliases = aliases_of(&spelled, &real);
        let prefix = PrefixRecord { path: bytes_of(&real), aliases, mode: Mode::Snapshot };
        Ok(Self { prefix, stat: stat.as_ref().map(walk::stat), anchor: 0 })
    }

    /// Learns from the first members which part of the prefix their names include. A malformed member ends the learning
    /// without an error, because the later walk reports the member.
    pub fn learn(&mut self, members: &mut Members<'_>) {
        let parts = split(&self.prefix.path);
        let mut count = 0;
        let found = loop {
            count += 1;
            let Ok(Some(member)) = members.next() else { break 0 };
            let name = split(&member.name);
            if member.name.starts_with(b"/") || count > MOST_ABOVE {
                break 0;
            }
            let tails = (1..=parts.len()).rev().map(|n| (n, &parts[parts.len() - n..]));
            let mut tails = tails.filter(|(n, tail)| {
                !name.is_empty() && name[..(*n).min(name.len())] == tail[..(*n).min(name.len())]
            });
            match tails.next() {
                // If this name exists below the prefix, the member is that path.
                Some((n, _)) if name.len() >= n => {
                    let inside = self.prefix.path().join(OsStr::from_bytes(&name.join(&b'/')));
                    break if inside.symlink_metadata().is_ok() { 0 } else { n };
                }
                Some(_) if member.kind == MemberKind::Directory => {}
                _ => break 0,
            }
        };
        self.anchor = found;
    }

    /// Returns the absolute path of the directory `name`; `None` for a directory above the prefix.
    ///
    /// # Errors
    /// Why `name` has no place.
    pub fn directory(&self, name: &[u8]) -> Result<Option<Vec<u8>>, MemberProblem> {
        let parts = parts_of(name)?;
        let bases = self.bases(name);
        match self.path_below(&bases, &parts) {
            Some(path) => Ok(Some(path)),
            None if bases.iter().any(|base| base.starts_with(&parts)) => Ok(None),
            None => Err(self.outside()),
        }
    }

    /// Returns the absolute path of the member `name`, which is not a directory.
    ///
    /// # Errors
    /// Why `name` has no place.
    pub fn file(&self, name: &[u8]) -> Result<Vec<u8>, MemberProblem> {
        let parts = parts_of(name)?;
        self.path_below(&self.bases(name), &parts).ok_or_else(|| self.outside())
    }

    /// Returns the beginnings of `name` that stand for the prefix, each as its parts.
    fn bases(&self, name: &[u8]) -> Vec<Vec<&[u8]>> {
        if name.starts_with(b"/") {
            return self.prefix.spellings().map(|p| split(p.as_os_str().as_bytes())).collect();
        }
        let all = split(&self.prefix.path);
        vec![all[all.len() - self.anchor.min(all.len())..].to_vec()]
    }

    fn path_below(&self, bases: &[Vec<&[u8]>], parts: &[&[u8]]) -> Option<Vec<u8>> {
        let base = bases.iter().find(|base| parts.starts_with(base))?;
        let mut path = self.prefix.path.to_vec();
        for part in &parts[base.len()..] {
            path.push(b'/');
            path.extend_from_slice(part);
        }
        Some(path)
    }

    fn outside(&self) -> MemberProblem {
        let prefix = self.prefix.path.to_vec();
        if self.anchor == 0 {
            MemberProblem::Outside(prefix)
        } else {
            MemberProblem::OutsideAnchor(prefix)
        }
    }
}

/// Splits a member's name into its parts; refuses a name with a NUL or '..'.
fn parts_of(name: &[u8]) -> Result<Vec<&[u8]>, MemberProblem> {
    if name.contains(&0) {
        return Err(MemberProblem::NulInName);
    }
    let parts = split(name);
    if parts.contains(&&b".."[..]) {
        return Err(MemberProblem::ParentInName);
    }
    Ok(parts)
}

/// Splits a path into its parts, without empty ones and dots.
fn split(path: &[u8]) -> Vec<&[u8]> {
    path.split(|b| *b == b'/').filter(|part| !matches!(*part, b"" | b".")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A placement at /opt/envs/science that has learned from a tar with these directories and files.
    fn learned(names: &[&str]) -> Placement {
        let mut tar = tar::Builder::new(Vec::new());
        for name in names {
            let mut header = tar::Header::new_gnu();
            let directory = name.ends_with('/');
            header.set_entry_type(if directory {
                tar::EntryType::Directory
            } else {
                tar::EntryType::Regular
            });
            header.set_size(0);
            header.set_path_absolute(name).unwrap();
            header.set_cksum();
            tar.append(&header, &b""[..]).unwrap();
        }
        let bytes = tar.into_inner().unwrap();
        let mut placement = Placement::below(Path::new("/opt/envs/science")).unwrap();
        placement.learn(&mut Members::new(&mut &bytes[..]));
        placement
    }

    fn at(placement: &Placement, name: &str) -> String {
        let path = if name.ends_with('/') {
            placement.directory(name.as_bytes())
        } else {
            placement.file(name.as_bytes()).map(Some)
        };
        match path {
            Ok(Some(path)) => String::from_utf8(path).unwrap(),
            Ok(None) => "above".into(),
            Err(why) => why.to_string(),
        }
    }

    #[test]
    fn the_first_member_decides_which_part_of_the_prefix_names_include() {
        let python = "/opt/envs/science/bin/python";
        for (names, name) in [
            (&["./", "./bin/python"][..], "./bin/python"),
            (&["bin/python"], "bin/python"),
            (&["science/", "science/bin/python"], "science/bin/python"),
            (&["envs/", "envs/science/bin/python"], "envs/science/bin/python"),
            (&["opt/", "opt/envs/", "opt/envs/science/"], "opt/envs/science/bin/python"),
            (&["/opt/envs/science/"], "/opt/envs/science/bin/python"),
            // A directory below the prefix with the name of one above the prefix.
            (&["opt/", "opt/rh/"], "bin//python"),
        ] {
            assert_eq!(at(&learned(names), name), python, "{names:?}");
        }
        assert_eq!(at(&learned(&["opt/", "bin/"]), "opt/x"), "/opt/envs/science/opt/x");
        assert_eq!(at(&learned(&["opt/envs/science/x"]), "opt/envs/"), "above");
        assert_eq!(at(&learned(&["/opt/envs/science/x"]), "/opt/envs/"), "above");
    }

    #[test]
    fn a_member_outside_the_prefix_is_refused() {
        let relative = learned(&["./"]);
        assert!(at(&relative, "/etc/passwd").contains("outside the prefix /opt/envs/science"));
        assert!(at(&relative, "/opt/envs/science2/x").contains("outside"));
        assert!(at(&relative, "a/../../x").contains("'..'"));
        assert!(at(&relative, "a\0b").contains("NUL"));
        assert!(at(&learned(&["science/"]), "other/x").contains("as the first member does"));
        assert!(Placement::below(Path::new("/")).is_err());
        assert!(Placement::below(Path::new("/nowhere/../x")).is_err());
    }
}
