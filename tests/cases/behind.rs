//! Cases of what stands behind the shim: another preloaded library sees every call that passes.

use crate::place::User;
use crate::tree;
use crate::world::{Case, Ops};

/// A case of a function of `probes/behind.c`, with a library behind the shim that counts calls.
fn counted(name: &str) -> Case {
    Case::c("behind", name).variable("LD_PRELOAD", "{probes}/libbehind.so").ops(Ops::Any)
}

#[test]
fn a_library_behind_sees_every_call_beside_the_prefix() {
    counted("beside").says("  renameat2 1").says("  getdents64 1").run();
}

#[test]
fn a_library_behind_sees_every_call_that_passes_under_the_prefix() {
    counted("passed").says("  renameat2 1").says("  getdents64 1").run();
}

#[test]
fn a_library_behind_sees_calls_by_which_a_process_becomes_another_user() {
    counted("identities").says("  setresuid 1").only(User::Root).run();
}

// fakeroot pretends the owners of files, which it knows by their inodes.
#[test]
fn fakeroot_pretends_owners_under_the_prefix() {
    let script = "
id -u; stat -c '%U %n' $E/a $E/d; chown daemon:daemon $E/a; stat -c '%U' $E/a $E/same-as-a
mknod $E/dev c 1 3; stat -c '%F %t %T' $E/dev; mkdir $E/made; stat -c %U $E/made $E/made/..
tar -C $E -cf - a d dev full to-a | tar tvf - | awk '{print $1, $2, $6}' | sort
python3 -ISc 'import os; E = os.environ[\"E\"]; f = open(E + \"/d/b\"); print(os.stat(E + \"/d\").st_uid, os.fstat(f.fileno()).st_uid, os.stat(f.fileno()).st_gid)'
find $E -maxdepth 1 -printf '%f %u\n' | sort; ls -ln $E/full | awk '{print $1, $3, $9}'; touch $E/full/2; stat -c %u $E/full/2
";
    Case::command(&["fakeroot", "sh", "-c", script])
        .tree(tree::writable)
        .says("character special file 1 3")
        .says("0 0 0")
        .ops(Ops::Any)
        .only(User::Ordinary)
        .run();
}
