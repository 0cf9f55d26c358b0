//! Reads from an ELF file the libraries and directories in which the dynamic loader will look when the program starts.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use object::Endianness;
use object::elf::{self, FileHeader64};
use object::read::elf::{Dyn, FileHeader, ProgramHeader};
use object::read::{ReadCache, ReadRef};

/// What an ELF file asks the dynamic loader for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Linked {
    /// The elements of the file's `RPATH` or `RUNPATH`, with `$ORIGIN` replaced by the file's directory.
    pub search: Vec<PathBuf>,
    /// The names of the libraries that the file itself needs, without the libraries that these libraries need.
    pub libraries: Vec<OsString>,
}

/// Reads what `program` asks for; `None` if it is not an ELF file or cannot be read. A static program asks for nothing.
#[must_use]
pub fn linked(program: &Path) -> Option<Linked> {
    let file = File::open(program).ok()?;
    let cache = ReadCache::new(&file);
    (cache.read_bytes_at(0, 4).ok()? == elf::ELFMAG)
        .then(|| dynamic(&cache, program).unwrap_or_default())
}

/// Reads the dynamic section; `None` if the file has none, or if it is damaged.
fn dynamic<'a, R: ReadRef<'a>>(data: R, program: &Path) -> Option<Linked> {
    let header = FileHeader64::<Endianness>::parse(data).ok()?;
    let endian = header.endian().ok()?;
    let segments = header.program_headers(endian, data).ok()?;
    let entries = segments.iter().find_map(|s| s.dynamic(endian, data).ok().flatten())?;
    let value = |tag| entries.iter().find(|e| e.d_tag(endian) == tag).map(|e| e.d_val(endian));
    let table = value(elf::DT_STRTAB)?;
    let load = segments.iter().find(|s| {
        let (from, length) = (s.p_vaddr(endian), s.p_filesz(endian));
        s.p_type(endian) == elf::PT_LOAD && table >= from && table - from < length
    })?;
    let strings = table - load.p_vaddr(endian) + load.p_offset(endian);
    let end = data.len().ok()?;
    let text = |name: u64| data.read_bytes_at_until(strings.checked_add(name)?..end, 0).ok();
    let origin = std::fs::canonicalize(program).ok()?.parent()?.to_path_buf();
    // If a file has both, the loader ignores DT_RPATH.
    let search = value(elf::DT_RUNPATH).or_else(|| value(elf::DT_RPATH)).and_then(text);
    let elements = search.unwrap_or_default().split(|b| *b == b':');
    let needed = entries.iter().filter(|e| e.d_tag(endian) == elf::DT_NEEDED);
    Some(Linked {
        search: elements.filter_map(|e| element(e, &origin)).collect(),
        libraries: needed
            .filter_map(|e| Some(OsStr::from_bytes(text(e.d_val(endian))?).to_os_string()))
            .collect(),
    })
}

/// Reads a directory of a search path; `None` if it is relative or depends on the machine.
fn element(text: &[u8], origin: &Path) -> Option<PathBuf> {
    let path = Path::new(OsStr::from_bytes(text));
    let mut parts = path.components();
    match parts.next()?.as_os_str().as_bytes() {
        b"$ORIGIN" | b"${ORIGIN}" => Some(origin.join(parts)),
        _ => path.is_absolute().then(|| path.to_path_buf()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_names_its_libraries_and_a_script_none() {
        let own = linked(&std::env::current_exe().unwrap()).unwrap();
        assert!(own.libraries.iter().any(|name| name == "libc.so.6"), "{own:?}");
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("script");
        std::fs::write(&script, "#!/bin/sh\n").unwrap();
        assert_eq!(linked(&script), None);
        // A file that is truncated after its magic number is still an ELF file, but nothing is known about it.
        std::fs::write(&script, elf::ELFMAG).unwrap();
        assert_eq!(linked(&script), Some(Linked::default()));
    }

    #[test]
    fn origin_is_replaced_by_the_directory_of_the_program() {
        let origin = Path::new("/sw/bin");
        assert_eq!(element(b"$ORIGIN/../lib", origin), Some("/sw/bin/../lib".into()));
        assert_eq!(element(b"/env/lib", origin), Some("/env/lib".into()));
        assert_eq!(element(b"lib", origin), None);
        assert_eq!(element(b"", origin), None);
    }
}
