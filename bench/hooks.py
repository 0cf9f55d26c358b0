#!/usr/bin/env python3
"""Measures the time that calls, program starts and the start of a Python take bare and with the shim.

    python3 bench/hooks.py [--entries N] [--rounds N] [--python PREFIX] [--archive NAME]

Makes a tree of N entries (default 60,000) in /var/tmp, whose disk stands in for the shared file system. Then it stages the
tree, and measures:
  calls    on paths outside every prefix, missing under a snapshot prefix, and redirected (bench/hooks/calls.c). Calls outside
           are measured a second time while the kernel refuses them on entry, because the time of walking a path varies by
           more than a hook adds. If valgrind is installed, the instructions of one call are counted too
  starts   /bin/true with nothing preloaded, with an empty library, with hooks declared by redhook (bench/hooks/redhook, needs
           the crate), with the shim but no stage, and with the shim and a stage
  python   `import numpy.fft; import scipy.interpolate` from the environment PREFIX (default target/test-env/prefix,
           made by `bash tests/env/make-env.sh target/test-env --large`): staged, and without the shim from a copy of
           the tree in /dev/shm that is mounted over the original path (needs root)
Nothing else should run on the machine. `--archive NAME` keeps the output in bench/runs/NAME.
"""
import argparse
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
TARGET = HERE.parent / "target"
INSTALL = TARGET / "pyshm"
IMPORT = "import numpy.fft; import scipy.interpolate"


def run(command, **options):
    return subprocess.run([str(word) for word in command], check=True, text=True, stdout=subprocess.PIPE, **options).stdout


def clean(**variables):
    return {"PATH": "/usr/bin:/bin", **variables}


class Place:
    """The temporary directories of this run, one on disk and one in memory; leaving the context removes them."""

    def __init__(self):
        self.disk = Path(tempfile.mkdtemp(prefix="pyshm-bench-", dir="/var/tmp"))
        self.memory = Path(tempfile.mkdtemp(prefix="pyshm-bench-", dir="/dev/shm"))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.disk)
        shutil.rmtree(self.memory)

    def compile(self, source, *options):
        to = self.disk / Path(source).stem
        run(["cc", "-O2", "-o", to, HERE / "hooks" / source, *options])
        return to

    def stage(self, prefix):
        bundle = self.disk / (Path(prefix).name + ".tar.zst")
        run([INSTALL / "bin/pyshm", "bundle", "env", prefix, "-o", bundle, "-q"])
        return Path(run([INSTALL / "bin/pyshm", "stage", "-b", bundle, "--root", self.memory]).split()[-1])


def make_tree(top, entries):
    """Makes about `entries` paths: directories of 100 files each, and one link. Returns the first directory."""
    for d in range(entries // 101):
        directory = top / f"lib/python3.11/site-packages/package{d:04}"
        directory.mkdir(parents=True)
        for f in range(100):
            (directory / f"module{f:02}.py").write_bytes(b"")
    first = top / "lib/python3.11/site-packages/package0000"
    (first / "link").symlink_to("module00.py")
    return first


def instructions(program, operation, path, env):
    """Returns how many instructions one call takes, by the difference of two counts; None if valgrind is missing."""
    if not shutil.which("valgrind"):
        return None
    counts = []
    for calls in (1000, 3000):
        text = subprocess.run(
            ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", program, "0", str(calls), operation, path],
            env=env, text=True, stderr=subprocess.PIPE, check=True).stderr
        counts.append(int(re.search(r"Collected : (\d+)", text)[1]))
    return (counts[1] - counts[0]) / 2000


def calls(place, first, stage, rounds, out):
    program = place.compile("calls.c")
    outside = place.disk / "outside/directory/of/some/depth"
    outside.mkdir(parents=True)
    (outside / "file").write_bytes(b"")
    os.chdir(outside)
    cases = [
        ("outside", "stat", outside / "file"), ("outside", "access", outside / "file"), ("outside", "open", outside / "file"),
        ("outside", "fstat", outside / "file"), ("outside", "readlink", outside / "file"),
        ("outside, relative", "stat", "file"),
        ("missing", "stat", first / "nothing.py"), ("missing", "open", first / "nothing.py"),
        ("redirected", "stat", first / "module50.py"), ("redirected", "access", first / "module50.py"),
        ("redirected", "open", first / "module50.py"), ("redirected", "fstat", first / "module50.py"),
        ("redirected", "readlink", first / "link"), ("redirected link", "stat", first / "link"),
        ("redirected", "opendir", first),
    ]
    with_shim = clean(LD_PRELOAD=str(stage / "lib/libpyshm.so"))
    refused = [("outside, refused", operation, outside / "file") for operation in ("stat", "access", "open", "readlink")]
    best = {}
    for _ in range(rounds):
        for name, env in (("bare", clean()), ("shim", with_shim)):
            for some, variables in ((cases, {}), (refused, {"CALLS_REFUSED": "1"})):
                words = [str(word) for _, operation, path in some for word in (operation, path)]
                lines = run([program, "7", "5000", *words], env=env | variables).splitlines()
                for case, line in zip(some, lines):
                    least, _ = map(float, line.split())
                    best.setdefault((case, name), []).append(least)
    cases = refused + cases
    out(f"{'call':34} {'bare ns':>9} {'shim ns':>9} {'shim - bare':>12} {'ratio':>7} {'instructions':>16}")
    for case in cases:
        bare, shim = (min(best[case, name]) for name in ("bare", "shim"))
        counted = [instructions(program, case[1], str(case[2]), env) for env in (clean(), with_shim)]
        shown = "" if None in counted else f"{counted[0]:7.0f} {counted[1]:8.0f}"
        out(f"{case[0] + ': ' + case[1]:34} {bare:9.1f} {shim:9.1f} {shim - bare:+12.1f} {shim / bare:7.2f} {shown:>16}")
    os.chdir(HERE)


def starts(place, stage, rounds, out):
    program = place.compile("starts.c")
    (place.disk / "empty.c").write_text("int pyshm_empty;\n")
    empty = place.compile(place.disk / "empty.c", "-shared", "-fPIC")
    kinds = {"bare": "-", "an empty library": f"LD_PRELOAD={empty}"}
    built = subprocess.run(["cargo", "build", "--release", "--quiet", "--target-dir", TARGET / "redhook"],
                           cwd=HERE / "hooks/redhook")
    if built.returncode == 0:
        kinds["hooks by redhook, passing"] = f"LD_PRELOAD={TARGET}/redhook/release/libredhook_shim.so"
    kinds["libpyshm.so, no stage"] = f"LD_PRELOAD={INSTALL}/lib/libpyshm.so"
    kinds["libpyshm.so, a stage"] = f"LD_PRELOAD={stage}/lib/libpyshm.so"
    lines = run([program, rounds * 400, "/bin/true", *kinds.values()], env=clean()).splitlines()
    times = {name: tuple(map(float, line.split())) for name, line in zip(kinds, lines)}
    out(f"{'/bin/true with':34} {'least us':>9} {'over bare':>10} {'median us':>10} {'over bare':>10}")
    for name, (least, median) in times.items():
        over = (least - times["bare"][0], median - times["bare"][1])
        out(f"{name:34} {least:9.1f} {over[0]:+10.1f} {median:10.1f} {over[1]:+10.1f}")


def python(place, prefix, rounds, out):
    stage = place.stage(prefix)
    copy = place.memory / "copy"
    run(["cp", "-a", prefix, copy])
    interpreter = prefix / "bin/python3"
    bare = ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" "$1" && shift && exec "$@"', copy, prefix]
    timed = 'import time, os; t = time.perf_counter(); ' + IMPORT + '; print(time.perf_counter() - t)'
    walls = {"the copy": [], "staged": []}
    imports = {"the copy": [], "staged": []}
    for turn in range(rounds + 1):
        for name, command in (("the copy", [*bare, interpreter, "-c", timed]),
                              ("staged", [stage / "bin/pyshm-exec", interpreter, "-c", timed])):
            begun = time.perf_counter()
            inside = float(run(command, env=clean()))
            if turn:
                walls[name].append(time.perf_counter() - begun)
                imports[name].append(inside)
    out(f"{'python -c ' + repr(IMPORT):60} {'median s':>9} {'least s':>9}")
    for name in walls:
        out(f"{name + ', the import itself':60} {statistics.median(imports[name]):9.3f} {min(imports[name]):9.3f}")
    pairs = [a / b for a, b in zip(imports["staged"], imports["the copy"])]
    ratio = statistics.median(imports["staged"]) / statistics.median(imports["the copy"])
    out(f"ratio of medians {ratio:.3f}, of the least {min(imports['staged']) / min(imports['the copy']):.3f}; "
        f"pair by pair {min(pairs):.2f} to {max(pairs):.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=60000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--python", type=Path, default=TARGET / "test-env/prefix", metavar="PREFIX")
    parser.add_argument("--archive", metavar="NAME")
    args = parser.parse_args()
    lines = []

    def out(line=""):
        print(line, flush=True)
        lines.append(line)

    out(f"command: python3 bench/hooks.py --entries {args.entries} --rounds {args.rounds}")
    out(f"machine: {os.cpu_count()} processors, Linux {platform.release()}, {time.strftime('%Y-%m-%d')}; "
        + run([INSTALL / "bin/pyshm", "--version"]).strip())
    with Place() as place:
        tree = place.disk / "env"
        first = make_tree(tree, args.entries)
        stage = place.stage(tree)
        out(f"index:   {sum(1 for _ in tree.rglob('*')) + 1} entries, {(stage / 'index').stat().st_size / 1e6:.1f} MB")
        out()
        calls(place, first, stage, args.rounds, out)
        out()
        starts(place, stage, args.rounds, out)
        out()
        if (args.python / "bin/python3").exists() and os.geteuid() == 0:
            python(place, args.python, args.rounds, out)
        else:
            out(f"python: not measured ({args.python} is missing, or this is not root)")
    if args.archive:
        (HERE / "runs").mkdir(exist_ok=True)
        (HERE / "runs" / args.archive).write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    sys.exit(main())
