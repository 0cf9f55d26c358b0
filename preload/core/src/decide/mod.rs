//! The decision about an absolute path. It looks at the index, the set of diverged paths and the path, and asks no
//! kernel.

pub mod spelling;
#[cfg(test)]
mod tests;
pub mod view;
pub mod walk;
