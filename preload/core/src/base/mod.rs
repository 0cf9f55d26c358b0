//! room

pub mod arena;
pub mod env;
pub mod link_map;
pub mod readable;
pub mod scratch;
pub mod sys;
pub mod text;
pub mod thin_callback;
