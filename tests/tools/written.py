"""Tells which operations of a trace are on paths that no call of the trace wrote. The stage should have answered these
operations.

A path was written if a call of the trace has the path as an argument and may change the file, even if the call failed.
The shared file system may get operations on a written path, on its other hard links and on the directories of all these
paths. If a directory was moved or removed, operations on all names below the directory are allowed too. If a directory was
written, or got a new name, operations are allowed on those names below the directory that the snapshot does not have: all
new names of a directory share their marks. The snapshot is a copy of the prefix from before the run.
"""
import os
import re

OPENS = {"open": 1, "openat": 2, "openat2": 2}
WRITES = set("creat unlink unlinkat rmdir mkdir mkdirat mknod mknodat chmod chown lchown fchmodat fchmodat2 fchownat truncate "
             "truncate64 utime utimes futimesat utimensat rename renameat renameat2 link linkat symlink symlinkat setxattr "
             "lsetxattr removexattr lremovexattr".split())
# Calls that do not follow a symbolic link at the end of a name.
NOFOLLOW = set("unlink unlinkat rmdir mkdir mkdirat mknod mknodat lchown rename renameat renameat2 link linkat symlink symlinkat "
               "lsetxattr lremovexattr readlink readlinkat lstat".split())
MOVES = {"rename", "renameat", "renameat2", "rmdir"}
WRITING = re.compile(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC|O_TMPFILE")


def changes(call):
    """Returns whether a call may change the file that it names."""
    if call.name in OPENS:
        place = OPENS[call.name]
        flags = call.arguments[place] if place < len(call.arguments) else ""
        return bool(WRITING.search(flags)) and "O_PATH" not in flags
    return call.name in WRITES


def canonical(path):
    """Returns the name after resolving the symbolic links in its directory that exist now."""
    parent, last = os.path.split(path.rstrip("/") or "/")
    if last in ("", ".", ".."):
        return os.path.realpath(path)
    return os.path.normpath(os.path.join(os.path.realpath(parent), last))


def names(call, name):
    """Yields every path that the name of a call may mean."""
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
    """Returns the other names that written files have in the snapshot (hard links)."""
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
    """Returns the hits of a Counter on paths that were not written. `snapshot` is a copy of the prefix before the run."""
    prefix = os.path.realpath(prefix)
    written, moved = set(), set()
    for _, call, name in hits:
        if changes(call):
            written.update(names(call, name))
        if call.name in MOVES:
            moved.add(canonical(name))
    written |= linked(written, prefix, snapshot)
    parents = {os.path.dirname(path) for path in written}

    def known(path):
        return os.path.lexists(os.path.join(snapshot, os.path.relpath(path, prefix)))

    def known_above(path):
        return next((a for a in ancestors(path) if known(a)), None)

    grown = {known_above(path) for path in written if not known(path)}

    def allowed(path):
        if path in written or path in parents or any(a in moved for a in ancestors(path)):
            return True
        return not known(path) and (known_above(path) in grown or any(a in written for a in ancestors(path)))

    return [hit for hit in hits if not any(map(allowed, names(hit[1], hit[2])))]
