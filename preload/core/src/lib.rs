//! core
#![cfg_attr(not(test), no_std)]

pub mod base;
pub mod decide;
pub mod exec;
pub mod launch;
pub mod path;
pub mod stage;
