//! Writes the line that `PYSHM_LOG` asks for on standard error when a program starts: whether the shim is active and,
//! if not, why. The shim never prints anything else.

use pyshm_format::layout::ENV_LOG;

use crate::base::text::join;
use crate::base::{env, sys};
use crate::stage::current::why_inert;
use crate::stage::find::directory;
use crate::stage::inert::{Inert, TEXTS};
use crate::stage::mapped::Stage;

/// Writes the line if `PYSHM_LOG` is set. The constructor calls this.
pub fn start(stage: Option<&Stage>) {
    if matches!(env::get(ENV_LOG.as_bytes()), None | Some(b"" | b"0")) {
        return;
    }
    write_line(stage);
}

/// Writes the line. This is a function of its own so that the constructor, which runs in every program, has no buffer
/// in its stack frame.
#[cold]
#[inline(never)]
fn write_line(stage: Option<&Stage>) {
    let dir = stage.map(Stage::dir).or(directory().ok()).unwrap_or(b"");
    let (what, why) = match (stage, why_inert()) {
        (Some(_), _) => (&b"active"[..], &b""[..]),
        // A program with more privileges than the user must not obey the user's environment.
        (None, why) if why <= Inert::Privileged as u8 => return,
        (None, why) => {
            let number = usize::from(why - Inert::Privileged as u8);
            (&b"inactive: "[..], TEXTS.split(|&b| b == b'\n').nth(number).unwrap_or(b""))
        }
    };
    let (open, close) = if dir.is_empty() { (&b""[..], &b""[..]) } else { (&b" ("[..], &b")"[..]) };
    let mut line = [0u8; 1280];
    // `PYSHM_STAGE` may be too long for a stage.
    let cut = dir.get(..1024).unwrap_or(dir);
    let parts = [b"pyshm: ", what, why, open, cut, close, b"\n"];
    let Some(len) = join(&mut line, &parts) else { return };
    // One call, so that lines of many ranks do not mix.
    // SAFETY: the kernel reads `len` bytes of `line`.
    let _ = unsafe { sys::syscall(libc::SYS_write, [2, line.as_ptr() as usize, len, 0, 0, 0]) };
}
