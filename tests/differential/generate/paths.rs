//! Chooses the object that a step concerns, and one of the ways to write its path.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use super::{Generator, World};
use crate::state::{Slot, State};

/// The kind of object that a step needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    File,
    Dir,
    Link,
    Any,
    /// Mostly a name that no object has.
    New,
}

impl Generator {
    /// Chooses an object. Often this is an object of the last steps, sometimes under another of its names.
    fn object(&mut self, world: &World, want: Want) -> PathBuf {
        let recent = if want == Want::New { 0 } else { 25 };
        let mut object = if self.random.percent(recent) && !self.recent.is_empty() {
            self.recent[self.random.below(self.recent.len())].clone()
        } else {
            self.any_object(world, want)
        };
        if want != Want::New
            && self.random.percent(40)
            && let Some(names) = world.namesakes.iter().find(|names| names.contains(&object))
            && let Some(name) = self.random.pick(names)
        {
            object.clone_from(name);
        }
        self.recent.push_back(object.clone());
        if self.recent.len() > 6 {
            self.recent.pop_front();
        }
        object
    }

    /// Chooses an object of the wanted kind, mostly one in focus or near one in focus.
    fn any_object(&mut self, world: &World, want: Want) -> PathBuf {
        let pool: Vec<&PathBuf> = match want {
            Want::File => world.files.iter().collect(),
            Want::Dir => world.dirs.iter().collect(),
            Want::Link => world.links.iter().collect(),
            Want::Any => world
                .files
                .iter()
                .chain(&world.dirs)
                .chain(&world.links)
                .chain(&world.fifos)
                .collect(),
            Want::New => {
                let gone: Vec<_> = self
                    .gone
                    .iter()
                    .filter(|p| fs::symlink_metadata(world.root.join(p)).is_err())
                    .cloned()
                    .collect();
                if self.random.percent(40)
                    && let Some(one) = self.random.pick(&gone)
                {
                    return one.clone();
                }
                self.made += 1;
                let name = format!("n{}", self.random.below(6) + self.made / 8);
                let dir = self.any_object(world, Want::Dir);
                return dir.join(name);
            }
        };
        if self.random.percent(60) {
            let near: Vec<_> = pool
                .iter()
                .filter(|path| {
                    self.focus.iter().any(|f| {
                        f == **path || f.parent() == Some(path) || path.parent() == Some(f)
                    })
                })
                .collect();
            if let Some(one) = self.random.pick(&near) {
                return one.to_path_buf();
            }
        }
        if self.random.percent(85) {
            let inside: Vec<_> = pool.iter().filter(|path| path.starts_with("p/env")).collect();
            if let Some(one) = self.random.pick(&inside) {
                return one.to_path_buf();
            }
        }
        if self.random.percent(5)
            && let Some(one) = self.random.pick(&self.gone.iter().cloned().collect::<Vec<_>>())
        {
            return one.clone();
        }
        self.random.pick(&pool).map_or_else(|| "p/env/none".into(), |path| path.to_path_buf())
    }

    /// One of the ways to write an object's path.
    fn spell(&mut self, world: &World, state: &State, object: &Path) -> String {
        let mut object = object.to_path_buf();
        if self.random.percent(25) {
            let ways: Vec<_> =
                world.ways.iter().filter(|(_, target)| object.starts_with(target)).collect();
            if let Some((way, target)) = self.random.pick(&ways) {
                object = way.join(object.strip_prefix(target).unwrap());
            }
        }
        let mut text = match self.random.below(100 - self.roundabout) {
            0..20 => self.relative(world, state, &object).unwrap_or_else(|| absolute(&object)),
            20..26 => {
                let above: Vec<_> = state
                    .slots
                    .iter()
                    .filter(|slot| {
                        slot.is_dir()
                            && below(world, slot).is_some_and(|dir| object.starts_with(dir))
                    })
                    .collect();
                match self.random.pick(&above) {
                    Some(slot) => {
                        let rest = object.strip_prefix(below(world, slot).unwrap()).unwrap();
                        let token = self.random.word("fd fd dev pid up task");
                        format!("{{{token}{}}}/{}", slot.number, rest.display())
                    }
                    None => absolute(&object),
                }
            }
            _ => absolute(&object),
        };
        if self.random.percent(self.roundabout) {
            let slashes: Vec<_> = text.match_indices('/').map(|(n, _)| n).collect();
            if let Some(n) = self.random.pick(&slashes).copied() {
                let with = self.random.word("// /./ /../p/../p/ /. /d/../ /none/../");
                let with =
                    if with == "/../p/../p/" && !text[..n].ends_with("p") { "//" } else { with };
                text.replace_range(
                    n..=n,
                    &if with == "/." { "/./".into() } else { with.to_string() },
                );
            }
        }
        if self.random.percent(self.roundabout / 2) {
            text += self.random.word("/ /. //");
        }
        if text.is_empty() { "\"\"".into() } else { text.replace(' ', "%20") }
    }

    fn relative(&self, world: &World, state: &State, object: &Path) -> Option<String> {
        let cwd = state.cwd_below(&world.root)?;
        Some(relative(&cwd, object))
    }

    /// A path of an object of the wanted kind, and now and then of another kind.
    pub(super) fn path(&mut self, world: &World, state: &State, want: Want) -> String {
        let want = if self.random.percent(10) { Want::Any } else { want };
        let object = self.object(world, want);
        self.spell(world, state, &object)
    }

    /// A slot with a directory, or `cwd`, and a name relative to this directory.
    pub(super) fn at(&mut self, world: &World, state: &State, want: Want) -> String {
        let object = self.object(world, want);
        let dirs: Vec<_> = state.slots.iter().filter(|slot| slot.is_dir()).cloned().collect();
        let near: Vec<_> = dirs
            .iter()
            .filter(|slot| below(world, slot).is_some_and(|dir| object.starts_with(dir)))
            .cloned()
            .collect();
        if self.random.percent(60)
            && let Some(slot) = self.random.pick(&near)
        {
            let rest =
                object.strip_prefix(below(world, slot).unwrap()).unwrap().display().to_string();
            return format!("s{} {}", slot.number, if rest.is_empty() { ".".into() } else { rest });
        }
        if self.random.percent(50)
            && let Some(slot) = self.random.pick(&dirs)
            && let Some(dir) = below(world, slot)
        {
            return format!("s{} {}", slot.number, relative(&dir, &object));
        }
        let slot = dirs.first().map_or("cwd".to_string(), |slot| format!("s{}", slot.number));
        let slot = if self.random.percent(50) { "cwd".to_string() } else { slot };
        format!("{slot} {}", self.spell(world, state, &object))
    }

    /// A path, or now and then a descriptor's name.
    pub(super) fn path_or_fd(&mut self, world: &World, state: &State, want: Want) -> String {
        if self.random.percent(self.by_descriptor)
            && let Some(slot) = self.random.pick(&state.slots)
        {
            let token = self.random.word("fd fd fd dev pid up task");
            return format!("{{{token}{}}}", slot.number);
        }
        self.path(world, state, want)
    }

    /// A pattern for `glob`.
    pub(super) fn pattern(&mut self, world: &World, state: &State) -> String {
        let dir = self.path(world, state, Want::Dir);
        let dir = dir.trim_end_matches('/');
        format!("{dir}/{}", self.random.word("* *a* [a-f]* */* n* .* f?"))
    }

    /// Whether a path leads to a fifo, or may lead to one.
    pub(super) fn is_fifo(&self, world: &World, state: &State, path: &str) -> bool {
        let text = crate::tree::fill(path, &world.root);
        if text.starts_with('{') {
            return state.slots.iter().any(|slot| slot.mode & 0o170_000 == 0o010_000);
        }
        fs::metadata(state.cwd.join(text)).is_ok_and(|m| m.file_type().is_fifo())
    }

    /// The flags with which `path` is opened. For a fifo NONBLOCK is added, because the open must not wait.
    pub(super) fn no_fifo(
        &self,
        world: &World,
        state: &State,
        path: &str,
        flags: String,
    ) -> String {
        if self.is_fifo(world, state, path) { flags + "|NONBLOCK" } else { flags }
    }
}

/// The path below the tree's root of the directory in a slot.
fn below(world: &World, slot: &Slot) -> Option<PathBuf> {
    Path::new(&slot.name).strip_prefix(&world.root).ok().map(Path::to_path_buf)
}

/// An object's plain path.
fn absolute(object: &Path) -> String {
    match object.strip_prefix("p/env") {
        Ok(rest) if rest == Path::new("") => "{E}".into(),
        Ok(rest) => format!("{{E}}/{}", rest.display()),
        Err(_) => format!("{{M}}/{}", object.display()),
    }
}

/// The path of `to` from the directory `from`.
fn relative(from: &Path, to: &Path) -> String {
    let (from, to): (Vec<_>, Vec<_>) = (from.components().collect(), to.components().collect());
    let same = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let mut parts: Vec<_> = vec!["..".to_string(); from.len() - same];
    parts.extend(to[same..].iter().map(|c| c.as_os_str().to_string_lossy().into_owned()));
    if parts.is_empty() { ".".into() } else { parts.join("/") }
}
