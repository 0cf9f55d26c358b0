//! The cases that must hold: what a program sees through the shim is what it would see without it.
//!
//! How a case is written is said in [`world`]. `hooks.txt` names for each hook the case that fails without it;
//! `tests/tools/hooks_off.py` tries it.

mod place;
mod probes;
mod trace;
mod tree;
mod world;

mod paths;
