//! Prepares the place in which a case runs: a directory, a mount namespace, a stand-in for the shared file system, and
//! a user.
//!
//! ```text
//! /var/tmp/pyshm-case-…/
//!     shared, bare     the directories that the file system serves: for the preloaded run and for the bare run
//!     mnt              the mount point of the file system
//!     shm              node-local memory, for the stage
//!     pyshm, probes    the installation and the compiled probes
//! ```
//!
//! Invariants: nothing outlives the [`Place`]. With root, every mount belongs to the namespace of the place's thread;
//! without root there is no such namespace, and `Drop` unmounts. The process of the file system ends with the place or
//! with the thread.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::mount::{MountFlags, MountPropagationFlags};

use crate::probes;

const CHECKOUT: &str = env!("CARGO_MANIFEST_DIR");

/// The user who runs a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum User {
    Root,
    Ordinary,
}

impl User {
    /// The users that this process can become.
    pub fn all() -> impl Iterator<Item = Self> {
        let root = is_root();
        [Self::Root, Self::Ordinary].into_iter().filter(move |user| root || *user == Self::Ordinary)
    }

    /// The user and group number.
    pub fn id(self) -> u32 {
        match self {
            Self::Root => 0,
            // A user without a name, because nothing may depend on a name.
            Self::Ordinary if is_root() => 12345,
            Self::Ordinary => rustix::process::getuid().as_raw(),
        }
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A directory, a mount namespace and a user, as the module documentation says.
pub struct Place {
    user: User,
    dir: tempfile::TempDir,
    /// The directory for the stage if the test runs without root, so that `dir/shm` is no mount.
    memory: Option<tempfile::TempDir>,
    install: PathBuf,
    probes: PathBuf,
    /// The processes of the file system. The process of the topmost mount is the last one.
    mounted: Vec<Child>,
}

impl Place {
    /// Makes a new place. With root, gives the calling thread a mount namespace.
    pub fn new(user: User) -> Self {
        let dir = tempfile::Builder::new().prefix("pyshm-case-").tempdir_in("/var/tmp").unwrap();
        let mut place = Self {
            user,
            dir,
            memory: None,
            install: std::env::var_os("PYSHM_TEST_INSTALL")
                .map_or_else(|| Path::new(CHECKOUT).join("target/pyshm"), PathBuf::from),
            probes: probes::build().to_path_buf(),
            mounted: Vec::new(),
        };
        let program = place.install.join("bin/pyshm");
        assert!(program.exists(), "{} is missing: run docs/build.sh first", program.display());
        for name in ["shared", "bare", "mnt", "shm", "pyshm", "probes", "out"] {
            fs::create_dir(place.file(name)).unwrap();
            // The user writes traces and bundles here.
            fs::set_permissions(place.file(name), PermissionsExt::from_mode(0o777)).unwrap();
        }
        fs::set_permissions(place.dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        fs::copy(Path::new(CHECKOUT).join("tests/tools/trace.sh"), place.file("trace.sh")).unwrap();
        if is_root() {
            place.own_namespace();
        } else {
            place.memory = Some(tempfile::tempdir_in("/dev/shm").unwrap());
        }
        place
    }

    /// Gives the thread a mount namespace, and binds the installation and the probes into the place, because an
    /// ordinary user may be unable to reach their real directories.
    fn own_namespace(&mut self) {
        // SAFETY: NEWNS leaves the table of descriptors shared with the other threads, so no descriptor loses its
        // owner. Only the mounts, the root and the working directory become this thread's own.
        unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }.unwrap();
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        rustix::mount::mount_change("/", private).unwrap();
        let memory = self.file("shm");
        rustix::mount::mount("tmpfs", &memory, "tmpfs", MountFlags::empty(), c"mode=1777").unwrap();
        for (from, to) in [(&mut self.install, "pyshm"), (&mut self.probes, "probes")] {
            let to = self.dir.path().join(to);
            rustix::mount::mount_bind(from.as_path(), &to).unwrap();
            *from = to;
        }
    }

    /// Mounts the node's memory again as noexec. Returns false without root, because the memory is then no mount of
    /// this place.
    pub fn forbid_programs(&self) -> bool {
        is_root() && {
            rustix::mount::mount_remount(self.file("shm"), MountFlags::NOEXEC, c"").unwrap();
            true
        }
    }

    /// Returns the path of a file or directory of the place, outside the mount.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Returns the path of a directory that the file system serves: `shared` or `bare`.
    pub fn backing(&self, name: &str) -> PathBuf {
        self.file(name)
    }

    /// Returns the mount point, which a probe finds in the variable `M`.
    pub fn mount_point(&self) -> PathBuf {
        self.file("mnt")
    }

    /// Returns the path of a name in the mounted file system; `.` is the mount point.
    pub fn below_mount(&self, name: &str) -> PathBuf {
        if name == "." { self.mount_point() } else { self.mount_point().join(name) }
    }

    /// Returns the directory of the compiled probes.
    pub fn probes(&self) -> &Path {
        &self.probes
    }

    /// Returns the device number of a path.
    pub fn device(&self, path: &Path) -> u64 {
        fs::metadata(path).unwrap().dev()
    }

    /// Whether two mounts, one after the other, are sure to have different device numbers.
    pub fn renumbers(&self) -> bool {
        is_root()
    }

    /// Mounts a backing directory. With root, the new mount covers the previous one, so that both mounts exist and have
    /// different device numbers. Without root, the previous mount is removed first, and the new mount may get the same
    /// device number.
    pub fn mount(&mut self, backing: &str) {
        if !is_root() {
            self.unmount();
        }
        let mut server = Command::new(probes::file_system())
            .args(["-f", "-w"])
            .args([
                self.backing(backing),
                self.mount_point(),
                self.file(&format!("{backing}.state")),
            ])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut said).unwrap();
        self.mounted.push(server);
        assert_eq!(said, "mounted\n", "mdsfs, which needs /dev/fuse, did not mount {backing}");
    }

    /// Unmounts the topmost mount.
    pub fn unmount(&mut self) {
        if let Some(mut server) = self.mounted.pop() {
            let pid = rustix::process::Pid::from_child(&server);
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            let _ = server.wait();
        }
    }

    /// Makes a command that runs as the case's user, with a minimal environment. The command is killed after ten
    /// minutes, so that a hang becomes a failure.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("timeout");
        command.args(["-k", "1", "600"]).arg(program).current_dir("/").env_clear();
        command.env("PATH", "/usr/bin:/bin").env("LC_ALL", "C.UTF-8").env("HOME", "/nonexistent");
        if is_root() {
            command.uid(self.user.id()).gid(self.user.id());
        }
        command
    }

    fn pyshm(&self, words: &[&Path]) -> String {
        let output = self.command(self.install.join("bin/pyshm")).args(words).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_string()
    }

    /// Bundles a prefix and returns the path of the bundle.
    pub fn bundle(&self, prefix: &Path, mode: &str) -> PathBuf {
        let number = fs::read_dir(self.file("out")).unwrap().count();
        let bundle = self.file(&format!("out/{number}.tar.zst"));
        let [verb, env, output, quiet, m] = ["bundle", "env", "-o", "-q", "--mode"].map(Path::new);
        self.pyshm(&[verb, env, prefix, output, &bundle, quiet, m, Path::new(mode)]);
        bundle
    }

    /// Stages bundles and returns the directory of the stage.
    pub fn stage(&self, bundles: &[PathBuf]) -> PathBuf {
        let root =
            self.memory.as_ref().map_or_else(|| self.file("shm"), |m| m.path().to_path_buf());
        let mut words = vec![Path::new("stage"), Path::new("--root"), &root];
        for bundle in bundles {
            words.extend([Path::new("-b"), bundle]);
        }
        self.pyshm(&words).into()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        while !self.mounted.is_empty() {
            self.unmount();
        }
        if is_root() {
            // `TempDir` would remove the installation and the probes through these mounts.
            for name in ["pyshm", "probes", "shm"] {
                let detach = rustix::mount::UnmountFlags::DETACH;
                let _ = rustix::mount::unmount(self.file(name), detach);
            }
        }
    }
}
