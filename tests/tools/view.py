"""view.py [--quick] [DIR...]: prints Python's own view of its environment as JSON, without MPI.

Run the script with the same interpreter bare and with pyshm: `compare.py` or `diff` must find no difference. The output
also lists the DIRs. `--quick` leaves out pip and the pools. Invariants: the script writes no file, and two bare runs print
the same.
"""
import json
import os
import shutil
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import pyview  # noqa: E402

PROGRAM = "import sys, os, numpy; print(sys.executable, sys.prefix, sys.path, os.__file__, numpy.__file__)"


def main():
    words = [word for word in sys.argv[1:] if word != "--quick"]
    quick = len(words) < len(sys.argv) - 1
    import numpy
    import numpy.fft  # noqa: F401
    import scipy.interpolate  # noqa: F401

    base_library = os.path.dirname(os.__file__)
    packages = os.path.dirname(os.path.dirname(numpy.__file__))
    bin_directory = os.path.dirname(sys.executable)
    some_files = [sys.executable, os.__file__, numpy.__file__, os.path.join(sys.prefix, "pyvenv.cfg"),
                  os.path.join(packages, "no-such-file")]
    view = {
        "interpreter": pyview.interpreter(),
        "process": pyview.process(),
        "stat": {path: pyview.stat_of(path) for path in some_files},
        "lstat": {path: pyview.stat_of(path, follow=False) for path in some_files},
        "realpath": {path: os.path.realpath(path) for path in some_files},
        "access": {path: [os.access(path, mode) for mode in (os.F_OK, os.R_OK, os.W_OK, os.X_OK)]
                   for path in some_files},
        "ismount": {path: os.path.ismount(path) for path in (sys.prefix, sys.base_prefix)},
        "statvfs": {path: [os.statvfs(path).f_bsize, os.statvfs(path).f_namemax]
                    for path in (sys.prefix, sys.base_prefix)},
        "which": {name: shutil.which(name) for name in ("python", "python3", "pip", "mpiexec", "sh")},
        "directories": {path: pyview.directory(path) for path in
                        [sys.prefix, sys.base_prefix, bin_directory, base_library, packages,
                         os.path.join(packages, "no-such-directory"), *words]},
        "child.python": pyview.run([sys.executable, "-c", PROGRAM]),
        "child.by-path": pyview.run(["python", "-c", PROGRAM], env={**os.environ, "PATH": bin_directory + ":/usr/bin:/bin"}),
        "child.no-environment": pyview.run([sys.executable, "-c", PROGRAM], env={}),
        "child.in-prefix": pyview.run([sys.executable, "-c", "import os; print(os.getcwd())"], cwd=sys.prefix),
        "child.bash": pyview.run(["bash", "-c", 'cd "$1" && pwd && ls && readlink -f bin/python', "bash", sys.prefix]),
    }
    if not quick:
        view["child.pip"] = pyview.run([sys.executable, "-m", "pip", "list", "--disable-pip-version-check"])
        if os.path.exists(os.path.join(bin_directory, "pip")):
            view["child.pip-script"] = pyview.run([os.path.join(bin_directory, "pip"), "--version"])
        for method in ("fork", "spawn", "forkserver"):
            view["pool." + method] = pyview.pool(method)
    json.dump(view, sys.stdout, indent=1, sort_keys=True)
    print()


if __name__ == "__main__":
    main()
