//! Runs the cases, which show that a program sees the same with the shim as without the shim.
//!
//! [`world`] says how to write a case. `hooks.txt` names for each hook a case that fails if the hook is missing.
//! `tests/tools/hooks_off.py` removes each hook and checks that the case fails.

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
mod open;
mod originals;
mod paths;
mod programs;
mod raw;
mod robust;
mod scripts;
mod walkers;
mod writes;
