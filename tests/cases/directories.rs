//! Cases of directory streams, and of the libc functions that read directories.

use crate::tree;
use crate::world::{Case, Ops};

// The probe reads streams with each variant of readdir.
#[test]
fn every_entry_of_a_stream_has_the_original_s_inode_number() {
    Case::c("directories", "streams").run();
}

// The bundle has no entry for `..` of the prefix.
#[test]
fn every_entry_of_the_prefix_itself_has_the_original_s_inode_number() {
    Case::c("directories", "top").ops(Ops::Any).run();
}

#[test]
fn a_stream_of_a_descriptor_has_the_same_entries() {
    Case::c("directories", "from_descriptors").says("one directory 1").run();
}

#[test]
fn a_stream_that_goes_back_gives_the_same_entries() {
    Case::c("directories", "positions").says("found again 7").says("after rewinddir 7").run();
}

// The second stream must get the memory of the first, as with glibc's malloc.
#[test]
fn a_closed_stream_is_forgotten() {
    Case::c("directories", "closing").says("in its place 1").run();
}

#[test]
fn every_scan_of_a_directory_is_answered_by_the_stage() {
    Case::c("directories", "scanning").run();
}

#[test]
fn patterns_match_without_an_operation() {
    Case::c("directories", "globbing").run();
}

#[test]
fn words_are_expanded_without_an_operation() {
    Case::c("directories", "words").run();
}

#[test]
fn a_tree_is_walked_without_an_operation() {
    Case::c("directories", "walking").run();
}

// The walk changes into the original directories, and opens the original directories to come back.
#[test]
fn a_walk_with_ftw_chdir_stands_in_the_original_directories() {
    Case::c("directories", "walking_in_the_directories").ops(Ops::Any).run();
}

#[test]
fn a_hierarchy_is_traversed_without_an_operation() {
    Case::c("directories", "traversing").run();
}

// The traversal changes into the original directories.
#[test]
fn a_traversal_without_fts_nochdir_stands_in_the_original_directories() {
    Case::c("directories", "traversing_in_the_directories").ops(Ops::Any).run();
}

// The directory has more entries than fit into one buffer of getdents64.
#[test]
fn a_large_directory_is_listed_whole() {
    Case::sh("ls -i $E/large | awk '{print $2}' | cksum; ls -U $E/large | wc -l; find $E/large -name '*99' | sort")
        .tree(|t| {
            tree::standard(t);
            for i in 0..2500 {
                t.file(&format!("large/file-with-a-name-of-some-length-{i}"), "");
            }
        })
        .says("2500")
        .run();
}

#[test]
fn a_rewound_stream_shows_the_current_entries() {
    let case = Case::c("directories", "rewound").says("after one was made 8");
    case.says("after two were removed 6").ops(Ops::AtMost(20)).run();
}

#[test]
fn a_listing_in_progress_gives_no_name_twice() {
    Case::c("directories", "under_way").says("times 1 1 1 1 1").ops(Ops::AtMost(10)).run();
}
