//! Defines the reasons for which a bundle cannot be laid over the bundles that were named before it. Each message
//! completes "failed to use bundle X: …".
#![forbid(unsafe_code)]

use std::path::PathBuf;

use crate::text::shown;

/// Why a bundle does not fit over the stack.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    /// The bundles right below the layer are not those that the layer was packed over.
    #[error(
        "the layer holds only what changed since {0}; name {0} right before the layer, with the contents that the layer \
         was packed over, or pack the layer again"
    )]
    OtherBundlesBelow(String),
    /// No bundle below a layer covers one of the layer's prefixes.
    #[error(
        "no bundle that is named before this layer covers {}; before the layer, name the bundle that the layer changes",
        .0.display()
    )]
    NothingBelow(PathBuf),
    /// The new prefix lies in a prefix of the stack, whose bundles do not have the new prefix's parent directory.
    #[error(
        "its prefix {} lies in a directory that the earlier bundle of {} does not have; pack the earlier bundle again",
        prefix.display(),
        outer.display()
    )]
    NotInDirectory {
        /// The new bundle's prefix.
        prefix: PathBuf,
        /// The prefix of the stack in which the new prefix lies.
        outer: PathBuf,
    },
    /// A layer changes paths in a directory that the bundles below do not have as a directory.
    #[error("the layer changes paths in {}, which is not a directory in the bundles named before the layer", shown(.0))]
    NoDirectoryBelow(Vec<u8>),
    /// A layer changes only the attributes of a file, and the bundles below have no data of the file's size.
    #[error("the layer has no data for {}, and the bundles named before the layer have no file of its size", shown(.0))]
    NoDataBelow(Vec<u8>),
}
