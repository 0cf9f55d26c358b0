"""Which of a trace's operations may go to the shared file system although the prefix is staged: those on what was written.

A path was written if some call of the trace, whatever its result, changes it by its name. From then on it is looked at in
the shared file system, and so are the directory that it lies in, names below a directory that was moved or replaced, and
names that the snapshot does not know below a directory that was itself changed.
"""
import os
import re

OPENS = {"open": 1, "openat": 2, "openat2": 2}
WRITES = set("creat unlink unlinkat rmdir mkdir mkdirat mknod mknodat chmod chown lchown fchmodat fchmodat2 fchownat truncate "
             "truncate64 utime utimes futimesat utimensat rename renameat renameat2 link linkat symlink symlinkat setxattr "
             "lsetxattr removexattr lremovexattr".split())
# Calls that change a link itself.
NOFOLLOW = set("unlink unlinkat rmdir mkdir mkdirat mknod mknodat lchown rename renameat renameat2 link linkat symlink symlinkat "
               "lsetxattr lremovexattr readlink readlinkat lstat".split())
MOVES = {"rename", "renameat", "renameat2", "rmdir"}
WRITING = re.compile(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC|O_TMPFILE")


def changes(call):
    """Whether a call may change what it names."""
    if call.name in OPENS:
        place = OPENS[call.name]
        flags = call.arguments[place] if place < len(call.arguments) else ""
        return bool(WRITING.search(flags)) and "O_PATH" not in flags
    return call.name in WRITES


def canonical(path):
    """The name with the symbolic links resolved that exist now in its directory."""
    parent, last = os.path.split(path.rstrip("/") or "/")
    if last in ("", ".", ".."):
        return os.path.realpath(path)
    return os.path.normpath(os.path.join(os.path.realpath(parent), last))


def names(call, name):
    """Every path that the name of a call may mean."""
    yield canonical(name)
    if call.name not in NOFOLLOW and "NOFOLLOW" not in call.line:
        yield os.path.realpath(name)
    opened = re.search(r"= \d+<(/[^>]*)>", call.line)
    if opened:
        yield opened.group(1)


def ancestors(path):
    while len(path) > 1:
        path = os.path.dirname(path)
        yield path


def linked(written, prefix, snapshot):
    """The other names of written files: hard links, as the snapshot has them."""
    inodes, found = set(), set()
    for path in written:
        try:
            st = os.lstat(os.path.join(snapshot, os.path.relpath(path, prefix)))
        except OSError:
            continue
        if st.st_nlink > 1:
            inodes.add(st.st_ino)
    for directory, _, files in os.walk(snapshot) if inodes else ():
        for name in files:
            path = os.path.join(directory, name)
            if os.lstat(path).st_ino in inodes:
                found.add(os.path.join(prefix, os.path.relpath(path, snapshot)))
    return found


def unwritten(hits, prefix, snapshot):
    """The hits of a Counter that are on nothing written. `snapshot` is a copy of the prefix as it was staged."""
    prefix = os.path.realpath(prefix)
    written, moved = set(), set()
    for _, call, name in hits:
        if changes(call):
            written.update(names(call, name))
        if call.name in MOVES:
            moved.add(canonical(name))
    written |= linked(written, prefix, snapshot)
    parents = {os.path.dirname(path) for path in written}

    def allowed(path):
        if path in written or path in parents or any(a in moved for a in ancestors(path)):
            return True
        known = os.path.lexists(os.path.join(snapshot, os.path.relpath(path, prefix)))
        return not known and any(a in written for a in ancestors(path))

    return [hit for hit in hits if not any(map(allowed, names(hit[1], hit[2])))]
