//! Finds `RPATH` and `RUNPATH` of ELF files when a bundle is made, and rewrites them when the bundle is staged.
//!
//! The dynamic loader searches these directories before any hook of the shim can act, so an absolute directory below a
//! prefix would lead every rank to the shared file system. In the stage such an element becomes `$ORIGIN/…`.
//!
//! The new text is written over the old text if the new text is not longer and no other string uses a part of the old
//! text. (A linker may store a string as the tail of a longer string.) Otherwise the file gets a new string table at
//! its end.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use object::elf::{self, FileHeader64};
use object::read::elf::{Dyn, FileHeader, ProgramHeader, Sym};
use object::read::{ReadCache, ReadRef};
use object::{Endianness, SectionIndex};

/// Reads the `RPATH` or `RUNPATH` of an ELF file; `None` unless one of its elements is absolute.
#[must_use]
pub fn absolute(file: &File) -> Option<Vec<u8>> {
    let cache = ReadCache::new(file);
    if cache.read_bytes_at(0, 4).ok()? != elf::ELFMAG {
        return None;
    }
    let found = find(&cache)?;
    found.text.split(|b| *b == b':').any(|element| element.starts_with(b"/")).then_some(found.text)
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

/// Makes the staged elements of an ELF file's search path relative to `origin`, the directory in which the file lies.
/// `staged` takes an element; if the element is a directory of the stage, `staged` returns the element's original path,
/// without aliases. Returns `None` if nothing has to change, or if the file cannot be changed.
#[must_use]
pub fn relocate(
    file: &File,
    origin: &Path,
    staged: impl Fn(&Path) -> Option<PathBuf>,
) -> Option<Edit> {
    let cache = ReadCache::new(file);
    let found = find(&cache)?;
    let mut text = rewritten(&found.text, origin, staged)?;
    if text.len() <= found.text.len() && !is_shared(&cache, &found)? {
        text.resize(found.text.len(), 0);
        return Some(Edit::InPlace(found.at, text));
    }
    let size = cache.len().ok().filter(|size| *size <= REWRITE_LIMIT)?;
    rewrite(cache.read_bytes_at(0, size).ok()?, text, found.is_rpath)
}

/// Makes a file with a new string table at its end; `None` if the layout of the file is too unusual.
fn rewrite(bytes: &[u8], text: Vec<u8>, is_rpath: bool) -> Option<Edit> {
    let mut rewriter = object_rewrite::Rewriter::read(bytes).ok()?;
    rewriter.elf_set_runpath(text).ok()?;
    if is_rpath {
        // RPATH is searched before LD_LIBRARY_PATH, and for the libraries of libraries too.
        rewriter.elf_use_rpath().ok()?;
    }
    let mut new = Vec::with_capacity(bytes.len() + (64 << 10));
    rewriter.write(&mut new).ok()?;
    Some(Edit::Whole(new))
}

/// Makes the new search path; `None` if no element changes.
fn rewritten(
    text: &[u8],
    origin: &Path,
    staged: impl Fn(&Path) -> Option<PathBuf>,
) -> Option<Vec<u8>> {
    let mut changed = false;
    let mut elements: Vec<Vec<u8>> = Vec::new();
    for element in text.split(|b| *b == b':') {
        let path = Path::new(OsStr::from_bytes(element));
        let new = match staged(path).filter(|_| path.is_absolute()) {
            Some(staged) => {
                changed = true;
                relative(origin, &staged)
            }
            None => element.to_vec(),
        };
        // The loader searches a directory only once, so the new path names each directory once.
        if !elements.contains(&new) {
            elements.push(new);
        }
    }
    changed.then(|| elements.join(&b':'))
}

/// Makes a path such as `$ORIGIN/../lib` that leads from the directory `from` to `to`. Both are absolute.
fn relative(from: &Path, to: &Path) -> Vec<u8> {
    let (from, to): (Vec<Component>, Vec<Component>) =
        (from.components().collect(), to.components().collect());
    let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let mut text = b"$ORIGIN".to_vec();
    for _ in common..from.len() {
        text.extend_from_slice(b"/..");
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
}

/// Finds the search path; `None` if there is none or the file is damaged.
fn find<'a, R: ReadRef<'a>>(data: R) -> Option<SearchPath> {
    let header = FileHeader64::<Endianness>::parse(data).ok()?;
    let endian = header.endian().ok()?;
    let segments = header.program_headers(endian, data).ok()?;
    let dynamic = segments.iter().find_map(|s| s.dynamic(endian, data).ok().flatten())?;
    let (mut table, mut name, mut others, mut is_rpath) = (None, None, Vec::new(), false);
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
            elf::DT_RPATH
            | elf::DT_NEEDED
            | elf::DT_SONAME
            | elf::DT_AUXILIARY
            | elf::DT_FILTER => others.push(value),
            _ => {}
        }
    }
    let (table, name) = (table?, name?);
    let load = segments.iter().find(|s| {
        let (from, len) = (s.p_vaddr(endian), s.p_filesz(endian));
        s.p_type(endian) == elf::PT_LOAD && table >= from && table - from < len
    })?;
    let at = table - load.p_vaddr(endian) + load.p_offset(endian) + name;
    let text = data.read_bytes_at_until(at..data.len().ok()?, 0).ok()?.to_vec();
    Some(SearchPath { at, text, name, is_rpath, others })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_under_a_prefix_become_relative_and_others_stay() {
        let staged = |p: &Path| p.starts_with("/opt/env").then(|| p.to_path_buf());
        let text = rewritten(
            b"/opt/env/lib:/usr/lib:$ORIGIN/x:/opt/env/lib",
            Path::new("/opt/env/lib/python3/x"),
            staged,
        );
        assert_eq!(text.unwrap(), b"$ORIGIN/../..:/usr/lib:$ORIGIN/x");
        assert_eq!(rewritten(b"/usr/lib:$ORIGIN", Path::new("/opt/env/lib"), staged), None);
        assert_eq!(
            relative(Path::new("/opt/env/bin"), Path::new("/opt/base/lib")),
            b"$ORIGIN/../../base/lib"
        );
    }
}
