//! Finds `RPATH` and `RUNPATH` of ELF files when a bundle is made, and rewrites them when the bundle is staged.
//!
//! The dynamic loader searches these directories before any hook of the shim can act, so an absolute directory below a
//! prefix would lead every rank to the shared file system. In the stage such an element names the staged directory, by
//! one of two texts:
//!
//! - `<stage>/fs` and the element as it was written. The loader puts it into the names of the libraries that it finds
//!   there, so their original names are the rest of the string, in the original's own spelling.
//! - [`BY_ORIGIN`] and the way from the file's own directory. This text is often short enough to be written over the
//!   old one, but it is right only where the loader finds the file in its own directory, not through a link elsewhere.
//!
//! The new text is written over the old text if the new text is not longer and no other string uses a part of the old
//! text. (A linker may store a string as the tail of a longer string.) Otherwise the file gets a new string table at
//! its end.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use object::elf::{self, FileHeader64};
use object::read::elf::{Dyn, FileHeader, ProgramHeader, Sym};
use object::read::{ReadCache, ReadRef};
use object::{Endianness, SectionIndex};
use pyshm_format::layout::BY_ORIGIN;

/// Reads what the stage has to know of an ELF file's search path: the path itself, in which `resolve` may name another
/// directory for an absolute element. It is empty if the file has none but needs a library by its path. Returns `None`
/// if neither leads anywhere but to system libraries and to the file's own tree, in which the file's directory lies
/// `depth` names deep.
#[must_use]
pub fn recorded(
    file: &File,
    depth: usize,
    mut resolve: impl FnMut(&Path) -> Option<PathBuf>,
) -> Option<Vec<u8>> {
    let cache = ReadCache::new(file);
    if cache.read_bytes_at(0, 4).ok()? != elf::ELFMAG {
        return None;
    }
    let found = find(&cache)?;
    let mut concerns = found.needed.iter().any(|(_, name)| name.starts_with(b"/"));
    let mut elements: Vec<Vec<u8>> = Vec::new();
    for element in found.text.split(|b| *b == b':') {
        let resolved = if element.starts_with(b"/") {
            concerns = true;
            resolve(Path::new(OsStr::from_bytes(element)))
        } else {
            concerns |= below_origin(element).is_some_and(|path| may_climb_out(path, depth));
            None
        };
        let resolved = resolved.map(|path| path.as_os_str().as_bytes().to_vec());
        // A colon would separate elements.
        let resolved = resolved.filter(|path| !path.contains(&b':'));
        elements.push(resolved.unwrap_or_else(|| element.to_vec()));
    }
    concerns.then(|| elements.join(&b':'))
}

/// Resolves the links in a directory's name, as far as the directories exist and up to a token such as `$LIB`. Returns
/// `None` for a name with `..` behind that place.
#[must_use]
pub fn resolve(directory: &Path) -> Option<PathBuf> {
    let has_token = |path: &Path| path.as_os_str().as_bytes().contains(&b'$');
    let exists = |path: &Path| std::fs::canonicalize(path).ok();
    let mut above = directory.ancestors().filter(|path| !has_token(path));
    let (base, real) = above.find_map(|path| Some((path, exists(path)?)))?;
    let rest = directory.strip_prefix(base).ok()?;
    rest.components().all(|part| part != Component::ParentDir).then(|| real.join(rest))
}

/// Returns what follows `$ORIGIN` in an element of a search path.
#[must_use]
pub fn below_origin(element: &[u8]) -> Option<&Path> {
    let rest = element.strip_prefix(b"$ORIGIN").or_else(|| element.strip_prefix(b"${ORIGIN}"))?;
    let rest = if rest.is_empty() { Some(rest) } else { rest.strip_prefix(b"/") };
    rest.map(|rest| Path::new(OsStr::from_bytes(rest)))
}

/// Whether a path from a directory that lies `depth` names deep may lead out of the tree: it has too many `..`, or one
/// behind a name that may be a link.
fn may_climb_out(path: &Path, depth: usize) -> bool {
    let is_up = |part: &Component| *part == Component::ParentDir;
    let ups = path.components().filter(is_up).count();
    let leading = path.components().take_while(is_up).count();
    ups > leading || ups > depth
}

/// Size in bytes of the largest file that is rewritten. There is a limit because rewriting takes several times as much
/// memory.
const REWRITE_LIMIT: u64 = 64 << 20;

/// A change of an ELF file.
pub enum Edit {
    /// These bytes replace the bytes of the file at this offset.
    InPlace(u64, Vec<u8>),
    /// These bytes replace the whole file.
    Whole(Vec<u8>),
}

/// The texts for an element that leads into the stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StagedElement {
    /// By the stage's own directory.
    pub absolute: Vec<u8>,
    /// By the file's own directory; `None` where that would not lead to the same directory under the same name.
    pub by_origin: Option<Vec<u8>>,
}

/// Makes the search path of an ELF file lead into the stage. `element` returns the texts for an element of the search
/// path and what was recorded for it, or `None` for one that stays; `library` returns the staged name for the absolute
/// name of a needed library. Returns `None` if nothing has to change, or if the file cannot be changed.
#[must_use]
pub fn relocate(
    file: &File,
    recorded: &[u8],
    element: impl FnMut(&[u8], &[u8]) -> Option<StagedElement>,
    library: impl Fn(&[u8]) -> Option<Vec<u8>>,
) -> Option<Edit> {
    let cache = ReadCache::new(file);
    let found = find(&cache)?;
    let needed: HashMap<Vec<u8>, Vec<u8>> =
        found.needed.iter().filter_map(|(_, name)| Some((name.clone(), library(name)?))).collect();
    // Versions of symbols name the library too, and the loader wants both names equal.
    let needed =
        if needed.is_empty() || has_versions_of(&cache, &found)? { HashMap::new() } else { needed };
    let texts = rewritten(&found.text, recorded, element);
    if needed.is_empty() {
        let texts = texts.as_ref()?;
        for text in [Some(&texts.absolute), texts.by_origin.as_ref()].into_iter().flatten() {
            if text.len() <= found.text.len() && !is_shared(&cache, &found)? {
                let mut text = text.clone();
                text.resize(found.text.len(), 0);
                return Some(Edit::InPlace(found.at, text));
            }
        }
    }
    let size = cache.len().ok().filter(|size| *size <= REWRITE_LIMIT)?;
    let bytes = cache.read_bytes_at(0, size).ok()?;
    // A shorter table of strings often fits where the old one was.
    let text = texts.map(|texts| texts.by_origin.unwrap_or(texts.absolute));
    rewrite(bytes, text, found.is_rpath, &needed)
}

/// Makes a file with a new string table at its end; `None` if the layout of the file is too unusual.
fn rewrite(
    bytes: &[u8],
    text: Option<Vec<u8>>,
    is_rpath: bool,
    needed: &HashMap<Vec<u8>, Vec<u8>>,
) -> Option<Edit> {
    let mut rewriter = object_rewrite::Rewriter::read(bytes).ok()?;
    if !needed.is_empty() {
        rewriter.elf_replace_needed(needed).ok()?;
    }
    if let Some(text) = text {
        rewriter.elf_set_runpath(text).ok()?;
        if is_rpath {
            // RPATH is searched before LD_LIBRARY_PATH, and for the libraries of libraries too.
            rewriter.elf_use_rpath().ok()?;
        }
    }
    let mut new = Vec::with_capacity(bytes.len() + (64 << 10));
    rewriter.write(&mut new).ok()?;
    Some(Edit::Whole(new))
}

/// Makes the new search path, in both texts; `None` if no element changes.
fn rewritten(
    text: &[u8],
    recorded: &[u8],
    mut staged: impl FnMut(&[u8], &[u8]) -> Option<StagedElement>,
) -> Option<StagedElement> {
    let (mut absolute, mut by_origin): (Vec<Vec<u8>>, _) = (Vec::new(), Some(Vec::new()));
    let mut changed = false;
    let all: Vec<&[u8]> = text.split(|b| *b == b':').collect();
    let mut known: Vec<&[u8]> = recorded.split(|b| *b == b':').collect();
    if known.len() != all.len() {
        known.clone_from(&all);
    }
    // The loader searches a directory only once, so each is named once.
    let add = |list: &mut Vec<Vec<u8>>, new: Vec<u8>| {
        if !list.contains(&new) {
            list.push(new);
        }
    };
    for (element, known) in all.into_iter().zip(known) {
        let new = staged(element, known);
        changed |= new.is_some();
        let stays =
            || StagedElement { absolute: element.to_vec(), by_origin: Some(element.to_vec()) };
        let new = new.unwrap_or_else(stays);
        add(&mut absolute, new.absolute);
        match (&mut by_origin, new.by_origin) {
            (Some(list), Some(new)) => add(list, new),
            _ => by_origin = None,
        }
    }
    changed.then(|| StagedElement {
        absolute: absolute.join(&b':'),
        by_origin: by_origin.map(|list| list.join(&b':')),
    })
}

/// Makes a path such as `$ORIGIN/.//../lib` that leads from the directory `from` to `to`. Both are absolute.
#[must_use]
pub fn by_origin(from: &Path, to: &Path) -> Vec<u8> {
    let (from, to): (Vec<Component>, Vec<Component>) =
        (from.components().collect(), to.components().collect());
    let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    // The mark would be lost at the end of a path.
    let common = common.min(from.len() - 1);
    let mut text = b"$ORIGIN".to_vec();
    text.extend_from_slice(BY_ORIGIN);
    for (n, _) in from[common..].iter().enumerate() {
        text.extend_from_slice(if n > 0 { b"/.." } else { b".." });
    }
    for part in &to[common..] {
        text.push(b'/');
        text.extend_from_slice(part.as_os_str().as_bytes());
    }
    text
}

/// The search path of an ELF file.
struct SearchPath {
    /// Offset of the text in the file.
    at: u64,
    text: Vec<u8>,
    /// Offset of the text in the string table.
    name: u64,
    is_rpath: bool,
    /// Offsets in the string table of the other names that the dynamic section uses.
    others: Vec<u64>,
    /// The libraries that the file needs by their paths, with the offsets of these names in the string table.
    needed: Vec<(u64, Vec<u8>)>,
}

/// Finds the search path, which is empty if the file has none; `None` if the file is damaged or not dynamic.
fn find<'a, R: ReadRef<'a>>(data: R) -> Option<SearchPath> {
    let header = FileHeader64::<Endianness>::parse(data).ok()?;
    let endian = header.endian().ok()?;
    let segments = header.program_headers(endian, data).ok()?;
    let dynamic = segments.iter().find_map(|s| s.dynamic(endian, data).ok().flatten())?;
    let (mut table, mut name, mut others, mut is_rpath) = (None, None, Vec::new(), false);
    let mut libraries = Vec::new();
    for entry in dynamic {
        let value = entry.d_val(endian);
        match entry.d_tag(endian) {
            elf::DT_STRTAB => table = Some(value),
            // If a file has both, the loader ignores DT_RPATH.
            elf::DT_RUNPATH => {
                others.extend(name.replace(value));
                is_rpath = false;
            }
            elf::DT_RPATH if name.is_none() => (name, is_rpath) = (Some(value), true),
            elf::DT_NEEDED => {
                others.push(value);
                libraries.push(value);
            }
            elf::DT_RPATH | elf::DT_SONAME | elf::DT_AUXILIARY | elf::DT_FILTER => {
                others.push(value)
            }
            _ => {}
        }
    }
    let table = table?;
    let load = segments.iter().find(|s| {
        let (from, len) = (s.p_vaddr(endian), s.p_filesz(endian));
        s.p_type(endian) == elf::PT_LOAD && table >= from && table - from < len
    })?;
    let strings = table - load.p_vaddr(endian) + load.p_offset(endian);
    let end = data.len().ok()?;
    let string = |name: u64| {
        let at = strings.checked_add(name)?;
        Some(data.read_bytes_at_until(at..end, 0).ok()?.to_vec())
    };
    let text = match name {
        Some(name) => string(name)?,
        None => Vec::new(),
    };
    let mut needed = Vec::new();
    for library in libraries {
        needed.push((library, string(library)?));
    }
    needed.retain(|(_, name)| name.contains(&b'/'));
    let name = name.unwrap_or(0);
    Some(SearchPath { at: strings + name, text, name, is_rpath, others, needed })
}

/// Whether another string in the file uses a part of the text; `None` if that is unknown.
fn is_shared<'a, R: ReadRef<'a>>(data: R, found: &SearchPath) -> Option<bool> {
    let inside = |name: u64| name >= found.name && name <= found.name + found.text.len() as u64;
    let header = FileHeader64::<Endianness>::parse(data).ok()?;
    let endian = header.endian().ok()?;
    let sections = header.sections(endian, data).ok()?;
    let symbols = sections.symbols(endian, data, elf::SHT_DYNSYM).ok()?;
    if symbols.section() == SectionIndex(0) {
        return None;
    }
    if symbols.iter().any(|s| inside(s.st_name(endian).into()))
        || found.others.iter().any(|n| inside(*n))
    {
        return Some(true);
    }
    if let Some((mut needs, _)) = sections.gnu_verneed(endian, data).ok()? {
        while let Some((need, mut auxiliaries)) = needs.next().ok()? {
            let mut shared = inside(need.vn_file.get(endian).into());
            while let Some(auxiliary) = auxiliaries.next().ok()? {
                shared |= inside(auxiliary.vna_name.get(endian).into());
            }
            if shared {
                return Some(true);
            }
        }
    }
    if let Some((mut definitions, _)) = sections.gnu_verdef(endian, data).ok()? {
        while let Some((_, mut auxiliaries)) = definitions.next().ok()? {
            while let Some(auxiliary) = auxiliaries.next().ok()? {
                if inside(auxiliary.vda_name.get(endian).into()) {
                    return Some(true);
                }
            }
        }
    }
    Some(false)
}

/// Whether the file wants versions of symbols of a library that it needs by its path; `None` if that is unknown.
fn has_versions_of<'a, R: ReadRef<'a>>(data: R, found: &SearchPath) -> Option<bool> {
    let header = FileHeader64::<Endianness>::parse(data).ok()?;
    let endian = header.endian().ok()?;
    let sections = header.sections(endian, data).ok()?;
    let symbols = sections.symbols(endian, data, elf::SHT_DYNSYM).ok()?;
    let strings = symbols.strings();
    if let Some((mut needs, _)) = sections.gnu_verneed(endian, data).ok()? {
        while let Some((need, _)) = needs.next().ok()? {
            let name = strings.get(need.vn_file.get(endian)).ok()?;
            if found.needed.iter().any(|(_, needed)| needed == name) {
                return Some(true);
            }
        }
    }
    Some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn staged(element: &[u8], known: &[u8]) -> Option<StagedElement> {
        let path = Path::new(OsStr::from_bytes(known));
        path.starts_with("/opt/env").then(|| StagedElement {
            absolute: [b"/stage", element].concat(),
            by_origin: (element == known)
                .then(|| by_origin(Path::new("/opt/env/lib/python3/x"), path)),
        })
    }

    #[test]
    fn elements_under_a_prefix_lead_into_the_stage_and_others_stay() {
        let text = b"/opt/env/lib:/usr/lib:$ORIGIN/x:/opt/env/lib";
        let texts = rewritten(text, text, staged).unwrap();
        assert_eq!(texts.by_origin.unwrap(), b"$ORIGIN/.//../..:/usr/lib:$ORIGIN/x");
        assert_eq!(texts.absolute, b"/stage/opt/env/lib:/usr/lib:$ORIGIN/x");
        assert_eq!(rewritten(b"/usr/lib:$ORIGIN", b"", staged), None);
    }

    #[test]
    fn an_element_that_was_resolved_when_it_was_packed_leads_there() {
        let texts = rewritten(b"/link/lib:/x", b"/opt/env/lib:/x", staged).unwrap();
        assert_eq!(
            (texts.absolute.as_slice(), texts.by_origin),
            (&b"/stage/link/lib:/x"[..], None)
        );
    }

    #[test]
    fn a_way_from_the_file_s_directory_keeps_its_mark() {
        let way = |from: &str, to: &str| {
            String::from_utf8(by_origin(Path::new(from), Path::new(to))).unwrap()
        };
        assert_eq!(way("/opt/env/bin", "/opt/base/lib"), "$ORIGIN/.//../../base/lib");
        assert_eq!(way("/opt/env/lib", "/opt/env/lib"), "$ORIGIN/.//../lib");
        assert_eq!(way("/opt/env/lib", "/opt/env/lib/x"), "$ORIGIN/.//../lib/x");
    }

    #[test]
    fn only_paths_that_may_leave_the_tree_are_recorded() {
        let climbs = |path: &str, depth| may_climb_out(Path::new(path), depth);
        assert!(!climbs("../lib", 1));
        assert!(climbs("../lib", 0));
        assert!(climbs("../share/../lib", 2));
        assert!(!climbs("lib", 0));
        assert_eq!(below_origin(b"${ORIGIN}/../x"), Some(Path::new("../x")));
        assert_eq!(below_origin(b"$ORIGINAL/x"), None);
    }
}
