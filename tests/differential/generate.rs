//! Chooses trees and steps at random, so that most steps hit something.
//!
//! The generator sees the bare run's tree and descriptors before each step. A few objects are in *focus*: most steps
//! concern them, so that one process reads what another has just renamed.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::kinds::{Kind, Kinds};
use crate::program::{Mode, Program, User};
use crate::random::Random;
use crate::state::{Slot, State};
use crate::twins::is_root;

/// Lines of a tree, in an order in which they can be made.
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

/// Lines that only root can make, or that only matter beside another owner.
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

/// Groups of choices in [`Generator::step`], of which a program has favourites: the more often steps of few groups meet, the
/// deeper it gets. Beside each, a kind without which the group is empty.
const GROUPS: &[(std::ops::Range<usize>, Option<Kind>)] = &[
    (0..200, None),
    (205..345, None),
    (336..430, None),
    (433..451, Some(Kind::Lock)),
    (451..553, None),
    (563..652, None),
    (652..682, None),
    (682..728, None),
    (728..773, None),
    (773..813, None),
    (813..869, None),
    (869..889, None),
    (889..918, None),
    (920..930, Some(Kind::Identity)),
    (930..962, None),
    (962..972, Some(Kind::Limit)),
    (972..980, Some(Kind::Mount)),
    (983..997, Some(Kind::Above)),
];

/// A step that may be performed next, or a block's beginning.
pub struct Generator {
    pub random: Random,
    focus: Vec<PathBuf>,
    /// Names that existed once.
    gone: BTreeSet<PathBuf>,
    /// Blocks that are open: how many steps each still has.
    open: Vec<usize>,
    peers: usize,
    made: usize,
    favourites: Vec<std::ops::Range<usize>>,
    /// How many of a hundred paths are names of descriptors, and how many are written in another way than plainly.
    by_descriptor: usize,
    roundabout: usize,
}

/// The objects that the bare tree has now.
pub struct World {
    root: PathBuf,
    files: Vec<PathBuf>,
    dirs: Vec<PathBuf>,
    links: Vec<PathBuf>,
    fifos: Vec<PathBuf>,
    /// Symbolic links to directories of the tree: the link, and where it leads.
    ways: Vec<(PathBuf, PathBuf)>,
}

impl World {
    /// Looks around in a tree.
    pub fn see(root: &Path) -> Self {
        let mut world = Self {
            root: root.to_path_buf(),
            files: Vec::new(),
            dirs: Vec::new(),
            links: Vec::new(),
            fifos: Vec::new(),
            ways: Vec::new(),
        };
        let device = fs::metadata(root).map(|m| m.dev()).unwrap_or(0);
        for entry in
            walkdir::WalkDir::new(root).min_depth(1).sort_by_file_name().into_iter().flatten()
        {
            let Ok(m) = fs::symlink_metadata(entry.path()) else { continue };
            let name = entry.path().strip_prefix(root).unwrap().to_path_buf();
            if m.dev() != device || name.starts_with("bind") || name.starts_with("bind-d") {
                continue;
            }
            if m.is_symlink() {
                if let Ok(target) = fs::canonicalize(entry.path())
                    && let Ok(target) = target.strip_prefix(root)
                    && target != Path::new("")
                    && fs::metadata(entry.path()).is_ok_and(|m| m.is_dir())
                {
                    world.ways.push((name.clone(), target.to_path_buf()));
                }
                world.links.push(name);
            } else if m.is_dir() {
                world.dirs.push(name);
            } else if m.file_type().is_fifo() {
                world.fifos.push(name);
            } else {
                world.files.push(name);
            }
        }
        for (mount, of) in [("bind", "p/env"), ("bind-d", "p/env/d")] {
            if fs::read_dir(root.join(mount)).is_ok_and(|mut entries| entries.next().is_some()) {
                world.ways.push((mount.into(), of.into()));
            }
        }
        world
    }
}

/// What a path is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Want {
    File,
    Dir,
    Link,
    Any,
    /// A name that is free, mostly.
    New,
}

impl Generator {
    /// A generator, and the program that it will fill.
    pub fn new(seed: u64, user: User, kinds: &Kinds) -> (Self, Program) {
        let mut random = Random::new(seed.wrapping_mul(2) + u64::from(user == User::Root));
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
            // A facility's environment.
            for line in tree.iter_mut().filter(|line| line.contains("{E}")) {
                *line = line.replace(" user", " root");
            }
        }
        let aliased =
            tree.iter().any(|line| line.starts_with("link {M}/alias ")) && random.percent(20);
        let mut program = Program::new(user, packer, mode, tree);
        if aliased {
            program.prefix = "{M}/alias".into();
        }
        let possible: Vec<_> =
            GROUPS.iter().filter(|(_, kind)| kind.is_none_or(|kind| !kinds.is_off(kind))).collect();
        let favourites =
            (0..3).filter_map(|_| random.pick(&possible).map(|(group, _)| group.clone())).collect();
        let by_descriptor = [2, 8, 40][random.below(3)];
        let roundabout = [0, 8, 30][random.below(3)];
        let (focus, gone) = (Vec::new(), BTreeSet::new());
        (
            Self {
                random,
                focus,
                gone,
                open: Vec::new(),
                peers: 0,
                made: 0,
                favourites,
                by_descriptor,
                roundabout,
            },
            program,
        )
    }

    /// Chooses what most steps concern, and how many processes there are.
    pub fn begin(&mut self, world: &World) {
        self.remember(world);
        for these in [&world.files, &world.files, &world.dirs, &world.links] {
            let inside: Vec<_> = these.iter().filter(|p| p.starts_with("p/env")).collect();
            if let Some(one) = self.random.pick(&inside) {
                self.focus.push(one.to_path_buf());
            }
        }
        if self.random.percent(40) {
            self.peers = 1 + self.random.below(2);
        }
    }

    /// How many processes there are beside the first.
    pub fn peers(&self) -> usize {
        self.peers
    }

    /// The step that ends the innermost block, if it is time.
    pub fn end_of_block(&mut self) -> Option<String> {
        let left = self.open.last_mut()?;
        if *left > 0 {
            *left -= 1;
            return None;
        }
        self.open.pop();
        Some("end".into())
    }

    /// Takes a block back that does not begin after all.
    pub fn forget_block(&mut self, step: &str) {
        if matches!(step, "fork" | "thread") {
            self.open.pop();
        }
    }

    /// Whether a block is open: until its end, one process is spoken to.
    pub fn in_block(&self) -> bool {
        !self.open.is_empty()
    }

    /// Remembers names that may vanish.
    pub fn remember(&mut self, world: &World) {
        for path in world.files.iter().chain(&world.dirs).chain(&world.links) {
            self.gone.insert(path.clone());
        }
    }

    fn object(&mut self, world: &World, want: Want) -> PathBuf {
        let pool: Vec<&PathBuf> = match want {
            Want::File => world.files.iter().collect(),
            Want::Dir => world.dirs.iter().collect(),
            Want::Link => world.links.iter().collect(),
            Want::Any => world
                .files
                .iter()
                .chain(&world.dirs)
                .chain(&world.links)
                .chain(&world.fifos)
                .collect(),
            Want::New => {
                let gone: Vec<_> = self
                    .gone
                    .iter()
                    .filter(|p| fs::symlink_metadata(world.root.join(p)).is_err())
                    .cloned()
                    .collect();
                if self.random.percent(40)
                    && let Some(one) = self.random.pick(&gone)
                {
                    return one.clone();
                }
                self.made += 1;
                let name = format!("n{}", self.random.below(6) + self.made / 8);
                let dir = self.object(world, Want::Dir);
                return dir.join(name);
            }
        };
        if self.random.percent(60) {
            let near: Vec<_> = pool
                .iter()
                .filter(|path| {
                    self.focus.iter().any(|f| {
                        f == **path || f.parent() == Some(path) || path.parent() == Some(f)
                    })
                })
                .collect();
            if let Some(one) = self.random.pick(&near) {
                return one.to_path_buf();
            }
        }
        if self.random.percent(85) {
            let inside: Vec<_> = pool.iter().filter(|path| path.starts_with("p/env")).collect();
            if let Some(one) = self.random.pick(&inside) {
                return one.to_path_buf();
            }
        }
        if self.random.percent(5)
            && let Some(one) = self.random.pick(&self.gone.iter().cloned().collect::<Vec<_>>())
        {
            return one.clone();
        }
        self.random.pick(&pool).map_or_else(|| "p/env/none".into(), |path| path.to_path_buf())
    }

    /// One of the ways to write an object's path.
    fn spell(&mut self, world: &World, state: &State, object: &Path) -> String {
        let mut object = object.to_path_buf();
        if self.random.percent(25) {
            let ways: Vec<_> =
                world.ways.iter().filter(|(_, target)| object.starts_with(target)).collect();
            if let Some((way, target)) = self.random.pick(&ways) {
                object = way.join(object.strip_prefix(target).unwrap());
            }
        }
        let mut text = match self.random.below(100 - self.roundabout) {
            0..20 => self.relative(world, state, &object).unwrap_or_else(|| absolute(&object)),
            20..26 => {
                let above: Vec<_> = state
                    .slots
                    .iter()
                    .filter(|slot| {
                        slot.is_dir()
                            && below(world, slot).is_some_and(|dir| object.starts_with(dir))
                    })
                    .collect();
                match self.random.pick(&above) {
                    Some(slot) => {
                        let rest = object.strip_prefix(below(world, slot).unwrap()).unwrap();
                        let token = self.random.word("fd fd dev pid up task");
                        format!("{{{token}{}}}/{}", slot.number, rest.display())
                    }
                    None => absolute(&object),
                }
            }
            _ => absolute(&object),
        };
        if self.random.percent(self.roundabout) {
            let slashes: Vec<_> = text.match_indices('/').map(|(n, _)| n).collect();
            if let Some(n) = self.random.pick(&slashes).copied() {
                let with = self.random.word("// /./ /../p/../p/ /. /d/../ /none/../");
                let with =
                    if with == "/../p/../p/" && !text[..n].ends_with("p") { "//" } else { with };
                text.replace_range(
                    n..=n,
                    &if with == "/." { "/./".into() } else { with.to_string() },
                );
            }
        }
        if self.random.percent(self.roundabout / 2) {
            text += self.random.word("/ /. //");
        }
        if text.is_empty() { "\"\"".into() } else { text.replace(' ', "%20") }
    }

    fn relative(&mut self, world: &World, state: &State, object: &Path) -> Option<String> {
        let cwd = state.cwd_below(&world.root)?;
        Some(relative(&cwd, object))
    }

    fn path(&mut self, world: &World, state: &State, want: Want) -> String {
        // Now and then something else than is wanted.
        let want = if self.random.percent(10) { Want::Any } else { want };
        let object = self.object(world, want);
        self.spell(world, state, &object)
    }

    /// A directory's slot, or cwd, and a name from there.
    fn at(&mut self, world: &World, state: &State, want: Want) -> String {
        let object = self.object(world, want);
        let dirs: Vec<_> = state.slots.iter().filter(|slot| slot.is_dir()).cloned().collect();
        let near: Vec<_> = dirs
            .iter()
            .filter(|slot| below(world, slot).is_some_and(|dir| object.starts_with(dir)))
            .cloned()
            .collect();
        if self.random.percent(60)
            && let Some(slot) = self.random.pick(&near)
        {
            let rest =
                object.strip_prefix(below(world, slot).unwrap()).unwrap().display().to_string();
            return format!("s{} {}", slot.number, if rest.is_empty() { ".".into() } else { rest });
        }
        if self.random.percent(50)
            && let Some(slot) = self.random.pick(&dirs)
            && let Some(dir) = below(world, slot)
        {
            return format!("s{} {}", slot.number, relative(&dir, &object));
        }
        let slot = dirs.first().map_or("cwd".to_string(), |slot| format!("s{}", slot.number));
        let slot = if self.random.percent(50) { "cwd".to_string() } else { slot };
        format!("{slot} {}", self.spell(world, state, &object))
    }

    /// A path, or now and then a descriptor's name.
    fn path_or_fd(&mut self, world: &World, state: &State, want: Want) -> String {
        if self.random.percent(self.by_descriptor)
            && let Some(slot) = self.random.pick(&state.slots)
        {
            let token = self.random.word("fd fd fd dev pid up task");
            return format!("{{{token}{}}}", slot.number);
        }
        self.path(world, state, want)
    }

    fn slot_of(&mut self, state: &State, fits: impl Fn(&Slot) -> bool) -> String {
        let fitting: Vec<_> = state.slots.iter().filter(|slot| fits(slot)).collect();
        if self.random.percent(95)
            && let Some(slot) = self.random.pick(&fitting)
        {
            return format!("s{}", slot.number);
        }
        match self.random.pick(&state.slots) {
            Some(slot) => format!("s{}", slot.number),
            None => "s0".into(),
        }
    }

    fn free_slot(&mut self, state: &State) -> String {
        let free = (0..12).find(|n| state.slots.iter().all(|slot| slot.number != *n));
        format!("s{}", free.unwrap_or_else(|| self.random.below(12)))
    }

    fn data(&mut self) -> String {
        let n = self.random.below(1000);
        match self.random.below(6) {
            0 => format!("long{n}-{{x{}}}", self.random.below(6000)),
            1 => "\"\"".into(),
            _ => format!("new{n}"),
        }
    }

    fn mode(&mut self) -> &'static str {
        self.random.word("644 644 600 755 700 444 400 000 664 666 555")
    }

    fn open_flags(&mut self) -> String {
        let mut flags = vec![self.random.word("RDONLY RDONLY RDONLY RDONLY WRONLY RDWR RDWR")];
        let more = [
            ("CREAT", if flags[0] == "RDONLY" { 5 } else { 40 }),
            ("EXCL", 4),
            ("TRUNC", if flags[0] == "RDONLY" { 1 } else { 20 }),
            ("APPEND", 8),
            ("DIRECTORY", 4),
            ("NOFOLLOW", 8),
            ("PATH", 6),
            ("CLOEXEC", 15),
        ];
        for (flag, percent) in more {
            if self.random.percent(percent) {
                flags.push(flag);
            }
        }
        flags.join("|")
    }

    fn time(&mut self) -> String {
        match self.random.below(5) {
            0 => "now".into(),
            1 => "omit".into(),
            _ => format!(
                "{}.{:09}",
                900_000_000 + self.random.below(1000),
                self.random.below(1_000_000_000)
            ),
        }
    }

    /// A step, which may be one that cannot work.
    pub fn step(&mut self, world: &World, state: &State) -> String {
        use Want::{Any, Dir, File, Link, New};
        let depth = self.open.len();
        let mut choice = self.random.below(1000);
        if self.random.percent(40)
            && let Some(group) = self.random.pick(&self.favourites).cloned()
        {
            choice = group.start + self.random.below(group.len());
        }
        let needs_descriptor = (155..451).contains(&choice);
        if needs_descriptor && state.slots.len() < 2 && self.random.percent(80) {
            choice = self.random.below(145);
        }
        match choice {
            // Open and close.
            0..90 => {
                let slot = self.free_slot(state);
                let flags = self.open_flags();
                let want =
                    if flags.contains("CREAT") && self.random.percent(40) { New } else { File };
                let verb = self.random.word("open open open64");
                let path = self.path_or_fd(world, state, want);
                format!(
                    "{verb} {slot} {path} {} {}",
                    self.no_fifo(world, state, &path, flags),
                    self.mode()
                )
            }
            90..115 => {
                let (slot, path) = (self.free_slot(state), self.path(world, state, Dir));
                let flags = self.random.word("RDONLY RDONLY|DIRECTORY RDONLY|DIRECTORY RDONLY|PATH RDONLY|DIRECTORY|CLOEXEC|NOFOLLOW");
                format!("open {slot} {path} {} 0", self.no_fifo(world, state, &path, flags.into()))
            }
            115..145 => {
                let (slot, flags, at) =
                    (self.free_slot(state), self.open_flags(), self.at(world, state, File));
                let verb = self.random.word("openat openat openat-raw");
                format!("{verb} {slot} {at} {}|NONBLOCK {}", flags, self.mode())
            }
            145..150 => format!(
                "open {} {} {}|TMPFILE 600",
                self.free_slot(state),
                self.path(world, state, Dir),
                self.random.word("RDWR WRONLY")
            ),
            150..155 => {
                let path = self.path(world, state, New);
                if self.is_fifo(world, state, &path) {
                    return "umask 22".into();
                }
                format!("creat {} {path} {}", self.free_slot(state), self.mode())
            }
            155..185 => format!("close {}", self.slot_of(state, |_| true)),
            185..195 => format!("dup {} {}", self.slot_of(state, |_| true), self.free_slot(state)),
            195..200 => {
                format!("fdupfd {} {}", self.slot_of(state, |_| true), self.free_slot(state))
            }
            200..205 => {
                format!("dup2 {} {}", self.slot_of(state, |_| true), self.slot_of(state, |_| true))
            }
            // By descriptor.
            205..245 => format!(
                "{} {} {}",
                self.random.word("read read readv"),
                self.slot_of(state, Slot::is_file),
                self.random.word("5 10 100 5000 0")
            ),
            245..265 => format!(
                "pread {} {} {}",
                self.slot_of(state, Slot::is_file),
                self.random.word("5 50 5000"),
                self.random.word("0 3 30 100 4990")
            ),
            265..300 => format!(
                "write {} {}",
                self.slot_of(state, |s| s.is_file() && s.writes()),
                self.data()
            ),
            300..310 => format!(
                "pwrite {} {} {}",
                self.slot_of(state, |s| s.is_file() && s.writes()),
                self.data(),
                self.random.word("0 5 50 5000")
            ),
            310..318 => format!(
                "ftruncate {} {}",
                self.slot_of(state, |s| s.is_file() && s.writes()),
                self.random.word("0 5 50 5000")
            ),
            318..321 => format!(
                "fallocate {} {} {}",
                self.slot_of(state, |s| s.is_file() && s.writes()),
                self.random.word("0 5 5000"),
                self.random.word("1 100 5000")
            ),
            321..336 => format!(
                "lseek {} {} {}",
                self.slot_of(state, |_| true),
                self.random.word("0 0 5 50 -1"),
                self.random.word("SET SET CUR CUR END DATA HOLE")
            ),
            336..366 => format!("fstat {}", self.slot_of(state, |_| true)),
            366..376 => format!("name {}", self.slot_of(state, |_| true)),
            376..384 => format!(
                "{} {}",
                self.random.word("getfl getfl getfd"),
                self.slot_of(state, |_| true)
            ),
            384..388 => format!(
                "setfl {} {}",
                self.slot_of(state, |_| true),
                self.random.word("RDONLY APPEND NONBLOCK APPEND|NONBLOCK")
            ),
            388..391 => format!("setfd {} {}", self.slot_of(state, |_| true), self.random.below(2)),
            391..401 => format!("fchmod {} {}", self.slot_of(state, |_| true), self.mode()),
            401..405 => format!(
                "fchown {} {} {}",
                self.slot_of(state, |_| true),
                self.random.word("0 12345 -1"),
                self.random.word("0 12345 -1")
            ),
            405..413 => format!(
                "futimens {} {} {}",
                self.slot_of(state, |_| true),
                self.time(),
                self.time()
            ),
            413..418 => format!(
                "{} {}",
                self.random.word("fsync fdatasync syncfs fadvise"),
                self.slot_of(state, |_| true)
            ),
            418..424 => format!(
                "same {} {}",
                self.slot_of(state, |_| true),
                self.path_or_fd(world, state, Any)
            ),
            424..430 => {
                let slot = self.slot_of(state, |_| true);
                match self.random.below(4) {
                    0 => format!(
                        "fsetxattr {slot} user.{} v{}",
                        self.random.word("note k new"),
                        self.random.below(100)
                    ),
                    1 => {
                        format!("fgetxattr {slot} user.{} 100", self.random.word("note k new dir"))
                    }
                    2 => format!("flistxattr {slot} 1000"),
                    _ => format!("fremovexattr {slot} user.{}", self.random.word("note k new dir")),
                }
            }
            430..433 => format!(
                "copyrange {} {} 100",
                self.slot_of(state, Slot::is_file),
                self.slot_of(state, |s| s.is_file() && s.writes())
            ),
            // Locks.
            433..441 => format!(
                "flock {} {}",
                self.slot_of(state, |_| true),
                self.random.word("SH EX EX UN")
            ),
            441..449 => {
                let verb = self.random.word("lock lock getlk ofdlock ofdgetlk");
                format!(
                    "{verb} {} {} {} {}",
                    self.slot_of(state, Slot::is_file),
                    self.random.word("RD WR WR UN"),
                    self.random.word("0 0 10"),
                    self.random.word("0 5 20")
                )
            }
            449..451 => format!(
                "lockf {} {} 0",
                self.slot_of(state, Slot::is_file),
                self.random.word("TLOCK ULOCK TEST")
            ),
            // By name: looking.
            451..491 => format!(
                "{} {}",
                self.random.word("stat stat stat lstat lstat"),
                self.path_or_fd(world, state, Any)
            ),
            491..501 => format!(
                "fstatat {} {}",
                self.at(world, state, Any),
                self.random.word("- NOFOLLOW NO_AUTOMOUNT")
            ),
            501..506 => format!("fstatat {} \"\" EMPTY_PATH", self.slot_of(state, |_| true)),
            506..514 => {
                format!("statx {} {}", self.at(world, state, Any), self.random.word("- NOFOLLOW"))
            }
            514..517 => format!("statx {} \"\" EMPTY_PATH", self.slot_of(state, |_| true)),
            517..529 => format!(
                "{} {} {}",
                self.random.word("access access euidaccess"),
                self.path_or_fd(world, state, Any),
                self.random.below(8)
            ),
            529..534 => format!(
                "faccessat {} {} {}",
                self.at(world, state, Any),
                self.random.below(8),
                self.random.word("- NOFOLLOW EACCESS")
            ),
            534..549 => format!(
                "readlink {} {}",
                self.path_or_fd(world, state, Link),
                self.random.word("4000 4000 3")
            ),
            549..553 => format!("readlinkat {} 4000", self.at(world, state, Link)),
            553..563 => format!("realpath {}", self.path_or_fd(world, state, Any)),
            563..598 => format!("list {}", self.path_or_fd(world, state, Dir)),
            598..604 => format!("listat {}", self.at(world, state, Dir)),
            604..609 => format!("getdents {}", self.slot_of(state, Slot::is_dir)),
            609..617 => {
                format!("opendir t{} {}", self.random.below(3), self.path(world, state, Dir))
            }
            617..620 => {
                format!("fdopendir t{} {}", self.random.below(3), self.slot_of(state, Slot::is_dir))
            }
            620..632 => {
                let t = self.random.pick(&state.streams).copied().unwrap_or(0);
                format!("{} t{t}", self.random.word("readdir readdir rewinddir closedir dirfd"))
            }
            632..642 => format!(
                "glob {} {}",
                self.pattern(world, state),
                self.random.word("- MARK ONLYDIR PERIOD")
            ),
            642..645 => {
                format!("nftw {} {}", self.path(world, state, Dir), self.random.word("0 1"))
            }
            645..648 => format!("fts {} 4", self.path(world, state, Dir)),
            648..652 => {
                format!("{} {}", self.random.word("statvfs pathconf"), self.path(world, state, Any))
            }
            652..672 => {
                let path = self.path_or_fd(world, state, File);
                if self.is_fifo(world, state, &path) {
                    return "getcwd".into();
                }
                match self.random.below(5) {
                    0 => format!(
                        "fopen {path} {} more{}",
                        self.random.word("a r+ w a+ w+"),
                        self.random.below(100)
                    ),
                    1 => format!("freopen {path} r"),
                    _ => format!("fopen {path} r"),
                }
            }
            672..682 => {
                let path = self.path(world, state, Any);
                match self.random.below(3) {
                    0 => format!(
                        "{} {path} user.{} 100",
                        self.random.word("getxattr lgetxattr"),
                        self.random.word("note k new dir long")
                    ),
                    1 => format!("{} {path} 1000", self.random.word("listxattr llistxattr")),
                    _ => format!(
                        "getxattr {path} user.{} {}",
                        self.random.word("note k"),
                        self.random.word("0 2")
                    ),
                }
            }
            // By name: changing.
            682..690 => format!("mkdir {} {}", self.path(world, state, New), self.mode()),
            690..694 => format!("mkdirat {} {}", self.at(world, state, New), self.mode()),
            694..702 => format!("rmdir {}", self.path(world, state, Dir)),
            702..717 => format!(
                "{} {}",
                self.random.word("unlink unlink remove"),
                self.path(world, state, File)
            ),
            717..723 => format!(
                "unlinkat {} {}",
                self.at(world, state, Any),
                self.random.word("- - REMOVEDIR")
            ),
            723..728 => format!("unlink {}", self.path(world, state, Link)),
            728..758 => {
                let want = if self.random.percent(60) { File } else { Any };
                let to = if self.random.percent(60) { New } else { want };
                format!("rename {} {}", self.path(world, state, want), self.path(world, state, to))
            }
            758..763 => {
                format!("renameat {} {}", self.at(world, state, Any), self.at(world, state, New))
            }
            763..773 => {
                let flags = self.random.word("NOREPLACE EXCHANGE EXCHANGE -");
                let to = if flags == "EXCHANGE" { Any } else { New };
                format!(
                    "renameat2 {} {} {flags}",
                    self.at(world, state, Any),
                    self.at(world, state, to)
                )
            }
            773..785 => {
                format!("link {} {}", self.path(world, state, File), self.path(world, state, New))
            }
            785..790 => format!(
                "linkat {} {} {}",
                self.at(world, state, File),
                self.at(world, state, New),
                self.random.word("- FOLLOW")
            ),
            790..794 => {
                let slot = self.slot_of(state, Slot::is_file);
                let (n, to) = (&slot[1..], self.path(world, state, New));
                format!("linkat cwd {{fd{n}}} cwd {to} FOLLOW")
            }
            794..796 => format!(
                "linkat {} \"\" cwd {} EMPTY_PATH",
                self.slot_of(state, Slot::is_file),
                self.path(world, state, New)
            ),
            796..804 => {
                let target = self
                    .path(world, state, Any)
                    .replace("{fd", "x")
                    .replace("{dev", "x")
                    .replace("{pid", "x");
                format!("symlink {target} {}", self.path(world, state, New))
            }
            804..807 => format!("symlinkat a {}", self.at(world, state, New)),
            807..810 => format!("mkfifo {} 644", self.path(world, state, New)),
            810..813 => format!("mknodat {} 644", self.at(world, state, New)),
            813..827 => format!("chmod {} {}", self.path_or_fd(world, state, Any), self.mode()),
            827..831 => format!(
                "fchmodat {} {} {}",
                self.at(world, state, Any),
                self.mode(),
                self.random.word("- - NOFOLLOW")
            ),
            831..837 => format!(
                "{} {} {} {}",
                self.random.word("chown lchown"),
                self.path(world, state, Any),
                self.random.word("0 12345 -1"),
                self.random.word("0 12345 -1")
            ),
            837..839 => format!(
                "fchownat {} -1 {} {}",
                self.at(world, state, Any),
                self.random.word("0 12345"),
                self.random.word("- NOFOLLOW")
            ),
            839..847 => format!(
                "utimensat {} {} {} {}",
                self.at(world, state, Any),
                self.time(),
                self.time(),
                self.random.word("- NOFOLLOW")
            ),
            847..855 => format!(
                "truncate {} {}",
                self.path_or_fd(world, state, File),
                self.random.word("0 5 50 5000")
            ),
            855..863 => format!(
                "{} {} user.{} v{} {}",
                self.random.word("setxattr lsetxattr"),
                self.path(world, state, Any),
                self.random.word("note k new"),
                self.random.below(100),
                self.random.word("- - CREATE REPLACE")
            ),
            863..866 => format!(
                "{} {} user.{}",
                self.random.word("removexattr lremovexattr"),
                self.path(world, state, Any),
                self.random.word("note k new dir")
            ),
            866..869 => format!("mkstemp {}XXXXXX", self.path(world, state, New)),
            // Mappings.
            869..879 => format!(
                "map m{} {} {} {}",
                self.random.below(3),
                self.slot_of(state, Slot::is_file),
                self.random.word("50 4096 9000"),
                self.random.word("READ READ WRITE PRIVATE PRIVATE|WRITE")
            ),
            879..889 => {
                let m = self.random.pick(&state.maps).copied().unwrap_or(0);
                match self.random.below(6) {
                    0 => format!("unmap m{m}"),
                    1 | 2 => format!(
                        "mapwrite m{m} {} mapped{}",
                        self.random.word("0 5 30"),
                        self.random.below(100)
                    ),
                    _ => format!("mapread m{m}"),
                }
            }
            // The process.
            889..904 => format!("chdir {}", self.path_or_fd(world, state, Dir)),
            904..910 => format!("fchdir {}", self.slot_of(state, Slot::is_dir)),
            910..918 => "getcwd".into(),
            918..920 => format!("umask {}", self.random.word("22 22 0 77 27")),
            920..930 => {
                if state.identity.starts_with("0:") && self.random.percent(60) {
                    return self
                        .random
                        .word("seteuid|12345 setegid|12345 setfsuid|12345")
                        .replace('|', " ");
                }
                self.random
                    .word("seteuid|0 setegid|0 setfsuid|0 seteuid|12345 setgroups")
                    .replace('|', " ")
            }
            930..945 if depth < 2 => {
                self.open.push(1 + self.random.below(6));
                self.random.word("fork fork thread").into()
            }
            945..955 => format!("exec {}", self.random.word("self self {E}/bin/steps")),
            955..962 => {
                let path = self.path(world, state, Any);
                if self.is_fifo(world, state, &path) {
                    return "getcwd".into();
                }
                match self.random.below(6) {
                    0 => format!("run ls -a {path}"),
                    1 => format!("run stat -c %n-%F-%a-%s {path}").replace('%', "%25"),
                    2 => format!("run rm -f {path}"),
                    3 => format!("run touch {path}"),
                    4 => format!("run sh -c echo%20x>>{path}"),
                    _ => format!("run cat {path}"),
                }
            }
            962..966 => "nofile 20".into(),
            966..970 => {
                self.random.word("nofile|1024 nofile|4 memory|4500 memory|0").replace('|', " ")
            }
            970..972 => "fsize 3000".into(),
            972..975 => {
                format!("mount {} {}", self.path(world, state, Dir), self.path(world, state, Dir))
            }
            975..977 => format!("tmpfs {}", self.path(world, state, Dir)),
            977..980 => format!("umount {}", self.path(world, state, Dir)),
            980..982 if depth > 0 => format!("chroot {}", self.random.word("{M} {E}")),
            982..983 => self.random.word("unstage lose-stage").into(),
            983..989 => format!(
                "rename {} {}",
                self.random.word("{M}/p {M}/q {M}/alias {E} {M}/p/env3"),
                self.random.word("{M}/p {M}/q {M}/p/env3 {E} {M}/alias2")
            ),
            989..993 => format!("unlink {}", self.random.word("{M}/alias {M}/out/to-env {E}/to-d")),
            993..997 => format!(
                "symlink {} {}",
                self.random.word("p/env2 out {E}/d p/env"),
                self.random.word("{M}/alias {M}/out/to-env {E}/to-d")
            ),
            _ => "umask 22".into(),
        }
    }

    fn pattern(&mut self, world: &World, state: &State) -> String {
        let dir = self.path(world, state, Want::Dir);
        let dir = dir.trim_end_matches('/');
        format!("{dir}/{}", self.random.word("* *a* [a-f]* */* n* .* f?"))
    }

    fn is_fifo(&self, world: &World, state: &State, path: &str) -> bool {
        let text = crate::tree::fill(path, &world.root);
        if text.starts_with('{') {
            return state.slots.iter().any(|slot| slot.mode & 0o170_000 == 0o010_000);
        }
        fs::metadata(state.cwd.join(text)).is_ok_and(|m| m.file_type().is_fifo())
    }

    /// Opening a fifo must not wait.
    fn no_fifo(&self, world: &World, state: &State, path: &str, flags: String) -> String {
        if self.is_fifo(world, state, path) { flags + "|NONBLOCK" } else { flags }
    }
}

/// Where a slot's directory lies in the tree.
fn below(world: &World, slot: &Slot) -> Option<PathBuf> {
    Path::new(&slot.name).strip_prefix(&world.root).ok().map(Path::to_path_buf)
}

fn absolute(object: &Path) -> String {
    match object.strip_prefix("p/env") {
        Ok(rest) if rest == Path::new("") => "{E}".into(),
        Ok(rest) => format!("{{E}}/{}", rest.display()),
        Err(_) => format!("{{M}}/{}", object.display()),
    }
}

fn relative(from: &Path, to: &Path) -> String {
    let (from, to): (Vec<_>, Vec<_>) = (from.components().collect(), to.components().collect());
    let same = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let mut parts: Vec<_> = vec!["..".to_string(); from.len() - same];
    parts.extend(to[same..].iter().map(|c| c.as_os_str().to_string_lossy().into_owned()));
    if parts.is_empty() { ".".into() } else { parts.join("/") }
}
