#!/bin/bash
# The main job on this machine, plain and with pyshm: four MPI ranks with numpy, scipy and mpi4py, and the file
# operations of both runs on the environment, counted by strace. Can be run again; everything it makes is below target/.
set -euo pipefail
cd "$(dirname "$0")/.."
say() { printf '\n\033[1m%s\033[0m\n' "$*"; }

say "1. What it needs"
bash tests/env/install-deps.sh

say "2. An environment with numpy, scipy, mpi4py and MPICH"
env_dir=$PWD/target/test-env
bash tests/env/make-env.sh "$env_dir"
venv=$env_dir/venv
export PATH="$(bash tests/env/mpich-bin.sh "$env_dir"):$PATH"

say "3. Build"
bash docs/build.sh
pyshm=$PWD/target/pyshm/bin

work=$(mktemp -d /var/tmp/pyshm-quickstart.XXXXXX)
trap 'rm -rf "$work"' EXIT

say "4. Bundle the environment"
"$pyshm/pyshm" bundle env "$venv" -o "$work/env.tar.zst"

# What counts: path operations on the environment and on the interpreter it is built on, by the ranks alone, from the
# first program that the launcher starts for each.
watch=()
for prefix in $("$venv/bin/python" -c 'import sys; print(*{sys.prefix, sys.base_prefix})'); do watch+=(--under "$prefix"); done
job=(mpiexec -n 4 "$venv/bin/python" "$PWD/tests/tools/app.py")

run() { # NAME FIRST-EXEC WORD…: runs the job with WORD… in front, once timed and once counted
  local name=$1 first=$2 begun seconds; shift 2
  mkdir "$work/$name"
  begun=${EPOCHREALTIME/./}
  "$@" "${job[@]}" "$work/$name" >/dev/null
  seconds=$(((${EPOCHREALTIME/./} - begun) / 10000))
  tests/tools/trace.sh "$work/trace" "$@" "${job[@]}" "$work/$name" >/dev/null
  printf '%-7s %2d.%02d s   %6d operations on the environment\n' "$name" $((seconds / 100)) $((seconds % 100)) \
    "$(python3 tests/tools/count_ops.py "$work/trace" "${watch[@]}" --from-exec "$first" --json |
      python3 -c 'import json, sys; print(json.load(sys.stdin)["total"])')"
}

say "5. The job: 4 ranks, plain and with pyshm (strace counts)"
run plain '^"[^"]*/python[0-9.]*"' env
run pyshm '^"[^"]*/bin/pyshm-exec"' "$pyshm/pyshm-run" --no-fallback -b "$work/env.tar.zst"
python3 tests/tools/compare.py "$work/plain" "$work/pyshm" --size 4
cat <<TEXT

All ranks computed the same and saw the same paths. On this machine's own disk a start costs the same either way; what
pyshm takes away are the operations, which on a supercomputer all ranks of all nodes would ask of one file system.
Next: "$pyshm/pyshm-run --help".
TEXT
