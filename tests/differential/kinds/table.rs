//! Lists the kinds, and the reason for each kind that is off.

/// A group of situations in which the two runs may differ. README.md describes each in more detail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A file's content changes while a descriptor that reads the file is open or the file is mapped.
    Stale,
    /// An object is renamed, replaced or removed while a process has the object, or an object below it, open or as its
    /// working directory.
    Moved,
    /// A file has a name outside the prefix.
    OutsideLink,
    /// The number of a file's names changes.
    LinkCount,
    /// Second mounts, and mounts over directories.
    Mount,
    /// A directory above the prefix, the prefix itself or a link that leads into it is renamed, replaced or removed.
    Above,
    /// A path through a descriptor's name, such as `/proc/self/fd/N`.
    FdName,
    /// Locks.
    Lock,
    /// Names through `.`, `..` and repeated or trailing slashes.
    Dots,
    /// The stage is removed.
    Unstage,
    /// Limits of descriptors and file sizes.
    Limit,
    /// Another root.
    Chroot,
    /// The process becomes another user for a while.
    Identity,
    /// Objects that the user may not read or search.
    Permission,
    /// Threads that have a working directory of their own.
    Unshare,
    /// A directory is opened by `O_PATH`.
    PathDir,
    /// A directory changes between the opening of a stream and its reading.
    Stream,
    /// A descriptor is opened for reading through a link outside the prefix that leads into the prefix.
    OutsideName,
    /// Attributes of a file with several names are changed by a descriptor that reads it.
    LinkedFd,
    /// Flags of a directory's descriptor are set.
    DirFlags,
    /// A directory's descriptor is moved to a position that is not the beginning.
    DirSeek,
    /// A program of the prefix is opened for writing while it runs.
    TextBusy,
    /// A stream is opened again with a name that cannot be opened.
    Freopen,
    /// A descriptor gets a name by `linkat` with `AT_EMPTY_PATH`.
    LinkEmpty,
    /// A path of the prefix leads out of the prefix and back.
    Returns,
    /// A child without the shim changes something.
    Static,
    /// The process that starts the program has opened descriptors under the prefix.
    Opened,
    /// Bytes are copied by the kernel from one file to another.
    CopyRange,
    /// A user takes away his own search permission of a directory, while he may have objects below it open.
    Closed,
}

/// Each kind, its name, and the reason if it is off. `None` means that the kind is on.
pub const KINDS: &[(Kind, &str, Option<&str>)] = &[
    (Kind::Stale, "stale", Some("a staged descriptor goes on reading the staged data")),
    (Kind::Moved, "moved", Some("a descriptor is followed by its name")),
    (Kind::OutsideLink, "outside-link", None),
    (Kind::LinkCount, "link-count", None),
    (Kind::Mount, "mount", Some("a descriptor below a mount point is followed by its name")),
    (Kind::Above, "above", None),
    (Kind::FdName, "fd-name", Some("names of staged descriptors lead into the stage")),
    (Kind::Lock, "lock", Some("a lock exchanges the descriptor")),
    (Kind::Dots, "dots", Some("a path that ends in a directory's own name, `.`")),
    (Kind::Unstage, "unstage", Some("writes after the stage is gone are not marked")),
    (Kind::Limit, "limit", Some("a writer without descriptors cannot mark")),
    (Kind::Chroot, "chroot", Some("not looked at yet")),
    (Kind::Identity, "identity", Some("permission is computed for the identity at the start")),
    (Kind::Permission, "permission", Some("the packer's permission counts, not the user's")),
    (Kind::Unshare, "unshare", Some("not looked at yet")),
    (Kind::PathDir, "path-dir", Some("the descriptor of the staged directory can also be read")),
    (Kind::Stream, "stream", Some("a stream of a staged directory goes on reading it")),
    (
        Kind::OutsideName,
        "outside-name",
        Some("attributes changed by that descriptor are not marked"),
    ),
    (Kind::LinkedFd, "linked-fd", Some("only the name that was opened is marked")),
    (
        Kind::DirFlags,
        "dir-flags",
        Some("a staged directory's descriptor loses the flags that mark it"),
    ),
    (Kind::DirSeek, "dir-seek", Some("positions and order are the stage's file system's")),
    (Kind::TextBusy, "text-busy", Some("the staged copy runs, not the original")),
    (Kind::Freopen, "freopen", Some("the stream is not closed")),
    (Kind::LinkEmpty, "link-empty", Some("the link is made by name, which needs no privilege")),
    (Kind::Returns, "returns", Some("only the prefix's own name is marked")),
    (Kind::Static, "static", Some("the child's writes are not marked")),
    (
        Kind::Opened,
        "opened",
        Some("the shim does not know a descriptor that was opened before it was loaded"),
    ),
    (Kind::CopyRange, "copy-range", Some("the stage is another file system: EXDEV")),
    (Kind::Closed, "closed", Some("a descriptor is followed by its name")),
];
