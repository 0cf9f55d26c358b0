//! Cases of writes: a write goes to the shared file system, and every process sees the write at once.
//!
//! A write makes operations, and so does each read of a path that diverged. The limits in [`Ops::AtMost`] show that
//! reads of other paths make no operations.

use crate::place::User;
use crate::tree;
use crate::world::{Case, Ops};

#[test]
fn a_new_file_is_seen_by_all_at_once() {
    Case::c("writes", "create").says("  reads: new").ops(Ops::AtMost(20)).run();
}

#[test]
fn an_append_to_a_bundled_file_is_read_back() {
    Case::c("writes", "append").says("size 11").ops(Ops::AtMost(10)).run();
}

#[test]
fn an_append_to_a_file_is_read_under_its_other_hard_link() {
    Case::c("writes", "append_by_hard_link").ops(Ops::AtMost(4)).run();
}

#[test]
fn a_removed_file_is_gone_and_gone_from_the_listing() {
    Case::c("writes", "remove_file").ops(Ops::AtMost(25)).run();
}

#[test]
fn a_file_renamed_into_out_of_and_within_the_prefix_has_its_new_name() {
    Case::c("writes", "rename_file").ops(Ops::AtMost(60)).run();
}

#[test]
fn the_whole_subtree_follows_a_renamed_directory() {
    Case::c("writes", "rename_directory").ops(Ops::AtMost(90)).run();
}

#[test]
fn made_and_removed_directories_are_listed_correctly() {
    Case::c("writes", "directories").ops(Ops::AtMost(60)).run();
}

#[test]
fn a_compiled_module_lands_in_the_original_tree_and_is_read_back() {
    Case::python("python", "compiles")
        .tree(|t| {
            tree::standard(t);
            t.file("lib/module.py", "answer = 42\n");
        })
        .says("42 cached True module.py")
        .ops(Ops::AtMost(60))
        .run();
}

#[test]
fn a_write_through_a_link_is_seen_under_the_file_s_own_name() {
    Case::c("writes", "through_links").ops(Ops::AtMost(60)).run();
}

#[test]
fn parents_and_children_see_each_other_s_writes() {
    Case::c("writes", "child_and_parent").ops(Ops::AtMost(30)).run();
}

#[test]
fn every_call_that_makes_or_removes_a_name_is_seen_at_once() {
    Case::c("mutate", "names").tree(tree::writable).ops(Ops::AtMost(250)).run();
}

#[test]
fn every_call_that_changes_attributes_is_seen_at_once() {
    Case::c("mutate", "attributes_by_path").tree(tree::writable).ops(Ops::AtMost(80)).run();
}

#[test]
fn every_call_that_changes_extended_attributes_is_seen_at_once() {
    Case::c("mutate", "extended_attributes").tree(tree::writable).ops(Ops::AtMost(60)).run();
}

#[test]
fn every_temporary_name_is_seen_at_once() {
    Case::c("mutate", "temporary").tree(tree::writable).ops(Ops::AtMost(150)).run();
}

#[test]
fn refused_calls_fail_as_without_the_shim() {
    Case::c("mutate", "refused").ops(Ops::AtMost(60)).run();
    Case::c("mutate", "refused").owned_by_root().ops(Ops::AtMost(60)).run();
}

// The limits are larger than in the cases above, because a name that the bundle lacks is looked up.
#[test]
fn under_an_overlay_writes_are_seen_at_once() {
    for probe in
        ["create", "remove_file", "rename_file", "rename_directory", "directories", "through_links"]
    {
        Case::c("writes", probe).overlay().ops(Ops::AtMost(100)).run();
    }
    Case::python("python", "writes").overlay().ops(Ops::AtMost(500)).run();
}

#[test]
fn a_write_through_a_link_beside_the_prefix_is_seen_under_the_prefix() {
    Case::c("writes", "through_a_link").says("  reads: by the link").ops(Ops::AtMost(80)).run();
}

#[test]
fn files_below_a_directory_without_search_permission_are_not_reached() {
    Case::c("writes", "not_searched").ops(Ops::AtMost(30)).run();
}

#[test]
fn a_change_by_a_relative_name_too_long_to_be_absolute_is_seen() {
    let case = Case::c("writes", "long_names").says("stat(\"b\", &s): No such file or directory");
    case.ops(Ops::AtMost(20)).run();
}

#[test]
fn a_change_by_a_hard_link_outside_the_prefix_is_seen_under_it() {
    let tree = |t: &tree::Tree| {
        tree::standard(t);
        t.hard_link("d/b", "../out/linked");
        t.hard_link("d/sub/c", "../out/linked2");
    };
    Case::c("writes", "by_hard_link_outside").tree(tree).ops(Ops::AtMost(60)).run();
}

#[test]
fn a_change_through_another_mount_is_seen_under_the_prefix() {
    Case::c("writes", "by_another_mount").ops(Ops::AtMost(80)).run();
}

#[test]
fn a_renamed_directory_above_the_prefix_is_seen() {
    let tree = |t: &tree::Tree| {
        tree::standard(t);
        t.file("../top/env/a", "hello\n");
        t.file("../top/env/d/b", "world\n");
    };
    Case::c("writes", "above").tree(tree).prefix("top/env").ops(Ops::AtMost(60)).run();
}

#[test]
fn a_replaced_link_to_the_prefix_is_seen() {
    let tree = |t: &tree::Tree| {
        tree::standard(t);
        t.link("../alias", "env");
    };
    let case = Case::c("writes", "retargeted").tree(tree).prefix("alias");
    case.ops(Ops::AtMost(60)).run();
}

#[test]
fn opening_files_beside_the_prefix_costs_no_more_operations() {
    Case::c("writes", "opened_beside").more_beside(0).run();
}

#[test]
fn other_changes_beside_the_prefix_cost_one_more_operation_each() {
    Case::c("writes", "changed_beside").more_beside(500).run();
}

#[test]
fn refused_calls_leave_no_mark() {
    let case = Case::c("writes", "refused_opens").owned_by_root().only(User::Ordinary);
    case.ops(Ops::AtMost(210)).marks(0).run();
}

#[test]
fn new_names_of_a_directory_share_their_marks() {
    Case::c("writes", "many_new_names").says("500 500").ops(Ops::AtMost(1100)).marks(2).run();
}

#[test]
fn a_mount_over_the_prefix_is_seen() {
    Case::c("writes", "mounted_over").ops(Ops::AtMost(40)).run();
}

#[test]
fn a_prefix_that_is_unmounted_is_gone() {
    // Only root may unmount.
    for probe in ["unmounted", "detached"] {
        Case::c("writes", probe).prefix(".").only(User::Root).ops(Ops::AtMost(10)).run();
    }
}
