//! Tars that pyshm did not make: staged as what they were packed from, or refused by name with nothing left behind.

#[path = "../common/mod.rs"]
mod common;

mod build;
mod formats;
mod hostile;
mod streams;
