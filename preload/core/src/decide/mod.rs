//! Decides about an absolute path from the index, the set of diverged paths and the path alone, without a system call.

pub mod spelling;
#[cfg(test)]
mod tests;
pub mod view;
pub mod walk;
