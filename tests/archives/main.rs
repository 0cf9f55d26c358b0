//! Tests foreign tars: pyshm stages the tree that a tar was packed from, or refuses the tar by name and leaves nothing.

#[path = "../common/mod.rs"]
mod common;

mod build;
mod formats;
mod hostile;
mod streams;
