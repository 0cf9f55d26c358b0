//! Tells which kinds a step belongs to.

use std::fs;
use std::os::unix::fs::MetadataExt;

use super::deeds::{Deed, Object, TOKENS};
use super::{Kind, Now};
use crate::shorten::verb_of;
use crate::state::Slot;

impl Now<'_> {
    /// The kinds that a step belongs to.
    pub(super) fn kinds_of(&self, step: &str) -> Vec<Kind> {
        let mut kinds = Vec::new();
        let first = step.split(' ').nth(1).unwrap_or("");
        let is_on_dir = self.slot(first).is_some_and(Slot::is_dir);
        match verb_of(step) {
            "flock" | "lock" | "getlk" | "ofdlock" | "ofdgetlk" | "lockf" => kinds.push(Kind::Lock),
            "mount" | "tmpfs" | "umount" => kinds.push(Kind::Mount),
            "unstage" | "lose-stage" => kinds.push(Kind::Unstage),
            "nofile" | "fsize" | "memory" => kinds.push(Kind::Limit),
            "chroot" => kinds.push(Kind::Chroot),
            "seteuid" | "setegid" | "setfsuid" | "setgroups" => kinds.push(Kind::Identity),
            "linkat" if step.contains("EMPTY_PATH") => kinds.push(Kind::LinkEmpty),
            "static" => kinds.push(Kind::Static),
            "unshare" => kinds.push(Kind::Unshare),
            "exec" if !step.ends_with("self") => kinds.push(Kind::TextBusy),
            "setfl" if is_on_dir => kinds.push(Kind::DirFlags),
            "copyrange" => kinds.push(Kind::CopyRange),
            "lseek" if is_on_dir && !step.ends_with(" 0 SET") => kinds.push(Kind::DirSeek),
            _ => {}
        }
        let (objects, slots) = self.objects(step);
        for (slot, deed) in slots {
            if deed == Deed::Write && self.is_read(slot.ino) {
                kinds.push(Kind::Stale);
            }
            let path = format!("/proc/{}/fd/{}", self.state.pid, slot.fd);
            if deed == Deed::Change
                && slot.is_file()
                && fs::metadata(path).is_ok_and(|m| m.nlink() > 1)
            {
                kinds.push(Kind::LinkedFd);
            }
            if slot.is_dir() && deed == Deed::Change && step_closes(step) && !self.is_privileged() {
                kinds.push(Kind::Closed);
            }
        }
        let named = objects.iter().filter(|object| object.deed == Deed::Name).count();
        for object in &objects {
            self.kinds_of_object(step, object, &mut kinds);
        }
        // The step links a name inside the prefix and a name outside.
        if named > 0 && matches!(verb_of(step), "link" | "linkat") {
            let outside = objects.iter().any(|object| !self.is_inside(&object.path));
            let inside = objects.iter().any(|object| self.is_inside(&object.path));
            if outside && inside {
                kinds.push(Kind::OutsideLink);
            }
        }
        kinds
    }

    /// Adds the kinds that a step belongs to because of one of its objects.
    fn kinds_of_object(&self, step: &str, object: &Object, kinds: &mut Vec<Kind>) {
        let word = object.word.as_str();
        if TOKENS.iter().any(|token| word.contains(token)) {
            kinds.push(Kind::FdName);
        }
        let plain = word.replace("{M}", "").replace("{E}", "");
        if plain.contains("//")
            || plain.ends_with('/')
            || plain.split('/').any(|part| part == "." || part == "..")
        {
            kinds.push(Kind::Dots);
        }
        let meta = if object.follow {
            fs::metadata(&object.path)
        } else {
            fs::symlink_metadata(&object.path)
        };
        let names = object.deed == Deed::Name || (object.deed == Deed::Write && meta.is_err());
        let held = object.path.parent().and_then(|dir| fs::metadata(dir).ok());
        let held = held.is_some_and(|dir| self.is_read(dir.ino()));
        if names && (held || self.states().any(|state| !state.streams.is_empty())) {
            kinds.push(Kind::Stream);
        }
        if verb_of(step) == "freopen" && fs::File::open(&object.path).is_err() {
            kinds.push(Kind::Freopen);
        }
        let Ok(meta) = meta else { return };
        let canonical = fs::canonicalize(&object.path);
        if canonical
            .is_ok_and(|path| self.prefixes().contains(&path) && self.as_written(word) != path)
        {
            kinds.push(Kind::Returns);
        }
        if object.deed == Deed::Look
            && verb_of(step).starts_with("open")
            && self.is_inside(&object.path)
            && !self.is_under_a_prefix(&self.as_written(word))
        {
            kinds.push(Kind::OutsideName);
        }
        if meta.is_dir() && object.only_names {
            kinds.push(Kind::PathDir);
        }
        if meta.is_dir()
            && object.deed == Deed::Change
            && step_closes(step)
            && !self.is_privileged()
        {
            kinds.push(Kind::Closed);
        }
        match object.deed {
            Deed::Write if self.is_read(meta.ino()) => kinds.push(Kind::Stale),
            Deed::Name => {
                if self.is_held(&object.path, &meta) {
                    kinds.push(Kind::Moved);
                }
                if meta.nlink() > 1 && !meta.is_dir() {
                    kinds.push(Kind::LinkCount);
                    if !self.is_inside(&object.path) {
                        kinds.push(Kind::OutsideLink);
                    }
                }
                if self.is_above(&object.path, &meta) {
                    kinds.push(Kind::Above);
                }
            }
            _ => {}
        }
    }
}

/// Whether a step takes the search permission of a directory away from its owner.
fn step_closes(step: &str) -> bool {
    verb_of(step).contains("chmod")
        && step.split(' ').any(|word| {
            word.len() == 3 && u32::from_str_radix(word, 8).is_ok_and(|mode| mode & 0o500 != 0o500)
        })
}
