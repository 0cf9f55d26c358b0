"""Looks at what is closed to some users, with several identities. `E` is the prefix."""
import ctypes
import fcntl
import os
import struct
import subprocess
import sys
import threading

E = os.environ["E"]
P = lambda name: os.path.join(E, name)
libc = ctypes.CDLL(None, use_errno=True)
OTHER = 54321
SETRESUID, CAPSET = (117, 126) if os.uname().machine == "x86_64" else (147, 91)
NAMES = ("a secret secret/x grouped priv priv/x priv/nothing priv/nothing/x priv/x/y priv/. priv/../a priv/link priv/out to-priv/x "
         "through mute mute/x mute/nothing blind blind/x blind/nothing group group/x nothing bin/mine bin/shown d/sub/c").split()


def show(what, call):
    try:
        result = call()
    except OSError as error:
        result = os.strerror(error.errno)
    print(" ", what, result, flush=True)


def status(stat):
    return oct(stat.st_mode), stat.st_uid, stat.st_gid, stat.st_nlink


def text(path):
    with open(path, "rb") as file:
        os.fstat(file.fileno())
        return file.read(), status(os.fstat(file.fileno()))


def c(name, *arguments):
    result = getattr(libc, name)(*arguments)
    if result != 0:
        raise OSError(ctypes.get_errno(), "")
    return result


def load(path):
    try:
        return ctypes.CDLL(path)
    except OSError as error:
        # The name in front may be spelled in another way.
        return str(error).rpartition(": ")[2]


def look(who):
    print(who, os.getresuid(), os.getresgid())
    for name in NAMES:
        path = P(name)
        print(name)
        show("stat", lambda: status(os.stat(path)))
        show("lstat", lambda: status(os.lstat(path)))
        show("open", lambda: text(path))
        show("path", lambda: os.close(os.open(path, os.O_PATH)))
        show("list", lambda: sorted(os.listdir(path)))
        show("scan", lambda: sorted((e.name, e.is_dir(), e.stat().st_size) for e in os.scandir(path) if not e.is_dir()))
        show("readlink", lambda: os.readlink(path).replace(E, "E"))
        show("realpath", lambda: os.path.realpath(path, strict=True).replace(E, "E"))
        for mode in (os.F_OK, os.R_OK, os.W_OK, os.X_OK, os.R_OK | os.X_OK):
            show(f"access {mode}", lambda: (os.access(path, mode), os.access(path, mode, effective_ids=True)))
        show("attributes", lambda: os.listxattr(path))
        show("system", lambda: os.statvfs(path).f_namemax)
        if "nothing" not in name:
            show("mkdir", lambda: os.mkdir(path))
        show("load", lambda: load(path))
        show("chdir", lambda: os.chdir(path))
        os.chdir("/")
    show("walk", lambda: [(d[len(E):], sorted(n), sorted(f)) for d, n, f in sorted(os.walk(E))])
    for name in ("bin/tool", "bin/mine", "bin/shown"):
        show(name, lambda: subprocess.run([P(name), "x"], capture_output=True, check=False).stdout)


def plain():
    look("the user")


def effective():
    look("root")
    for group in (0, OTHER):
        os.setegid(group)
        os.seteuid(OTHER)
        look("another")
        os.seteuid(0)
        os.setegid(0)
        look("root again")


def file_system_ids():
    libc.setfsuid(OTHER)
    look("another for files")
    libc.setfsgid(OTHER)
    look("and another group")
    libc.setfsuid(0)
    look("root again")


def groups():
    os.setgroups([])
    os.setegid(OTHER)
    look("root without groups")
    os.setgroups([0, OTHER])
    os.seteuid(OTHER)
    look("another with root's group")


def set_capabilities(effective, permitted):
    head, sets = struct.pack("<Ii", 0x20080522, 0), struct.pack("<6I", effective, permitted, 0, 0, 0, 0)
    return ctypes.create_string_buffer(head), ctypes.create_string_buffer(sets)


def capabilities():
    # All of them, then none of those that pass over modes, then only the one that reads.
    for effective, permitted in ((0xff, 0xff), (0xff & ~6, 0xff), (4, 6), (0, 0)):
        show("capset", lambda: c("capset", *set_capabilities(effective, permitted)))
        look(f"root with {effective:x}")


def by_number():
    show("capset", lambda: c("syscall", CAPSET, *set_capabilities(0xff & ~6, 0xff)))
    look("root without the capabilities")


def thread():
    look("root")
    done = threading.Event()

    def other():
        # The kernel knows identities by thread; by number, the other threads keep theirs.
        libc.syscall(SETRESUID, -1, OTHER, -1)
        look("a thread that is another")
        done.set()
    thread = threading.Thread(target=other)
    thread.start()
    done.wait()
    thread.join()
    look("the first thread")


def real():
    os.setresuid(OTHER, 0, 0)
    look("another's process, as root")
    os.setresuid(0, 0, 0)
    look("root")


def namespace():
    show("unshare", lambda: c("unshare", 0x10000000))
    look("nobody")
    with open("/proc/self/setgroups", "w", encoding="ascii") as file:
        file.write("deny")
    for name, number in (("uid_map", os.environ["UID"]), ("gid_map", os.environ["UID"])):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(f"0 {number} 1")
    look("root of the namespace")


# Calls, each of which alone takes something from root, or nothing.
CALLS = {
    "setuid": lambda: os.setuid(OTHER), "seteuid": lambda: os.seteuid(OTHER), "setreuid": lambda: os.setreuid(-1, OTHER),
    "setresuid": lambda: os.setresuid(-1, OTHER, -1), "setfsuid": lambda: libc.setfsuid(OTHER),
    "setgid": lambda: os.setgid(OTHER), "setegid": lambda: os.setegid(OTHER), "setregid": lambda: os.setregid(-1, OTHER),
    "setresgid": lambda: os.setresgid(-1, OTHER, -1), "setfsgid": lambda: libc.setfsgid(OTHER),
    "setgroups": lambda: os.setgroups([OTHER]), "initgroups": lambda: os.initgroups("daemon", OTHER),
    "capset": lambda: c("capset", *set_capabilities(0xff & ~6, 0xff)),
}


def calls():
    for name, call in CALLS.items():
        child = os.fork()
        if child == 0:
            # What is asked first is remembered until such a call.
            show("before", lambda: status(os.stat(P("priv/x"))))
            call()
            print(name)
            for path in ("priv/x", "priv/nothing", "group/x", "grouped"):
                show(path, lambda: status(os.stat(P(path))))
                show("open", lambda: text(P(path)))
            os._exit(0)
        os.waitpid(child, 0)


def entered():
    holder = subprocess.Popen(["unshare", "-r", "sh", "-c", "echo; cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    holder.stdout.readline()
    show("before", lambda: status(os.stat(P("priv/x"))))
    with open(f"/proc/{holder.pid}/ns/user", "rb") as namespace:
        show("setns", lambda: c("setns", namespace.fileno(), 0x10000000))
    for path in ("a", "priv/x"):
        show(path, lambda: status(os.stat(P(path))))
    holder.stdin.close()
    holder.wait()


def use(what, number):
    """Does by a descriptor what needs the original."""
    print(what)
    show("read", lambda: os.pread(number, 100, 0))
    show("lock", lambda: fcntl.lockf(number, fcntl.LOCK_SH | fcntl.LOCK_NB))
    show("flock", lambda: fcntl.flock(number, fcntl.LOCK_SH | fcntl.LOCK_NB))
    show("lease", lambda: fcntl.fcntl(number, fcntl.F_GETLEASE))
    show("sync", lambda: os.fsync(number))
    show("mode", lambda: os.fchmod(number, 0o640))
    show("stat", lambda: status(os.fstat(number)))
    show("again", lambda: os.close(os.open(f"/proc/self/fd/{number}", os.O_RDONLY)))
    show("name", lambda: os.readlink(f"/proc/self/fd/{number}").replace(E, "E"))


CHANGES = {
    "setuid": lambda: os.setuid(OTHER), "seteuid": lambda: os.seteuid(OTHER), "setreuid": lambda: os.setreuid(OTHER, OTHER),
    "setresuid": lambda: os.setresuid(OTHER, OTHER, OTHER), "setfsuid": lambda: libc.setfsuid(OTHER),
    "by number": lambda: libc.syscall(SETRESUID, OTHER, OTHER, OTHER),
    "capset": lambda: c("capset", *set_capabilities(0, 0)), "unshare": lambda: c("unshare", 0x10000000),
    "chroot": lambda: os.chroot("/usr"),
}


def opened_before():
    for name, change in CHANGES.items():
        child = os.fork()
        if child == 0:
            files = [os.open(P(name), os.O_RDONLY) for name in ("priv/x", "secret", "group/x", "a")]
            directory = os.open(P("priv"), os.O_RDONLY)
            if name == "unshare":
                os.setgroups([])
            change()
            print(name, flush=True)
            for file, what in zip(files, ("in a closed directory", "closed", "for a group", "open to all")):
                use(what, file)
            show("at", lambda: os.stat("x", dir_fd=directory).st_size)
            show("list", lambda: sorted(os.listdir(directory)))
            os._exit(0)
        os.waitpid(child, 0)


globals()[sys.argv[1]]()
