//! Cases of statfs, pathconf, extended attributes, sockets, notifications and mount tables.

use crate::tree;
use crate::world::{Case, Ops};

#[test]
fn statfs_gives_the_figures_of_the_shared_file_system() {
    Case::c("filesystem", "kinds")
        .says("  type 65735546 bsize 4096 namelen 251 flags 1026 id 1")
        .run();
}

#[test]
fn pathconf_gives_the_limits_of_the_shared_file_system() {
    Case::c("filesystem", "limits").run();
}

#[test]
fn missing_extended_attributes_take_no_operation() {
    Case::c("filesystem", "no_attributes").run();
}

#[test]
fn extended_attributes_have_the_original_s_values() {
    Case::c("filesystem", "attribute_values").tree(tree::writable).says("  noted").run();
}

// A bind or connect does not count as an operation on a path.
#[test]
fn a_socket_under_the_prefix_is_bound_and_found() {
    Case::c("filesystem", "sockets").says("through").ops(Ops::AtMost(25)).run();
    Case::c("filesystem", "relative_socket").ops(Ops::AtMost(6)).run();
}

#[test]
fn inotify_reports_changes_of_the_original() {
    Case::c("filesystem", "notification").says("read 1").ops(Ops::AtMost(12)).run();
}

#[test]
fn a_table_of_mounts_is_read_without_an_operation() {
    Case::c("filesystem", "mount_table")
        .tree(|t| {
            tree::standard(t);
            t.file("fstab", "none /somewhere tmpfs defaults 0 0\n");
        })
        .says("/somewhere")
        .run();
}
