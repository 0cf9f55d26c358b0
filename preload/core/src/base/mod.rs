//! The kernel, libc and memory, as far as the rest needs them. Nothing here knows of a stage.

pub mod arena;
pub mod env;
pub mod interned;
pub mod link_map;
pub mod mounts;
pub mod readable;
pub mod scratch;
pub mod sys;
pub mod text;
pub mod thin_callback;
