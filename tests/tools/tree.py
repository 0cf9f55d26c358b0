"""tree.py ONE OTHER: compares two directory trees by everything that a program can set: names, types, modes, owners,
sizes, contents, link targets, which names are hard links of one file, and modification times before 2021.

If a modification time is later, a run has set it. Then the file in the other tree must have a later time too, but not the
same time. `--volatile REGEX` names files
that contain a time or an inode number: only their names, types and modes are compared. Prints the differences. Exit
status: 1 if there are differences.
"""
import argparse
import hashlib
import os
import re
import stat
import sys

LATE = 1609459200


def entries(top, volatile):
    """Yields (path below `top`, attributes to compare)."""
    first = {}
    for directory, names, files in os.walk(top):
        names.sort()
        for name in sorted(names + files) + ([""] if directory == top else []):
            path = os.path.join(directory, name).rstrip("/")
            below = os.path.relpath(path, top)
            st = os.lstat(path)
            seen = {"type": stat.filemode(st.st_mode)}
            yield below, seen
            if volatile and volatile.search(below):
                continue
            seen["owner"] = (st.st_uid, st.st_gid)
            seen["time"] = st.st_mtime_ns if st.st_mtime < LATE else "late"
            if stat.S_ISLNK(st.st_mode):
                seen["target"] = os.readlink(path)
            if stat.S_ISREG(st.st_mode):
                seen["links"] = (st.st_nlink, first.setdefault(st.st_ino, below) if st.st_nlink > 1 else None)
                with open(path, "rb") as file:
                    seen["content"] = (st.st_size, hashlib.sha256(file.read()).hexdigest()[:16])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("one")
    parser.add_argument("other")
    parser.add_argument("--volatile", metavar="REGEX", type=re.compile)
    options = parser.parse_args()
    one, other = (dict(entries(top, options.volatile)) for top in (options.one, options.other))
    status = 0
    for path in sorted(set(one) | set(other)):
        left, right = one.get(path), other.get(path)
        if left != right:
            status = 1
            print(f"{path}:\n  {options.one}: {left}\n  {options.other}: {right}")
    return status


if __name__ == "__main__":
    sys.exit(main())
