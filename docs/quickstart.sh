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

# The prefixes to watch: the environment and the interpreter it is built on.
prefixes=$("$venv/bin/python" -c 'import sys; print(*{sys.prefix, sys.base_prefix})')
watch=()
for prefix in $prefixes; do watch+=(--under "$prefix"); done

run() { # NAME COMMAND…: runs the job under strace, prints its time and its operations on the prefixes
  local name=$1 begun ended; shift
  mkdir "$work/$name"
  begun=$(date +%s.%N)
  "$@" >/dev/null
  ended=$(date +%s.%N)
  rm -rf "${work:?}/$name"; mkdir "$work/$name"
  bash tests/tools/trace.sh "$work/$name.trace" "$@" >/dev/null
  printf '%-10s %6.2f s, %7d operations on the environment by the ranks\n' "$name" "$(echo "$ended - $begun" | bc)" \
    "$(python3 tests/tools/count_ops.py "$work/$name.trace" "${watch[@]}" "${from[@]}" --total)"
}

say "5. The job: 4 ranks"
run plain mpiexec -n 4 "$venv/bin/python" tests/tools/app.py "$work/plain"
run pyshm "$pyshm/pyshm-run" -b "$work/env.tar.zst" mpiexec -n 4 "$venv/bin/python" tests/tools/app.py "$work/pyshm"
python3 tests/tools/compare.py "$work/plain" "$work/pyshm" && echo "The results of all ranks are equal."
