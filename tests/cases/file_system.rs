//! What is asked of the file system, its attributes, its sockets and its notifications.

use crate::tree;
use crate::world::{Case, Ops};

// Case 58.
#[test]
fn the_file_system_is_the_shared_one() {
    Case::c("filesystem", "kinds")
        .says("  type 65735546 bsize 4096 namelen 255 flags 1026 id 1")
        .run();
}

#[test]
fn extended_attributes_that_are_not_there_take_no_operation() {
    Case::c("filesystem", "no_attributes").run();
}

#[test]
fn extended_attributes_have_the_original_s_values() {
    Case::c("filesystem", "attribute_values").tree(tree::writable).says("  noted").run();
}

#[test]
fn changes_are_notified() {
    Case::c("filesystem", "notification").says("read 1").ops(Ops::AtMost(12)).run();
}
