//! room

pub mod spelling;
#[cfg(test)]
mod tests;
pub mod view;
pub mod walk;
