//! `pyshm`: packs, inspects, stages and verifies bundles, and sets pyshm up, by hand. A job needs none of it.
#![forbid(unsafe_code)]

mod bundle;
mod cache;
mod command;
mod config;
mod doctor;
mod install;
mod json;
mod module;
mod nodes;
mod stage;
mod status;
mod verify;

pub use command::main;
