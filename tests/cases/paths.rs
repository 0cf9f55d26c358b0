//! Which file a path means.

use crate::world::Case;

// Case 6.
#[test]
fn a_missing_name_is_enoent_without_an_operation() {
    Case::c("paths", "missing").says("stat(P(\"nope\"), &s): No such file or directory").run();
}
