//! Tells from the head of a program file whether the dynamic loader will run, and so the shim.
#![forbid(unsafe_code)]

/// Size of a program header (gABI, ELF64).
pub const HEADER: usize = 56;
/// The machine that this code runs on (gABI, `e_machine`).
#[cfg(target_arch = "x86_64")]
const MACHINE: u16 = 62;
/// The machine that this code runs on.
#[cfg(target_arch = "aarch64")]
const MACHINE: u16 = 183;
const PT_INTERP: u32 = 3;

/// What the head of a program file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// It is no ELF file.
    Other,
    /// No loader runs, or one for another machine.
    Static,
    /// The dynamic loader runs.
    Dynamic,
    /// Only the program headers tell: their place in the file and their number.
    Headers(u64, u16),
}

/// What the first bytes of a program file say.
pub fn parse(head: &[u8]) -> Program {
    let number = |at: usize| {
        head.get(at..).and_then(|b| b.first_chunk::<2>()).map(|b| u16::from_le_bytes(*b))
    };
    // What the kernel refuses as no program of any class and byte order.
    if !head.starts_with(b"\x7fELF")
        || head.len() < 52
        || !matches!(head.get(4..7), Some([1 | 2, 1 | 2, 1]))
    {
        return Program::Other;
    }
    let place = head.get(32..).and_then(|b| b.first_chunk::<8>()).map(|b| u64::from_le_bytes(*b));
    let (Some(machine), Some(size), Some(count), Some(place)) =
        (number(18), number(54), number(56), place)
    else {
        return Program::Static;
    };
    // 64 bits, little-endian.
    if head.get(4..6) != Some(&[2, 1]) || machine != MACHINE || usize::from(size) != HEADER {
        return Program::Static;
    }
    let seen = usize::try_from(place).ok().and_then(|place| head.get(place..)).unwrap_or(&[]);
    if has_interpreter(seen, count) {
        Program::Dynamic
    } else if seen.len() / HEADER >= usize::from(count) {
        Program::Static
    } else {
        Program::Headers(place, count)
    }
}

/// Whether one of the first `count` program headers in `bytes` names a loader.
pub fn has_interpreter(bytes: &[u8], count: u16) -> bool {
    let headers = bytes.as_chunks::<HEADER>().0.iter().take(usize::from(count));
    headers.filter_map(|h| h.first_chunk::<4>()).any(|kind| u32::from_le_bytes(*kind) == PT_INTERP)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(kinds: &[u32]) -> std::vec::Vec<u8> {
        let mut file = std::vec![0; 64];
        file[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        file[18..20].copy_from_slice(&MACHINE.to_le_bytes());
        file[32] = 64;
        file[54] = HEADER as u8;
        file[56] = kinds.len() as u8;
        for kind in kinds {
            let at = file.len();
            file.resize(at + HEADER, 0);
            file[at..at + 4].copy_from_slice(&kind.to_le_bytes());
        }
        file
    }

    #[test]
    fn a_program_without_a_loader_is_known_by_its_headers() {
        assert_eq!(parse(b"#!/bin/sh"), Program::Other);
        assert_eq!(parse(&program(&[6, PT_INTERP, 1])), Program::Dynamic);
        assert_eq!(parse(&program(&[6, 1, 1])), Program::Static);
        let long = program(&[6, 1, 1, 1, PT_INTERP]);
        assert_eq!(parse(&long[..256]), Program::Headers(64, 5));
        assert!(has_interpreter(&long[64..], 5) && !has_interpreter(&long[64..], 4));
        let mut other = program(&[6, PT_INTERP]);
        other[18] ^= 1;
        assert_eq!(parse(&other), Program::Static);
        other = program(&[6, PT_INTERP]);
        other[4] = 1;
        assert_eq!(parse(&other), Program::Static);
        assert_eq!(parse(b"\x7fELF, but no more than that"), Program::Other);
    }
}
