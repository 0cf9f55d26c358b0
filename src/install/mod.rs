//! Finds the parts of the running installation ([`parts`]), and installs pyshm into another directory ([`layout`]),
//! with manual pages, completions and modulefiles.
#![forbid(unsafe_code)]

pub mod layout;
mod man;
pub mod modulefile;
mod parts;
mod preload;
mod stub;
mod tree;

pub use man::completions;
pub use parts::{SITE, broadcaster, has_helper, shim, trampoline};
