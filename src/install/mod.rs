//! The installation: finds the parts of this one ([`parts`]), and lays out another one ([`layout`]) with its manual pages,
//! completions and modulefiles.
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
