#!/usr/bin/env python3
"""Measures what pyshm adds to the start of a job step, on four virtual nodes of this machine with a real Slurm (needs root).

    python3 bench/launch.py [--rounds N] [--archive NAME]

Measures the seconds of whole commands. The commands take turns, and each runs N times (default 9):
  srun      `srun hostname` on four nodes inside an allocation: bare, with the library preloaded and no bundle
            configured, and with a configured bundle that hostname does not use
  step      `srun true`, a step that only starts pyshm-bcast, and `pyshm-run srun true`, which stages a bundle of 1 MB
  mpiexec   64 processes of a C program with its own library under MPICH's mpiexec: bare, preloaded with no bundle
            configured, and with the prefix of the program staged
Then it runs each command once under strace and counts the programs and the path operations of the launcher and its
descendants. The nodes share the processors of the machine, so trust the ratios and not the seconds. Needs
`bash docs/build.sh` with MPICH and tests/env/make-env.sh. `--archive NAME` keeps the output in bench/runs/NAME.
"""
import argparse
import json
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
TOP = HERE.parent
INSTALL = TOP / "target/pyshm"
VENV = TOP / "target/test-env/venv"
CLUSTER = TOP / "tests/cluster"
TOOLS = TOP / "tests/tools"
RUN = INSTALL / "bin/pyshm-run"
NODES, RANKS = 4, 64


def run(command, **options):
    return subprocess.run([str(word) for word in command], check=True, text=True, stdout=subprocess.PIPE, **options).stdout


def make_bundles(directory):
    """Makes the prefix of a program and a prefix that no command uses, 1 MB each, and the bundle of each."""
    app, other = directory / "app", directory / "other"
    for prefix in (app, other):
        (prefix / "share").mkdir(parents=True)
        (prefix / "share/data").write_bytes(b"4711\n" + os.urandom(1 << 20))
    (app / "bin").mkdir()
    (app / "lib").mkdir()
    source = TOP / "tests/probes/rank.c"
    run(["cc", "-DPART", "-shared", "-fPIC", "-o", app / "lib/libpart.so", source])
    # The program does not use MPI: 64 ranks that poll for messages would keep the processors busy for minutes.
    (directory / "plain.c").write_text("int part(void);\nint main(void) { return part() != 42; }\n")
    run(["cc", "-o", app / "bin/plain", directory / "plain.c", f"-L{app}/lib", "-lpart", f"-Wl,-rpath,{app}/lib"])
    for prefix in (app, other):
        run([INSTALL / "bin/pyshm", "bundle", "env", prefix, "-o", f"{prefix}.tar.zst", "-q"])


def cases(directory, state):
    """Maps each group to its rows of (name, variables, command). The other rows are compared with the first row."""
    preloaded = {"LD_PRELOAD": str(INSTALL / "lib/libpyshm.so")}
    app, other = directory / "app", {**preloaded, "PYSHM_BUNDLES": f"{directory}/other.tar.zst"}
    staged = {**preloaded, "PYSHM_BUNDLES": f"{app}.tar.zst"}
    srun = ["srun", "--mpi=pmi2", f"-N{NODES}", f"-n{NODES}"]
    helper = [INSTALL / "libexec/pyshm-bcast-mpich", "--sweep"]
    mpiexec = [VENV / "bin/mpiexec", "-launcher", "ssh", "-launcher-exec", CLUSTER / "fake-ssh", "-f", state / "hosts.hydra",
               "-n", RANKS, "-ppn", RANKS // NODES, app / "bin/plain"]
    return {
        "srun": [("srun hostname", {}, [*srun, "hostname"]),
                 ("  preloaded, nothing configured", preloaded, [*srun, "hostname"]),
                 ("  preloaded, a bundle that does not apply", other, [*srun, "hostname"])],
        "step": [("srun true", {}, [*srun, "true"]),
                 ("srun pyshm-bcast, which only starts", {}, [*srun, *helper]),
                 ("pyshm-run srun true, a bundle of 1 MB", {"PYTHONPATH": str(app)},
                  [RUN, "--no-fallback", "--no-summary", "-b", f"{app}.tar.zst", *srun, "true"])],
        "mpiexec": [("mpiexec -n 64 of a C program", {}, mpiexec),
                    ("  preloaded, nothing configured", preloaded, mpiexec),
                    ("  preloaded and staged", staged, mpiexec)],
    }


def call(variables, command):
    """Runs a command and returns its seconds; exits if the command fails or pyshm prints a message."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith("PYSHM_") and k != "LD_PRELOAD"} | variables
    begun = time.perf_counter()
    done = subprocess.run([str(word) for word in command], env=environ, text=True, stdin=subprocess.DEVNULL, capture_output=True, timeout=120)
    seconds = time.perf_counter() - begun
    if done.returncode or "pyshm" in done.stderr:
        sys.exit(f"{command}: exit status {done.returncode}: {done.stderr}")
    return seconds


def counts(directory, variables, command):
    """Runs `command` under strace. Returns how many programs it started, and how many path operations all processes made."""
    trace = directory / "trace"
    trace.unlink(missing_ok=True)
    # `env` sets the variables for the command only: strace must not load the library.
    call({}, [TOOLS / "trace.sh", trace, "env", *(f"{k}={v}" for k, v in variables.items()), *command])
    text = run([sys.executable, TOOLS / "count_ops.py", trace, "--under", "/", "--no-resolve", "--json"])
    calls = json.loads(text)["calls"]
    return calls.pop("execve", 1) - 2, sum(calls.values())


def measure(directory, state, group, rounds):
    """Measures `group` inside the cluster and prints its rows as JSON."""
    rows = cases(directory, state)[group]
    seconds = [[] for _ in rows]
    for turn in range(rounds + 1):
        for number, (_, variables, command) in enumerate(rows):
            taken = call(variables, command)
            if turn:            # the first round warms caches
                seconds[number].append(taken)
    print(json.dumps([(name, taken, counts(directory, variables, command))
                      for (name, variables, command), taken in zip(rows, seconds)]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--archive", metavar="NAME")
    parser.add_argument("--measure", nargs=3, metavar=("DIR", "STATE", "GROUP"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        measure(Path(args.measure[0]), Path(args.measure[1]), args.measure[2], args.rounds)
        return
    lines = []

    def out(line=""):
        print(line, flush=True)
        lines.append(line)

    out(f"command: python3 bench/launch.py --rounds {args.rounds}")
    out(f"machine: {os.cpu_count()} processors for {NODES} virtual nodes, Linux {platform.release()}, {time.strftime('%Y-%m-%d')}; "
        + run([INSTALL / "bin/pyshm", "--version"]).strip())
    directory = Path(tempfile.mkdtemp(prefix="pyshm-bench-", dir="/var/tmp"))
    directory.chmod(0o755)
    environ = os.environ | {"VCLUSTER_DIR": str(directory / "cluster")}
    vcluster = CLUSTER / "vcluster"
    try:
        make_bundles(directory)
        (directory / "cluster").mkdir()
        run([vcluster, "up", NODES], env=environ)
        run([vcluster, "slurm"], env=environ)
        state = directory / "cluster/state"
        for group in cases(directory, state):
            allocation = [] if group == "mpiexec" else ["salloc", "-Q", f"-N{NODES}", f"-n{NODES}", "--ntasks-per-node=1"]
            inner = [sys.executable, __file__, "--rounds", args.rounds, "--measure", directory, state, group]
            rows = json.loads(run([vcluster, "exec", "n0", *allocation, *inner], env=environ, stdin=subprocess.DEVNULL))
            out()
            out(f"{'seconds of':44} {'median':>8} {'least':>8} {'ratio':>7} {'more':>8}  {'programs':>8} {'operations':>10}")
            bare = statistics.median(rows[0][1])
            for name, taken, (programs, operations) in rows:
                middle = statistics.median(taken)
                out(f"{name:44} {middle:8.3f} {min(taken):8.3f} {middle / bare:7.2f} {middle - bare:+8.3f}  {programs:8} {operations:10}")
    finally:
        subprocess.run([vcluster, "down"], env=environ, check=False)
        shutil.rmtree(directory)
    if args.archive:
        (HERE / "runs").mkdir(exist_ok=True)
        (HERE / "runs" / args.archive).write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    sys.exit(main())
