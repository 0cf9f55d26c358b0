"""Uses files by Python's own library. `E` is the prefix, and `M` the directory that contains it."""
import glob
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import zipfile

E, M = os.environ["E"], os.environ["M"]
P = lambda name: os.path.join(E, name)


def show(what, call):
    try:
        result = call()
    except OSError as error:
        result = os.strerror(error.errno)
    print(what, result, flush=True)


def text(name):
    with open(P(name), encoding="utf-8") as file:
        return file.read()


def put(name, content, mode="w"):
    with open(P(name), mode, encoding="utf-8") as file:
        file.write(content)


def names(name="."):
    return sorted(os.listdir(P(name)))


def is_mount():
    print(os.path.ismount(E))
    print(os.path.ismount(P("d")), os.path.ismount(P("nope")))


def compiles():
    # Another process compiles the module, because this process runs with -B and so writes no compiled modules.
    script = ("import sys; sys.path.insert(0, sys.argv[1]); import module, os; "
              "print(module.answer, 'cached', os.path.exists(module.__cached__), os.path.basename(module.__file__))")
    for _ in range(2):
        print(subprocess.run([sys.executable, "-ISc", script, P("lib")], capture_output=True, text=True, check=True).stdout, end="")
    print(names("lib/__pycache__"))
    with open(P("lib/module.py"), "a", encoding="utf-8") as file:
        file.write("answer = 'another'\n")
    print(subprocess.run([sys.executable, "-ISc", script, P("lib")], capture_output=True, text=True, check=True).stdout, end="")
    # The compiled module contains the time of its source, which differs between the two runs.
    shutil.rmtree(P("lib/__pycache__"))


def working_directory():
    before = os.getcwd()
    show("in the prefix", lambda: subprocess.run(["sh", "-c", "pwd; cat b"], cwd=P("d"), capture_output=True, text=True))
    show("in nothing", lambda: subprocess.run(["true"], cwd=P("nope")))
    print(before == os.getcwd())
    print(text("d/b"), end="")


def reads():
    show("text", lambda: text("a"))
    show("lines", lambda: pathlib.Path(P("d/b")).read_bytes())
    show("walk", lambda: sorted((root, sorted(dirs), sorted(files)) for root, dirs, files in os.walk(E)))
    show("fwalk", lambda: sorted((root, sorted(dirs), sorted(files)) for root, dirs, files, _ in os.fwalk(E)))
    show("glob", lambda: sorted(glob.glob(P("**"), recursive=True)))
    show("rglob", lambda: sorted(map(str, pathlib.Path(E).rglob("*"))))
    show("scandir", lambda: sorted((e.name, e.is_dir(), e.is_symlink(), e.inode() == e.stat(follow_symlinks=False).st_ino) for e in os.scandir(E)))
    show("resolve", lambda: str(pathlib.Path(P("lib64/../to-d/sub")).resolve()))
    show("realpath", lambda: os.path.realpath(P("abs-to-b")))
    show("readlink", lambda: os.readlink(P("abs-to-b")))
    show("samefile", lambda: (os.path.samefile(P("a"), P("same-as-a")), os.path.samefile(P("a"), P("d/b"))))
    show("exists", lambda: [(os.path.exists(P(n)), os.path.lexists(P(n)), os.path.isdir(P(n))) for n in ("a", "d", "dangling", "nope", "loop1", "a/x")])
    show("missing", lambda: text("nope"))
    show("a directory", lambda: text("d"))
    show("loop", lambda: text("loop1"))
    directory = os.open(P("d"), os.O_RDONLY)
    show("by descriptor", lambda: (sorted(os.listdir(directory)), os.stat("b", dir_fd=directory).st_size, os.access("b", os.R_OK, dir_fd=directory),
                                   os.fstat(directory).st_ino == os.stat(P("d")).st_ino))
    show("statvfs", lambda: os.statvfs(P("a")).f_namemax)
    show("xattr", lambda: os.listxattr(P("a")))
    show("disk usage", lambda: shutil.disk_usage(E).total == shutil.disk_usage(M).total)
    show("copy out", lambda: sorted(os.listdir(shutil.copytree(P("full"), os.path.join(M, "out/full"), symlinks=True))))
    show("times kept", lambda: os.stat(os.path.join(M, "out/full/1")).st_mtime_ns == os.stat(P("full/1")).st_mtime_ns)


def writes():
    show("new", lambda: (put("new", "n"), text("new"), os.path.exists(P("new")), "new" in names())[1:])
    show("append", lambda: (put("a", "more\n", "a"), text("a"), os.stat(P("a")).st_size)[1:])
    show("move out", lambda: (shutil.move(P("full/1"), os.path.join(M, "out/1")), names("full"))[1:])
    show("move in", lambda: (shutil.move(os.path.join(M, "out/1"), P("d/one")), names("d"), text("d/one"))[1:])
    show("replace", lambda: (os.replace(P("full/2"), P("full/3")), names("full"), text("full/3"))[1:])
    show("makedirs", lambda: (os.makedirs(P("x/y/z")), names("x/y"), os.removedirs(P("x/y/z")), os.path.exists(P("x"))))
    show("copytree", lambda: (shutil.copytree(P("d"), P("d2")), names("d2"), text("d2/sub/c"))[1:])
    show("rmtree", lambda: (shutil.rmtree(P("d2")), os.path.exists(P("d2")), names()))

    def temporary():
        fd, name = tempfile.mkstemp(dir=P("lib"))
        os.close(fd)
        with tempfile.TemporaryDirectory(dir=E) as directory, tempfile.NamedTemporaryFile(dir=directory) as file:
            seen = os.path.exists(name), os.path.exists(file.name), len(os.listdir(directory)), len(names("lib"))
        os.unlink(name)
        return seen, names("lib"), os.path.exists(directory)
    show("temporary", temporary)

    def archive():
        with zipfile.ZipFile(P("lib/x.zip"), "w") as file:
            file.writestr(zipfile.ZipInfo("zipped.py"), "x = 1\n")
        sys.path.insert(0, P("lib/x.zip"))
        import zipped
        return zipped.x, zipped.__file__
    show("archive", archive)

    def by_descriptor():
        directory = os.open(P("full"), os.O_RDONLY)
        os.mkdir("made", dir_fd=directory)
        os.symlink("3", "link2", dir_fd=directory)
        os.unlink("3", dir_fd=directory)
        return sorted(os.listdir(directory)), os.path.exists(P("full/link2")), os.readlink("link2", dir_fd=directory)
    show("by descriptor", by_descriptor)

    def read_descriptor():
        with open(P("bin/tool"), "rb") as file:
            os.fchmod(file.fileno(), 0o711)
            os.utime(file.fileno(), (5, 6))
            return oct(os.stat(P("bin/tool")).st_mode), os.fstat(file.fileno()).st_mtime, os.stat(P("bin/tool")).st_mtime
    show("by a read descriptor", read_descriptor)
    show("others", lambda: subprocess.run(["ls", "-R", E], capture_output=True, text=True).stdout)


globals()[sys.argv[1]]()
