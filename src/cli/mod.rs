//! Implements the command `pyshm`, which packs, inspects, stages and verifies bundles by hand, and installs pyshm. A
//! job needs none of this.
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
