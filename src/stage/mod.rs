//! Builds, finds and removes stages: copies of a job's bundles on one node, usually in `/dev/shm`.
//!
//! ```text
//! session              the steps of staging, the same for bundle files and for the broadcast
//! local                drives a session from bundle files; bcast is the other driver
//! build/               writes a stage under a temporary name and publishes it with one rename
//! reuse/               takes bundles from other stages of this node, and finds what has diverged
//! limits/              space in the file system, and in the job's memory
//! published            finds, describes and removes a published stage
//! lease, hold          record who uses a stage; the last process to release its hold removes the stage
//! gc                   removes stages that nobody uses
//! teardown             when this process is stopped: removes what the process has made
//! user_dir, ownership  where a user's stages lie, and which files are trusted
//! id, info             the name of a stage, and its description
//! job_record           the record that the ranks of a job share on a node
//! ```
//!
//! [`pyshm_format::layout`] defines the layout of a stage's directory.
// Every module of this room is `forbid(unsafe_code)`, except `shared_state`.
#![deny(unsafe_code)]

pub mod build;
mod build_options;
mod bundle_files;
mod gc;
pub mod hold;
mod id;
mod info;
pub mod job_record;
mod lease;
pub mod limits;
mod local;
pub mod noexec;
mod ownership;
mod published;
pub mod reuse;
pub mod session;
#[allow(unsafe_code, reason = "it maps a file that ranks change at the same time")]
mod shared_state;
mod staged_file;
pub mod teardown;
mod user_dir;

pub use crate::stage::build::{IncomingBundle, Runtime};
pub use crate::stage::build_options::{AfterUse, BuildOptions, Freshness};
pub use crate::stage::bundle_files::BundleFiles;
pub use crate::stage::gc::{collect_garbage, remove_unfinished};
pub use crate::stage::id::{Identity, StageId};
pub use crate::stage::info::Info;
pub use crate::stage::lease::Lease;
pub use crate::stage::local::{Staged, stage_here};
pub use crate::stage::published::Stage;
pub use crate::stage::user_dir::UserDir;
