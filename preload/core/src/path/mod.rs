//! From the path that a caller passes to what a hook has to do.
//!
//! Three entries answer one question, "which file is meant?". Each takes a [`argument::PathArg`], then what the call is
//! for, then what to call with the answer:
//!
//! - [`reads::read`]: the call reads; the index may answer, or the staged file is used.
//! - [`writes::write`]: the call changes something; what it changes is marked as diverged, and the original is used.
//! - [`originals::original`]: the call needs the original itself and changes nothing that the index knows.

pub mod argument;
pub mod fast_path;
pub mod fd_link;
pub mod locks;
pub mod marks;
pub mod originals;
pub mod outside;
pub mod reads;
pub mod resolve;
pub mod writes;
