"""Returns Python's own view of its environment as plain data. The data must be equal in a bare run and in a run with
pyshm.

app.py (with MPI) and view.py (without MPI) use this module. Invariants: importing the module has no side effects, because
spawned pools import it. Two runs return the same data, so the data has no access times, process ids or addresses.
"""
import os
import re
import sys
import sysconfig

# Variables that differ between ranks or between two starts of the same job. All other variables must be equal.
VOLATILE = re.compile(
    r"^(PMI|PMIX|OMPI|ORTE|PRTE|HYD|HYDRA|MPIR?_|MPICH|SLURM|SLURMD|SRUN|SSH_|XDG_SESSION_ID|TMUX|UCX_|FI_"
    r"|IPATH_NO_BACKTRACE$|HFI_NO_BACKTRACE$|KRB5CCNAME$|HOSTNAME$|HOST$|_$|WINDOWID$|TMPDIR$|LS_COLORS$)"
)


def environment():
    return {k: v for k, v in sorted(os.environ.items()) if not VOLATILE.match(k)}


def interpreter():
    """Returns values of sys and sysconfig, and the files of all loaded modules."""
    import site

    names = ("prefix", "base_prefix", "exec_prefix", "base_exec_prefix", "executable", "path", "orig_argv", "argv",
             "platlibdir", "pycache_prefix")
    view = {"sys." + name: getattr(sys, name, None) for name in names}
    view["sys._base_executable"] = getattr(sys, "_base_executable", None)
    view["sys.path_importer_cache"] = sorted(sys.path_importer_cache)
    view["sysconfig.paths"] = sysconfig.get_paths()
    view["sysconfig.vars"] = {k: sysconfig.get_config_var(k) for k in
                              ("prefix", "exec_prefix", "LIBDIR", "LIBPL", "BINDIR", "INCLUDEPY", "SCRIPTDIR")}
    view["site.packages"] = site.getsitepackages()
    view["modules"] = {
        name: [getattr(module, "__file__", None), getattr(module, "__cached__", None),
               list(getattr(module, "__path__", []))]
        for name, module in sorted(sys.modules.items()) if not name.startswith("__")
    }
    return view


def process():
    return {
        "getcwd": os.getcwd(),
        "proc.exe": os.readlink("/proc/self/exe"),
        "proc.cwd": os.readlink("/proc/self/cwd"),
        "environ": environment(),
    }


def stat_of(path, follow=True):
    """Returns every field of stat except the access time, or the error."""
    try:
        s = os.stat(path, follow_symlinks=follow)
    except OSError as error:
        return repr(error)
    return [s.st_mode, s.st_ino, s.st_dev, s.st_nlink, s.st_uid, s.st_gid, s.st_size, s.st_mtime_ns, s.st_ctime_ns,
            s.st_blksize, s.st_blocks]


def directory(path):
    """Returns what listdir, scandir and stat say about a directory, sorted by name, or the error."""
    try:
        entries = sorted(os.scandir(path), key=lambda e: e.name)
    except OSError as error:
        return repr(error)
    return {
        "listdir": sorted(os.listdir(path)),
        "scandir": [[e.name, e.path, e.inode(), e.is_dir(), e.is_file(), e.is_symlink()] for e in entries],
        "stat": {e.name: stat_of(e.path, follow=False) for e in entries},
        "readlink": {e.name: os.readlink(e.path) for e in entries if e.is_symlink()},
        "realpath": {e.name: os.path.realpath(e.path) for e in entries if e.is_symlink()},
    }


def in_worker(number):
    """Runs in a process of a pool: computes a number and returns it with the paths that the process sees."""
    import numpy

    value = float(numpy.abs(numpy.fft.rfft(numpy.arange(64.0) + number)).sum())
    return [number, value.hex(), sys.executable, sys.prefix, os.getcwd(), numpy.__file__,
            os.readlink("/proc/self/exe")]


def pool(method, workers=2):
    """Returns the results of a process pool. multiprocessing.Pool is not used, because it replaces a worker that dies. If
    every worker died when it started, the pool would start workers for ever."""
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context(method)) as processes:
        return list(processes.map(in_worker, range(workers * 2)))


def run(words, **options):
    """Runs a command and returns its exit status and outputs."""
    import subprocess

    done = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False, **options)
    return {"status": done.returncode, "stdout": done.stdout, "stderr": done.stderr}
