//! The cases: a program sees through the shim what it would see without it.
//!
//! [`world`] says how a case is written. `hooks.txt` names for each hook a case that fails without it;
//! `tests/tools/hooks_off.py` tries that.

mod objects;
mod place;
mod probes;
mod trace;
mod tree;
mod world;

mod attributes;
mod builds;
mod cwd;
mod descriptors;
mod directories;
mod environment;
mod exec;
mod file_system;
mod links;
mod loader;
mod locks;
mod moved;
mod open;
mod originals;
mod paths;
mod programs;
mod raw;
mod robust;
mod scripts;
mod walkers;
mod writes;
