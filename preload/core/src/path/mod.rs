//! Turns the path that a caller passes into what a hook has to do.
//!
//! Three functions answer one question: which file does the caller mean? Each takes an [`argument::PathArg`], then the
//! purpose of the call, then a closure that gets the answer:
//!
//! - [`reads::read`]: for a call that reads. The index answers, or the hook uses the staged file.
//! - [`writes::write`]: for a call that changes something. The change is marked as diverged, and the call goes to the
//!   original.
//! - [`originals::original`]: for a call that needs the original but changes nothing that the index records.

pub mod argument;
pub mod canonical;
pub mod change;
pub mod fast_path;
pub mod fd_link;
pub mod marks;
pub mod originals;
pub mod outside;
pub mod reads;
pub mod resolve;
pub mod writes;
