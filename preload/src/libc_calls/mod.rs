//! libc's own functions: how a hook is declared, how it reaches the function that it stands in front of, and libc's
//! memory.

#[macro_use]
pub mod hook_macros;
pub mod heap;
pub mod lazy_libc;
