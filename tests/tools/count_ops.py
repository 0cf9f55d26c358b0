"""count_ops.py TRACE --under DIR: counts the path operations of a strace trace on watched directories.

TRACE is a file of trace.sh (strace -f -y), or a directory of files of `strace -ff -y -o DIR/t`. Every call with a path
argument counts, even if the call fails. A call with two names (rename, link) counts once for each name. A relative name
starts at the process's working directory or at the descriptor's path (-y). Three kinds of calls are counted separately
and are not in the total: chdir; calls on an open descriptor with an empty name, such as fstat makes; and the texts of new
symbolic links, which the kernel does not look up.

The total includes the loader's failed tries in subdirectories for the processor (`glibc-hwcaps/x86-64-v4`,
`tls/x86_64`). Their number depends on the machine, unlike the number of all other operations. The script prints it, and
--any-processor leaves these tries out.

Invariants: the script never counts too few. A name counts if it lies under a watched directory, either as it is written
or after resolving the symbolic links that exist now. The links in the name's directory are always resolved; the name
itself is resolved only for calls that follow links. A truncated name counts if its beginning lies under a watched
directory. Lines that are not understood are reported, and the exit status is 2.
"""
import argparse
import json
import os
import re
import sys

import stracelog
import written

AT, PLAIN = "at", "plain"
# Maps a call to the arguments that are names: (AT, number of the descriptor, number of the name) or (PLAIN, number of
# the name).
CALLS = {}
for _name in ("open creat stat lstat stat64 lstat64 access readlink unlink rmdir mkdir chmod chown lchown truncate "
              "truncate64 utime utimes mknod statfs statfs64 execve chdir chroot acct swapon swapoff uselib getxattr "
              "lgetxattr setxattr lsetxattr listxattr llistxattr removexattr lremovexattr umount umount2 oldstat "
              "oldlstat oldumount").split():
    CALLS[_name] = [(PLAIN, 0)]
for _name in ("openat openat2 newfstatat fstatat64 statx faccessat faccessat2 readlinkat unlinkat mkdirat mknodat "
              "fchmodat fchmodat2 fchownat futimesat utimensat name_to_handle_at execveat open_tree fspick "
              "mount_setattr getxattrat setxattrat listxattrat removexattrat").split():
    CALLS[_name] = [(AT, 0, 1)]
for _name in ("rename", "link", "pivot_root", "mount"):
    CALLS[_name] = [(PLAIN, 0), (PLAIN, 1)]
for _name in ("renameat", "renameat2", "linkat", "move_mount"):
    CALLS[_name] = [(AT, 0, 1), (AT, 2, 3)]
CALLS["symlink"] = [(PLAIN, 1)]
CALLS["symlinkat"] = [(AT, 1, 2)]
CALLS["inotify_add_watch"] = [(PLAIN, 1)]
CALLS["fanotify_mark"] = [(AT, 3, 4)]
CALLS["quotactl"] = [(PLAIN, 1)]

NOFOLLOW = set("lstat lstat64 oldlstat readlink readlinkat unlink unlinkat rmdir mkdir mkdirat mknod mknodat rename renameat "
               "renameat2 link linkat symlink symlinkat lchown lgetxattr lsetxattr llistxattr lremovexattr".split())
# The subdirectories in which the loader looks for libraries for the processor. Their names are the processor's level and,
# before glibc 2.37, the processor's features.
SUBDIRECTORY = r"/(?:glibc-hwcaps/[^/]+|(?:tls|x86_64|haswell|xeon_phi|avx512_1)(?:/(?:x86_64|haswell|xeon_phi|avx512_1))*)"
TRIED_LIBRARY = re.compile(f"^(.*{SUBDIRECTORY})/[^/]*[.]so[^/]*$")
FORKS = {"clone", "clone3", "fork", "vfork"}
SILENT = FORKS | {"fchdir", "getcwd"}


class Process:
    """What a process inherits from its parent: the working directory, and whether its operations count."""

    def __init__(self, cwd, counted, ignored=False):
        self.cwd, self.counted, self.ignored = cwd, counted, ignored
        self.tried = None                   # the subdirectory for a processor in which the loader has just failed to open a library

    def child(self, shares):
        new = Process(self.cwd if shares else list(self.cwd), self.counted, self.ignored)
        return new


class Counter:
    def __init__(self, watched, cwd, from_exec=None, ignore_exec=None, resolve=True):
        self.watched = [self._clean(path) for path in watched]
        # A trace may show a watched directory by its real name too.
        self.real = {os.path.realpath(path): path for path in self.watched} if resolve else {}
        self.cwd, self.resolve = cwd, resolve
        self.from_exec = re.compile(from_exec) if from_exec else None
        self.ignore_exec = [re.compile(text) for text in ignore_exec or []]
        self.hits = []                      # (watched directory, call, name)
        self.chdirs, self.by_descriptor, self.link_texts, self.starts, self.processes = 0, 0, 0, 0, set()
        self.for_processor = set()          # the numbers of the loader's attempts for the processor
        self.truncated = 0
        self.unknown = {}
        self._links = {}

    @staticmethod
    def _clean(path):
        return os.path.normpath("/" + path).replace("//", "/") if path.startswith("/") else os.path.abspath(path)

    def _match(self, path, directories):
        for directory in directories:
            if path == directory or path.startswith(directory.rstrip("/") + "/"):
                return directory
        return None

    def _real(self, path):
        if path not in self._links:
            self._links[path] = os.path.realpath(path)
        return self._links[path]

    def where(self, name, follows):
        """Returns the watched directory that an absolute name lies under, or None."""
        # Try the name without // and /./. If the name contains `..`, try two forms: one without the `..` and the part before
        # it, and one with resolved links.
        tidy = re.sub(r"/(?:\.?/)+", "/", name.replace("/./", "/"))
        for candidate in (tidy, os.path.normpath(tidy)):
            found = self._match(candidate, self.watched)
            if found:
                return found
        if not self.resolve:
            return None
        parent, last = os.path.split(tidy.rstrip("/") or "/")
        names = [self._real(parent)] if last == ".." else [os.path.join(self._real(parent), last)]
        if follows or last == "..":
            names.append(self._real(tidy))
        for candidate in names:
            found = self._match(candidate, self.real)
            if found:
                return self.real[found]
        return None

    def _names(self, call, process):
        """Yields (absolute name, by descriptor) for each path argument that names a file."""
        arguments = call.arguments
        for place in CALLS[call.name]:
            base = process.cwd[0]
            if place[0] == AT:
                if place[1] >= len(arguments):
                    continue
                number, path = stracelog.descriptor(arguments[place[1]])
                if number == "AT_FDCWD" and path:
                    process.cwd[0] = path
                base = path or (base if number == "AT_FDCWD" else None)
            if place[-1] >= len(arguments):
                continue
            name, truncated = stracelog.string(arguments[place[-1]])
            self.truncated += truncated
            if name is None:                # NULL: a call on the descriptor itself (utimensat), or a bad pointer
                if place[0] == AT and arguments[place[-1]] == "NULL" and base:
                    yield base, True
            elif name.startswith("/"):
                yield name, False
            elif name == "":
                # An empty name means the descriptor itself if AT_EMPTY_PATH is set, or in a readlinkat of a link's descriptor.
                if place[0] == AT and base:
                    yield base, True
            elif base:
                yield base.rstrip("/") + "/" + name, False

    def run(self, calls):
        parents = {}
        for call in calls:                  # a child's first lines may stand before the line that names the child
            if call.name in FORKS and call.ok and call.value.isdigit() and call.value != "0":
                parents.setdefault(id(call), int(call.value))
        alive, pending = {}, {}
        for call in self._ordered(calls):
            process = alive.get(call.pid)
            if process is None:
                queue = pending.get(call.pid[0])
                process = queue.pop(0) if queue else Process([self.cwd], self.from_exec is None)
                alive[call.pid] = process
            if id(call) in parents:
                shares = "CLONE_FS" in "".join(call.arguments)
                pending.setdefault(parents[id(call)], []).append(process.child(shares))
            elif call.name in ("chdir", "fchdir"):
                self._change(call, process)
            elif call.name in CALLS:
                self._count(call, process)
            elif call.name not in SILENT:
                self.unknown[call.name] = self.unknown.get(call.name, 0) + 1
        return self

    @staticmethod
    def _ordered(calls):
        """Returns the calls in an order in which each clone comes before the calls of its child. The files of `strace -ff`
        have another order."""
        children = {int(c.value): c for c in calls if c.name in FORKS and c.ok and c.value.isdigit()}
        seen, groups = {}, {}
        for call in calls:
            seen.setdefault(call.pid, call.order)
            groups.setdefault(call.pid, []).append(call)
        late = [pid for pid, first in seen.items() if pid[0] in children and children[pid[0]].order > first]
        if not late:
            return calls
        done, out = set(), []

        def visit(pid):
            if pid in done:
                return
            done.add(pid)
            parent = children.get(pid[0])
            if parent is not None and parent.pid != pid:
                visit(parent.pid)
            out.extend(groups[pid])

        for pid in groups:
            visit(pid)
        return out

    def _change(self, call, process):
        if call.name == "fchdir":
            _, path = stracelog.descriptor(call.arguments[0]) if call.arguments else ("", None)
        else:
            path = next((name for name, _ in self._names(call, process)), None)
            if path and process.counted and not process.ignored and self.where(path, True):
                self.chdirs += 1
        if path and call.ok:
            # If the directory still exists, take its real name, which -y would show.
            process.cwd[0] = self._real(path) if self.resolve and os.path.isdir(path) else os.path.normpath(path)

    def _count(self, call, process):
        start = False
        if call.name in ("execve", "execveat") and call.ok:
            words = " ".join(call.arguments[:3])
            if any(pattern.search(words) for pattern in self.ignore_exec):
                process.ignored = True
            if self.from_exec and not process.counted and self.from_exec.search(words):
                process.counted = start = True
        if call.name.startswith("symlink") and call.arguments and process.counted and not process.ignored:
            text, _ = stracelog.string(call.arguments[0])
            self.link_texts += bool(text and text.startswith("/") and self.where(text, False))
        if self._tried_for_processor(call, process):
            self.for_processor.add(call.order)
        follows = call.name not in NOFOLLOW and "NOFOLLOW" not in "".join(call.arguments[2:])
        for name, by_descriptor in self._names(call, process):
            if not process.counted or process.ignored:
                continue
            directory = self.where(name, follows)
            if directory is None:
                continue
            if by_descriptor:
                self.by_descriptor += 1
                continue
            self.starts += start
            self.processes.add(call.pid)
            self.hits.append((directory, call, name))

    @staticmethod
    def _tried_for_processor(call, process):
        """Returns whether the loader failed to open a library in a subdirectory for the processor, or to stat this directory."""
        tried, process.tried = process.tried, None
        if call.ok or "ENOENT" not in call.line:
            return False
        if call.name == "openat" and call.arguments[2:] == ["O_RDONLY|O_CLOEXEC"]:
            match = TRIED_LIBRARY.match("/" + (stracelog.string(call.arguments[1])[0] or ""))
            process.tried = match and match.group(1)
            return match is not None
        if call.name in ("newfstatat", "stat") and tried is not None:
            name = call.arguments[1 if call.name == "newfstatat" else 0]
            return "/" + (stracelog.string(name)[0] or "") == tried
        return False

    def is_for_processor(self, hit):
        return hit[1].order in self.for_processor

    def summary(self):
        count = lambda key: {k: sum(1 for hit in self.hits if key(hit) == k) for k in sorted({key(h) for h in self.hits})}
        return {"total": len(self.hits), "for_processor": sum(self.is_for_processor(hit) for hit in self.hits),
                "under": {d: sum(h[0] == d for h in self.hits) for d in self.watched},
                "calls": count(lambda hit: hit[1].name), "failed": sum(not hit[1].ok for hit in self.hits),
                "start_execs": self.starts, "chdir": self.chdirs, "by_descriptor": self.by_descriptor, "link_texts": self.link_texts,
                "processes": len(self.processes), "truncated": self.truncated, "not_counted": self.unknown}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trace")
    parser.add_argument("--under", action="append", required=True, metavar="DIR", help="watched directory; repeatable")
    parser.add_argument("--cwd", help="where the first process starts; default TRACE.cwd, which trace.sh writes")
    parser.add_argument("--from-exec", metavar="REGEX", help="count in a process and its children from its first "
                        "successful exec whose path and arguments match (that exec included: start_execs)")
    parser.add_argument("--ignore-exec", action="append", metavar="REGEX", help="stop counting in a process and its children at an exec that matches")
    parser.add_argument("--no-resolve", action="store_true", help="compare names as written only")
    parser.add_argument("--any-processor", action="store_true", help="leave out the loader's tries for the processor")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--unwritten", metavar="COPY", help="count only operations on paths that no call of the trace wrote (written.py); "
                        "COPY is a copy of the one watched directory before the run")
    parser.add_argument("--list", type=int, default=0, metavar="N", help="show the first N lines that count")
    parser.add_argument("--max", type=int, metavar="N", help="exit status 1 if the total is larger")
    options = parser.parse_args()

    cwd = options.cwd
    if cwd is None:
        sidecar = options.trace + ".cwd"
        cwd = open(sidecar, encoding="utf-8").read().rstrip("\n") if os.path.exists(sidecar) else os.getcwd()
    log = stracelog.read(options.trace)
    counter = Counter(options.under, cwd, options.from_exec, options.ignore_exec, not options.no_resolve).run(log.calls)
    if options.unwritten:
        counter.hits = written.unwritten(counter.hits, options.under[0], options.unwritten)
    if options.any_processor:
        counter.hits = [hit for hit in counter.hits if not counter.is_for_processor(hit)]
    summary = counter.summary()
    if options.json:
        print(json.dumps(summary, indent=1))
    else:
        for directory, number in summary["under"].items():
            print(f"{number:8} {directory}")
        print(f"{summary['total']:8} in all: " + " ".join(f"{k} {v}" for k, v in summary["calls"].items()))
        print(f"{summary['for_processor']:8} of these by the loader for the processor")
        print(f"         apart: chdir {summary['chdir']}, by descriptor {summary['by_descriptor']}; "
              f"{summary['processes']} processes, {summary['failed']} failed calls")
    for _, call, name in counter.hits[:options.list]:
        print(f"  {call.pid[0]} {name}\n      {call.line[:300]}")
    if log.unread:
        print(f"count_ops.py: {len(log.unread)} lines not understood, the first: {log.unread[0][:200]}", file=sys.stderr)
        return 2
    if not log.calls:
        print("count_ops.py: an empty trace counts nothing", file=sys.stderr)
        return 2
    return 1 if options.max is not None and summary["total"] > options.max else 0


if __name__ == "__main__":
    sys.exit(main())
