//! Defines the reasons for which a bundle cannot be laid over others. Each message completes "failed to use bundle X:
//! …".
#![forbid(unsafe_code)]

use std::path::PathBuf;

use crate::text::shown;

/// Why a bundle does not fit over the stack.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    /// The bundles right below are not those that the layer was packed over.
    #[error(
        "it says only what changed since {0}; name {0} right before it, as the same file that it was packed over, or pack \
         it again"
    )]
    OtherBundlesBelow(String),
    /// A foreign layer has no bundle below it.
    #[error(
        "it is a layer, and no bundle named before it covers {}; name what it lies over first",
        .0.display()
    )]
    NothingBelow(PathBuf),
    /// The prefix's parent is not a directory of the bundle that contains it.
    #[error(
        "its prefix {} lies in no directory that the bundle of {} has; pack that bundle again",
        prefix.display(),
        outer.display()
    )]
    NotInDirectory {
        /// The prefix.
        prefix: PathBuf,
        /// The prefix of the bundle below that contains it.
        outer: PathBuf,
    },
    /// A layer needs a directory that is not a directory in the bundles below.
    #[error("it changes what lies in {}, which is not a directory below it", shown(.0))]
    NoDirectoryBelow(Vec<u8>),
    /// A layer takes the data of a file from the bundles below, which do not have it.
    #[error("it has no data for {}, and the bundles below it have none either", shown(.0))]
    NoDataBelow(Vec<u8>),
}
