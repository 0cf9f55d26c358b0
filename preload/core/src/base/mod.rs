//! Wraps the kernel, libc and memory for the other rooms. No module here uses a stage.

pub mod arena;
pub mod env;
pub mod link_map;
pub mod mounts;
pub mod readable;
pub mod scratch;
pub mod sys;
pub mod text;
pub mod thin_callback;
