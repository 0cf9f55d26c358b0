//! Connects hooks with libc: declares hooks, finds the functions behind them, and allocates libc's memory.

#[macro_use]
pub mod hook_macros;
pub mod heap;
pub mod lazy_libc;
