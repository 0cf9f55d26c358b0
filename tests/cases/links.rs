//! Cases of symbolic links.

use crate::tree::{self, Tree};
use crate::world::{Case, Ops};

#[test]
fn a_dangling_link_stays_dangling() {
    Case::c("links", "dangling").says("  no/such/file").run();
}

/// Makes the standard tree, and an absolute link to a directory.
pub fn with_directory(t: &Tree) {
    tree::standard(t);
    t.link("abs-to-d", "{E}/d");
}

#[test]
fn an_absolute_link_inside_the_prefix_takes_no_operation() {
    Case::c("links", "absolute").tree(with_directory).says("one file 1").run();
}

// Reading the target outside the prefix does not count. Two calls count: one that leads the kernel by `outside-dir/..`
// back into the prefix, and one that makes a file through the link.
#[test]
fn a_link_that_leaves_the_prefix_leads_to_its_target() {
    Case::c("links", "leaving")
        .says("  reads: outside")
        .says("one file 1")
        .ops(Ops::AtMost(4))
        .run();
}

#[test]
fn a_short_buffer_gets_the_beginning_of_the_target_and_no_nul() {
    Case::c("links", "truncated")
        .says("readlink(P(\"abs-to-b\"), to, 5): 5")
        .says("/var/zzzz")
        .run();
}

#[test]
fn the_size_of_a_link_is_that_of_its_original_target() {
    Case::c("links", "size").says("abs-to-b: as long as its text 1").run();
}

#[test]
fn every_reader_of_links_gives_the_original_target() {
    Case::c("links", "readers").run();
}

// The probe calls realpath under all its names.
#[test]
fn realpath_gives_original_names() {
    Case::c("links", "real_names").run();
}

#[test]
fn links_that_form_a_circle_are_eloop() {
    Case::c("links", "loops")
        .says("stat(P(\"loop1\"), &s): Too many levels of symbolic links")
        .run();
}

#[test]
fn the_kernel_s_links_to_redirected_files_show_their_original_names() {
    Case::c("links", "of_the_kernel").run();
}

#[test]
fn readlink_writes_nothing_behind_the_name() {
    Case::c("links", "cleared_buffer").run();
}
