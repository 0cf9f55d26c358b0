//! Chooses the beginning of a program: its tree, the user who packs the prefix, the mode, and the open descriptors.

use crate::kinds::{Kind, Kinds};
use crate::program::{Mode, Program, User};
use crate::random::Random;
use crate::twins::is_root;

/// Lines of a tree, in an order in which they can be made. Each program gets some of these lines.
const TREE: &str = "\
dir {M}/out 755 user
dir {M}/out/dir 755 user
dir {M}/pkgs 755 user
dir {M}/p/env2 755 user
dir {E}/d 755 user
dir {E}/d/sub 755 user
dir {E}/d/sub/deep 755 user
dir {E}/empty 755 user
dir {E}/full 755 user
dir {E}/lib 755 user
dir {E}/w 755 user
dir {E}/bin 755 user
dir {E}/keep 555 user
file {M}/out/real 644 user 30
file {M}/out/dir/x 644 user 20
file {M}/p/env2/a 644 user 25
dir {M}/p/env2/d 755 user
file {M}/p/env2/d/b 644 user 26
link {M}/p/env2/to-env ../env
link {M}/p/env2/to-a {E}/a
file {E}/a 644 user 12
file {E}/b 644 user 100
file {E}/ro 444 user 40
file {E}/d/b 644 user 60
file {E}/d/sub/c 600 user 5000
file {E}/d/sub/deep/x 644 user 70
file {E}/full/1 644 user 10
file {E}/full/2 644 user 20
file {E}/full/3 664 user 30
file {E}/lib/m.py 644 user 200
file {E}/w/f1 644 user 41
file {E}/w/f2 644 user 42
file {E}/w/f3 644 user 43
file {E}/w/f4 640 user 44
file {E}/w/zero 644 user 0
file {E}/w/big 644 user 20000
file {E}/keep/x 444 user 33
file {E}/bin/tool 755 user 0
link {E}/to-a a
link {E}/to-d d
link {E}/abs-b {E}/d/b
link {E}/dangling no/such
link {E}/out-f {M}/out/real
link {E}/out-d {M}/out
link {E}/out-rel ../../out
link {E}/up ..
link {E}/to-env2 ../env2
link {E}/d/to-other-b {M}/p/env2/d/b
link {E}/lib64 lib
link {E}/loop1 loop2
link {E}/loop2 loop1
link {E}/full/link 1
link {E}/d/back ../w
link {M}/out/to-env {E}
link {M}/out/to-a {E}/a
link {M}/out/to-d {E}/d
link {M}/alias p/env
hard {E}/same-as-a {E}/a
hard {E}/w/h1 {E}/w/f1
hard {E}/lib/h2 {E}/w/f2
hard {M}/pkgs/f3 {E}/w/f3
hard {M}/pkgs/b {E}/d/b
fifo {E}/w/fifo 644 user
xattr {E}/a user.note first
xattr {E}/w/f3 user.k value
xattr {E}/d user.dir of-the-directory
xattr {E}/d/b user.long 0123456789012345678901234567890123456789";

/// Lines that only root can make, or that matter only if objects have different owners.
const TREE_OF_ROOT: &str = "\
dir {E}/priv 700 root
file {E}/priv/x 644 root 21
dir {E}/blind 311 root
file {E}/blind/x 644 root 22
dir {E}/mute 744 root
file {E}/mute/x 644 root 22
file {E}/secret 600 root 23
file {E}/w/of-root 644 root 24
dir {E}/of-root 755 root
file {E}/of-root/x 644 root 25
file {E}/of-root/user 644 user 25
bind {M}/bind {E}
bind {M}/bind-d {E}/d";

/// Chooses every part of a program of `user` except the steps.
pub(super) fn program(random: &mut Random, user: User, kinds: &Kinds) -> Program {
    let mode = if random.percent(70) { Mode::Snapshot } else { Mode::Overlay };
    let packer = if is_root() && !kinds.is_off(Kind::Permission) && random.percent(30) {
        User::Root
    } else {
        user
    };
    let mut tree: Vec<String> = TREE.lines().map(String::from).collect();
    if is_root() {
        tree.extend(TREE_OF_ROOT.lines().map(String::from));
    }
    let few = random.percent(30);
    tree.retain(|line| {
        let keep = if few { 50 } else { 92 };
        (line.starts_with("dir {M}") || random.percent(keep)) && kinds.allow_line(line, user)
    });
    if random.percent(30) {
        tree.push("copy {E}/bin/steps 755 user".into());
    }
    if is_root() && !kinds.is_off(Kind::Permission) && random.percent(20) {
        // The prefix is like an environment that a facility provides: root owns it.
        for line in tree.iter_mut().filter(|line| line.contains("{E}")) {
            *line = line.replace(" user", " root");
        }
    }
    let aliased = tree.iter().any(|line| line.starts_with("link {M}/alias ")) && random.percent(20);
    let mut program = Program::new(user, packer, mode, tree);
    if !kinds.is_off(Kind::Opened) && random.percent(30) {
        let file = random.word("{E}/a {E}/log {E}/w/f1 {E}/d/b {E}/w/h1 {M}/alias/b");
        let flags = random.word("WRONLY|APPEND|CREAT WRONLY|CREAT|TRUNC RDWR|CREAT RDONLY");
        program.opened.push(format!("open s0 {file} {flags} 644"));
    }
    if random.percent(25) && program.tree.iter().any(|line| line.starts_with("dir {M}/p/env2 ")) {
        program.prefixes.push("{M}/p/env2".into());
    }
    if aliased {
        program.prefixes = vec!["{M}/alias".into()];
    }
    program
}
