//! Makes an empty library for 32-bit programs. Their loader preloads this library in place of the shim, so that the
//! loader does not print an error about a library for another machine.
//!
//! The bytes are written by hand because machines that pyshm is installed on seldom have a 32-bit compiler. The library
//! defines nothing, needs nothing and runs nothing: it is one segment with the tables that every loader reads (System V
//! ABI, chapters 4 and 5, and its Intel386 supplement).
#![forbid(unsafe_code)]

/// The name of the library.
const NAME: &[u8] = b"libpyshm.so";

const HEADER: u32 = 52;
const SEGMENT: u32 = 32;
const SEGMENTS: u32 = 3;
const DYNAMIC_ENTRY: u32 = 8;
const SYMBOL: u32 = 16;

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_GNU_STACK: u32 = 0x6474_e551;
const READ_WRITE: u32 = 6;
const PAGE: u32 = 4096;

const DT_NULL: u32 = 0;
const DT_HASH: u32 = 4;
const DT_STRTAB: u32 = 5;
const DT_SYMTAB: u32 = 6;
const DT_STRSZ: u32 = 10;
const DT_SYMENT: u32 = 11;
const DT_SONAME: u32 = 14;

/// Returns the bytes of the file.
pub(super) fn i386() -> Vec<u8> {
    let strings = [b"\0", NAME, b"\0"].concat();
    let dynamic_at = HEADER + SEGMENTS * SEGMENT;
    let dynamic_size = 7 * DYNAMIC_ENTRY;
    let hash_at = dynamic_at + dynamic_size;
    // One bucket and one chain, both of the null symbol.
    let hash = [1, 1, 0, 0];
    let symbols_at = hash_at + 16;
    let strings_at = symbols_at + SYMBOL;
    let strings_size = strings.len() as u32;
    let size = strings_at + strings_size;

    // ELFCLASS32, ELFDATA2LSB, EV_CURRENT; then ET_DYN, EM_386.
    let mut file = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x03\0".to_vec();
    let mut words = |words: &[u32]| words.iter().for_each(|w| file.extend(w.to_le_bytes()));
    // Version, no entry point, segments right after the header, no sections, no flags.
    words(&[1, 0, HEADER, 0, 0]);
    // Two half words each: sizes and numbers of the header and its tables.
    words(&[HEADER | SEGMENT << 16, SEGMENTS, 0]);
    // Writable, because loaders relocate the dynamic section in place.
    words(&[PT_LOAD, 0, 0, 0, size, size, READ_WRITE, PAGE]);
    words(&[
        PT_DYNAMIC,
        dynamic_at,
        dynamic_at,
        dynamic_at,
        dynamic_size,
        dynamic_size,
        READ_WRITE,
        4,
    ]);
    // Without this segment the loader would make the program's stack executable.
    words(&[PT_GNU_STACK, 0, 0, 0, 0, 0, READ_WRITE, 16]);
    words(&[DT_SONAME, 1, DT_HASH, hash_at, DT_STRTAB, strings_at, DT_SYMTAB, symbols_at]);
    words(&[DT_STRSZ, strings_size, DT_SYMENT, SYMBOL, DT_NULL, 0]);
    words(&hash);
    words(&[0; (SYMBOL / 4) as usize]);
    file.extend(strings);
    file
}

#[cfg(test)]
mod tests {
    use object::read::elf::{Dyn, ElfFile32, FileHeader, ProgramHeader};
    use object::{Architecture, Endianness, Object, ObjectSymbolTable, elf};

    use super::*;

    #[test]
    fn the_stub_is_a_valid_i386_library_that_needs_and_defines_nothing() {
        let bytes = i386();
        let file = ElfFile32::<Endianness>::parse(&bytes[..]).unwrap();
        assert_eq!(file.architecture(), Architecture::I386);
        assert_eq!(file.kind(), object::ObjectKind::Dynamic);
        assert!(file.dynamic_symbol_table().is_none_or(|table| table.symbols().next().is_none()));
        let (header, endian) = (file.elf_header(), file.endian());
        let segments = header.program_headers(endian, &bytes[..]).unwrap();
        let ends = segments.iter().map(|s| s.p_offset(endian) + s.p_filesz(endian));
        assert_eq!(ends.max(), Some(bytes.len() as u32));
        let dynamic = segments.iter().find_map(|s| s.dynamic(endian, &bytes[..]).unwrap()).unwrap();
        let value = |tag| dynamic.iter().find(|d| d.d_tag(endian) == tag).map(|d| d.d_val(endian));
        let name = value(elf::DT_STRTAB).unwrap() + value(elf::DT_SONAME).unwrap();
        assert_eq!(&bytes[name as usize..][..NAME.len() + 1], b"libpyshm.so\0");
        assert_eq!(value(elf::DT_NEEDED), None);
        let stack = segments.iter().find(|s| s.p_type(endian) == elf::PT_GNU_STACK).unwrap();
        assert_eq!(stack.p_flags(endian), elf::PF_R | elf::PF_W);
    }
}
