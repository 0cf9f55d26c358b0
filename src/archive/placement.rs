//! Where the members of an archive belong: below a prefix that whoever names the archive says.
//!
//! How much of the prefix stands in the members' names differs: nothing (`tar -C DIR .`, conda-pack), its last part
//! (`tar -C /opt/envs science`), all of it (`tar -C / opt/envs/science`), with the leading slash (`tar -P`). The first
//! member that is no mere directory above says which; every other one must agree.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::archive::members::{Kind, Members};
use crate::error::{Error, Result};
use crate::manifest::entry::EntryStat;
use crate::manifest::prefix::{Mode, PrefixRecord};
use crate::manifest::walk;
use crate::text::shown;

/// Directories above the prefix that may stand in front of the first decisive member.
const MOST_ABOVE: usize = 64;

/// A prefix, and how names lead there.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Placement {
    /// The prefix.
    pub prefix: PrefixRecord,
    /// The prefix directory's own `lstat`, where it exists: its number is known to other programs.
    pub stat: Option<EntryStat>,
    /// How many of the prefix's last parts stand in front of relative names.
    anchor: usize,
}

/// Where a member belongs.
#[derive(Debug, PartialEq, Eq)]
pub enum Place {
    /// Here.
    At(Vec<u8>),
    /// It is a directory above the prefix.
    Above,
}

impl Placement {
    /// Members go below `prefix`, which need not exist.
    ///
    /// # Errors
    /// [`Error::Usage`] when it is no possible prefix.
    pub fn below(prefix: &Path) -> Result<Self> {
        let spelled = std::path::absolute(prefix).map_err(Error::read("prefix", prefix))?;
        let real = std::fs::canonicalize(prefix);
        if real.is_err() && spelled.components().any(|c| c == Component::ParentDir) {
            return Err(Error::Usage(format!(
                "{} does not exist, and so '..' in it leads nowhere: write it without",
                prefix.display()
            )));
        }
        // Without the slashes and dots in it.
        let spelled: PathBuf = spelled.components().collect();
        let stat = real.as_ref().ok().and_then(|real| real.symlink_metadata().ok());
        if stat.as_ref().is_some_and(|m| !m.is_dir()) {
            let cause = std::io::ErrorKind::NotADirectory.into();
            return Err(Error::read("prefix", prefix)(cause));
        }
        let real = real.unwrap_or_else(|_| spelled.clone());
        if real == Path::new("/") {
            return Err(Error::Usage("the root directory is no prefix".into()));
        }
        let bytes = |path: &Path| ByteBuf::from(path.as_os_str().as_bytes());
        let plain = spelled.components().all(|c| c != Component::ParentDir);
        let aliases = if plain && spelled != real { vec![bytes(&spelled)] } else { Vec::new() };
        let prefix = PrefixRecord { path: bytes(&real), aliases, mode: Mode::Snapshot };
        Ok(Self { prefix, stat: stat.as_ref().map(walk::stat), anchor: 0 })
    }

    /// Finds out from the first members how names lead to the prefix. What is wrong with them is not said here.
    pub fn look(&mut self, members: &mut Members<'_>) {
        let parts = split(&self.prefix.path);
        let mut looked = 0;
        let found = loop {
            looked += 1;
            let Ok(Some(member)) = members.next() else { break 0 };
            let name = split(&member.name);
            if member.name.starts_with(b"/") || looked > MOST_ABOVE {
                break 0;
            }
            let tails = (1..=parts.len()).rev().map(|n| (n, &parts[parts.len() - n..]));
            let mut tails = tails.filter(|(n, tail)| {
                !name.is_empty() && name[..(*n).min(name.len())] == tail[..(*n).min(name.len())]
            });
            match tails.next() {
                // The prefix may have a directory of that name in it: then that is meant.
                Some((n, _)) if name.len() >= n => {
                    let inside = self.prefix.path().join(OsStr::from_bytes(&name.join(&b'/')));
                    break if inside.symlink_metadata().is_ok() { 0 } else { n };
                }
                Some(_) if member.kind == Kind::Directory => {}
                _ => break 0,
            }
        };
        self.anchor = found;
    }

    /// The absolute path for a member's name.
    ///
    /// # Errors
    /// Why there is none, "lies outside …".
    pub fn place(&self, name: &[u8], is_directory: bool) -> Result<Place, String> {
        if name.contains(&0) {
            return Err("has a NUL in its name".into());
        }
        let parts = split(name);
        if parts.contains(&&b".."[..]) {
            return Err("has '..' in its name".into());
        }
        let mut known: Vec<Vec<&[u8]>> = Vec::new();
        if name.starts_with(b"/") {
            known.extend(self.prefix.spellings().map(|p| split(p.as_os_str().as_bytes())));
        } else {
            let all = split(&self.prefix.path);
            known.push(all[all.len() - self.anchor.min(all.len())..].to_vec());
        }
        if let Some(base) = known.iter().find(|base| parts.starts_with(base)) {
            let mut path = self.prefix.path.to_vec();
            for part in &parts[base.len()..] {
                path.push(b'/');
                path.extend_from_slice(part);
            }
            return Ok(Place::At(path));
        }
        if is_directory && known.iter().any(|base| base.starts_with(&parts)) {
            return Ok(Place::Above);
        }
        let prefix = shown(&self.prefix.path);
        Err(match self.anchor {
            0 => format!("lies outside the prefix {prefix}"),
            _ => format!(
                "does not belong to the prefix {prefix} as the first one does: pack it with 'tar -C {prefix} … .'"
            ),
        })
    }
}

/// The parts of a path, without empty ones and dots.
fn split(path: &[u8]) -> Vec<&[u8]> {
    path.split(|b| *b == b'/').filter(|part| !matches!(*part, b"" | b".")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A placement at /opt/envs/science, after a look at a tar with these directories and files.
    fn looked(names: &[&str]) -> Placement {
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
        placement.look(&mut Members::new(&mut &bytes[..]));
        placement
    }

    fn at(placement: &Placement, name: &str) -> String {
        match placement.place(name.as_bytes(), name.ends_with('/')) {
            Ok(Place::At(path)) => String::from_utf8(path).unwrap(),
            Ok(Place::Above) => "above".into(),
            Err(why) => why,
        }
    }

    #[test]
    fn the_first_member_says_how_names_lead_to_the_prefix() {
        let python = "/opt/envs/science/bin/python";
        for (names, name) in [
            (&["./", "./bin/python"][..], "./bin/python"),
            (&["bin/python"], "bin/python"),
            (&["science/", "science/bin/python"], "science/bin/python"),
            (&["envs/", "envs/science/bin/python"], "envs/science/bin/python"),
            (&["opt/", "opt/envs/", "opt/envs/science/"], "opt/envs/science/bin/python"),
            (&["/opt/envs/science/"], "/opt/envs/science/bin/python"),
            // A directory of its own whose name is like one above it.
            (&["opt/", "opt/rh/"], "bin//python"),
        ] {
            assert_eq!(at(&looked(names), name), python, "{names:?}");
        }
        assert_eq!(at(&looked(&["opt/", "bin/"]), "opt/x"), "/opt/envs/science/opt/x");
        assert_eq!(at(&looked(&["opt/envs/science/x"]), "opt/envs/"), "above");
        assert_eq!(at(&looked(&["/opt/envs/science/x"]), "/opt/envs/"), "above");
    }

    #[test]
    fn what_lies_outside_is_refused() {
        let relative = looked(&["./"]);
        assert!(at(&relative, "/etc/passwd").contains("outside the prefix /opt/envs/science"));
        assert!(at(&relative, "/opt/envs/science2/x").contains("outside"));
        assert!(at(&relative, "a/../../x").contains("'..'"));
        assert!(at(&relative, "a\0b").contains("NUL"));
        assert!(at(&looked(&["science/"]), "other/x").contains("as the first one does"));
        assert!(Placement::below(Path::new("/")).is_err());
        assert!(Placement::below(Path::new("/nowhere/../x")).is_err());
    }
}
