#!/usr/bin/env python3
"""Staging a bundle on one node beside unpacking the same bundle with tar, in turn, in one run.

    python3 bench/staging.py BUNDLE.tar.zst [--pyshm PATH] [--runs N] [--threads N] [--archive NAME]
    python3 bench/staging.py ANY.tar.gz --prefix DIR        a tar that pyshm did not make

The peer decompresses with 'zstd -T0', or 'igzip' where the bundle ends in gz (Debian: isal).

An environment of about 650 MB to bundle: bash tests/env/make-env.sh target/test-env --large; its prefix is
target/test-env/prefix. Both write into /dev/shm. Prints the seconds, CPU seconds and peak memory of each, and the ratio of the medians of the
wall times (below 1: pyshm is faster). `--archive NAME` keeps the output in bench/runs/NAME.
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

ROOT = Path("/dev/shm")


def timed(command):
    """Runs a command; returns wall seconds, CPU seconds, and peak memory of its largest process in MB."""
    begun = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - begun
    if status:
        sys.exit(f"failed: {' '.join(map(str, command))}")
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main():
    here = Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--pyshm", type=Path, default=here.parent / "target/pyshm/bin/pyshm")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--prefix", type=Path, help="for a tar that pyshm did not make")
    parser.add_argument("--archive", metavar="NAME")
    args = parser.parse_args()

    place = Path(tempfile.mkdtemp(prefix="pyshm-bench-", dir=ROOT))
    tree = place / "tar"
    ours = [args.pyshm, "stage", "-b", args.bundle, "--root", place, "--threads", str(args.threads)]
    if args.prefix:
        ours += ["--prefix", args.prefix]
    decompressor = "igzip" if args.bundle.name.endswith("gz") else "zstd -T0"
    theirs = ["tar", "-I", decompressor, "-xf", args.bundle, "-C", tree]
    peer = f"tar -I '{decompressor}' -x"
    results = {"pyshm stage": [], peer: []}
    try:
        # One run of each first, so that the bundle is in the page cache for all.
        for run in range(args.runs + 1):
            ours_now = timed(ours)
            subprocess.run([args.pyshm, "unstage", "--all", "--root", place], check=True)
            tree.mkdir()
            theirs_now = timed(theirs)
            shutil.rmtree(tree)
            if run:
                results["pyshm stage"].append(ours_now)
                results[peer].append(theirs_now)
    finally:
        shutil.rmtree(place)

    lines = [
        f"command: python3 bench/staging.py {args.bundle.name}{' --prefix DIR' if args.prefix else ''} --runs {args.runs} --threads {args.threads}",
        f"machine: {os.cpu_count()} processors, Linux {platform.release()}, {time.strftime('%Y-%m-%d')}",
        f"bundle:  {args.bundle.stat().st_size / 1e6:.1f} MB",
        f"tools:   {subprocess.check_output([args.pyshm, '--version'], text=True).strip()}, "
        + subprocess.check_output(["tar", "--version"], text=True).splitlines()[0]
        + ", "
        + subprocess.check_output(["zstd", "--version"], text=True).strip().strip("* "),
        "",
        f"{'':24} {'wall s: min':>12} {'median':>8} {'max':>8} {'CPU s':>8} {'peak MB':>8}",
    ]
    medians = []
    for name, runs in results.items():
        wall, cpu, memory = zip(*runs)
        medians.append(statistics.median(wall))
        lines.append(
            f"{name:24} {min(wall):12.2f} {medians[-1]:8.2f} {max(wall):8.2f} "
            f"{statistics.median(cpu):8.2f} {max(memory):8.0f}"
        )
    pairs = [a[0] / b[0] for a, b in zip(*results.values())]
    lines.append("")
    cpu = [statistics.median(cpu for _, cpu, _ in runs) for runs in results.values()]
    lines.append(f"ratio of CPU times {cpu[0] / cpu[1]:.2f}")
    lines.append(f"ratio of medians {medians[0] / medians[1]:.2f}; pair by pair {min(pairs):.2f} to {max(pairs):.2f}")
    text = "\n".join(lines)
    print(text)
    if args.archive:
        runs = here / "runs"
        runs.mkdir(exist_ok=True)
        (runs / args.archive).write_text(text + "\n")


if __name__ == "__main__":
    main()
