//! How

#[macro_use]
pub mod hook_macros;
pub mod heap;
pub mod lazy_libc;
