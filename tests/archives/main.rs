//! Tests foreign tars. pyshm stages the tree that a tar was packed from, or refuses the tar with a message that names
//! the cause, and leaves nothing of the stage.

#[path = "../common/mod.rs"]
mod common;

mod build;
mod formats;
mod hostile;
mod streams;
