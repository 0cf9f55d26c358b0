#!/usr/bin/env python3
"""Measures staging on one node, and other ways to unpack the same environments. In each round the commands take turns.

    python3 bench/staging.py [PREFIX…] [--runs N] [--threads N] [--archive NAME]

pyshm bundles each PREFIX, and GNU tar and gzip pack it. The defaults are target/test-env/prefix (about 650 MB) and
target/test-env/larger (1.1 GB), which `bash tests/env/make-env.sh target/test-env --large --larger` makes. Then these
commands unpack the files from the page cache into /dev/shm:
  .tar.zst   pyshm stage; tar -I 'zstd -T0' -x of the same bundle
  .tar.gz    pyshm stage --prefix; tar -I igzip -x (Debian: isal); one MPI_Bcast of the whole archive
             (bench/staging/whole_bcast.c) and bsdtar -x (Debian: libarchive-tools); mpiexec of `true`, to show how much
             of that time the start of MPI takes
  floor      only decoding (zstd -dc); only making files of the same sizes, with the same number of threads
             (bench/staging/files.c)
Prints seconds, CPU seconds and peak memory of each, the ratios of the medians (below 1: pyshm is faster), and the size of
the bundle relative to `zstd -3` of the same tree. Nothing else should run on the machine. `--archive NAME` keeps the
output in bench/runs/NAME.
"""
import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
TARGET = HERE.parent / "target"
PYSHM = TARGET / "pyshm/bin/pyshm"


def timed(command, cwd):
    """Runs a command. Returns wall seconds, CPU seconds, and the peak memory in MB of its largest process. Exits if it fails."""
    begun = time.perf_counter()
    process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, cwd=cwd)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - begun
    if status:
        sys.exit(f"failed: {' '.join(map(str, command))}")
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def output(*command):
    return subprocess.check_output([str(word) for word in command], text=True)


class Bench:
    """The archives of one environment and the commands that unpack them."""

    def __init__(self, prefix, disk, memory, threads):
        self.prefix, self.memory, self.threads = prefix, memory, threads
        self.bundle, self.gz = disk / f"{prefix.name}.tar.zst", disk / f"{prefix.name}.tar.gz"
        self.tree = memory / "tree"
        self.tools = disk
        subprocess.run([PYSHM, "bundle", "env", "-q", "-o", self.bundle, prefix], check=True)
        subprocess.run(["tar", "-czf", self.gz, "-C", prefix, "."], check=True)
        piped = f"tar -cf - -C '{prefix}' . | zstd -3 -T{threads} | wc -c"
        self.plain_size = int(output("sh", "-c", piped))
        lines = []
        self.bytes = 0
        for directory, _, files in os.walk(prefix):
            lines.append(f"d {os.path.relpath(directory, prefix)}")
            for name in files:
                path = os.path.join(directory, name)
                if not os.path.islink(path):
                    size = os.path.getsize(path)
                    self.bytes += size
                    lines.append(f"{size} {os.path.relpath(path, prefix)}")
        self.files = len(lines)
        self.list = disk / f"{prefix.name}.list"
        self.list.write_text("\n".join(lines) + "\n")

    def contenders(self):
        stage = [PYSHM, "stage", "--root", self.memory, "--threads", self.threads]
        mpiexec = mpi("mpiexec")
        whole = [mpiexec, "-n", 1, self.tools / "whole_bcast", self.gz, self.tree]
        unpack = f"exec bsdtar -xf '{self.tree}/archive' -C '{self.tree}'"
        return {
            "zst: pyshm stage": stage + ["-b", self.bundle],
            "zst: tar -I 'zstd -T0' -x": ["tar", "-I", "zstd -T0", "-xf", self.bundle, "-C", self.tree],
            "gz: pyshm stage": stage + ["-b", self.gz, "--prefix", self.prefix],
            "gz: tar -I igzip -x": ["tar", "-I", "igzip", "-xf", self.gz, "-C", self.tree],
            "gz: whole MPI_Bcast, bsdtar": ["sh", "-c", f'"$@" && {unpack}', "sh"] + whole,
            "    of it mpiexec of nothing": [mpiexec, "-n", 1, "true"],
            "floor: zstd -dc": ["zstd", "-dcq", self.bundle],
            f"floor: {self.threads} threads make the files": [self.tools / "files", self.threads, self.list],
        }

    def run(self, runs, out):
        contenders = self.contenders()
        results = {name: [] for name in contenders}
        # The first run of each command fills the page cache and does not count.
        for run in range(runs + 1):
            for name, command in contenders.items():
                self.tree.mkdir()
                now = timed(command, cwd=self.tree)
                if run:
                    results[name].append(now)
                shutil.rmtree(self.tree)
                subprocess.run([PYSHM, "unstage", "--all", "--root", self.memory], check=True)
        size = self.bundle.stat().st_size
        out(f"\n{self.prefix.name}: {self.bytes / 1e6:.0f} MB in {self.files} files and directories")
        out(f"bundle .tar.zst {size / 1e6:.1f} MB, {size / self.plain_size:.3f} of zstd -3; .tar.gz {self.gz.stat().st_size / 1e6:.1f} MB")
        out(f"{'':32} {'wall s: min':>12} {'median':>8} {'max':>8} {'CPU s':>8} {'peak MB':>8}")
        medians = {}
        for name, rows in results.items():
            wall, cpu, memory = zip(*rows)
            medians[name] = statistics.median(wall), statistics.median(cpu)
            out(f"{name:32} {min(wall):12.2f} {medians[name][0]:8.2f} {max(wall):8.2f} {medians[name][1]:8.2f} {max(memory):8.0f}")
        for ours, theirs in [("zst: pyshm stage", "zst: tar -I 'zstd -T0' -x"), ("gz: pyshm stage", "gz: tar -I igzip -x"),
                             ("zst: pyshm stage", "gz: whole MPI_Bcast, bsdtar"), ("gz: pyshm stage", "gz: whole MPI_Bcast, bsdtar")]:
            wall, cpu = (medians[ours][i] / medians[theirs][i] for i in (0, 1))
            pairs = [a[0] / b[0] for a, b in zip(results[ours], results[theirs])]
            out(f"{ours} / {theirs}: wall {wall:.2f} (pair by pair {min(pairs):.2f} to {max(pairs):.2f}), CPU {cpu:.2f}")


def mpi(tool):
    """Returns the path of a tool of MPICH in the test environment."""
    return Path(output("bash", HERE.parent / "tests/env/mpich-bin.sh", TARGET / "test-env").strip()) / tool


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prefix", type=Path, nargs="*", default=[TARGET / "test-env/prefix", TARGET / "test-env/larger"])
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--archive", metavar="NAME")
    args = parser.parse_args()

    lines = []

    for prefix in args.prefix:
        if not prefix.is_dir():
            parser.error(f"{prefix} is no directory: make the test environments (see --help), or name another directory")

    def out(line):
        print(line, flush=True)
        lines.append(line)

    first = lambda *command: output(*command).splitlines()[0].strip("* ")
    out(f"command: python3 bench/staging.py {' '.join(p.name for p in args.prefix)} --runs {args.runs} --threads {args.threads}")
    out(f"machine: {os.cpu_count()} processors, Linux {platform.release()}, {time.strftime('%Y-%m-%d')}")
    out("tools:   " + "; ".join([first(PYSHM, "--version"), first("tar", "--version"), first("zstd", "--version"),
                                 first("igzip", "--version"), first("bsdtar", "--version")]))
    disk = Path(tempfile.mkdtemp(prefix="pyshm-bench-", dir="/var/tmp"))
    memory = Path(tempfile.mkdtemp(prefix="pyshm-bench-", dir="/dev/shm"))
    try:
        subprocess.run(["cc", "-O2", "-pthread", "-o", disk / "files", HERE / "staging/files.c"], check=True)
        subprocess.run([mpi("mpicc"), "-O2", "-o", disk / "whole_bcast", HERE / "staging/whole_bcast.c"], check=True)
        for prefix in args.prefix:
            Bench(prefix.resolve(), disk, memory, args.threads).run(args.runs, out)
    finally:
        shutil.rmtree(disk)
        shutil.rmtree(memory)
    if args.archive:
        (HERE / "runs" / args.archive).write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
