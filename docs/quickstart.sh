#!/bin/bash
# Runs one MPI job on this machine without pyshm and with it: four ranks with numpy, scipy and mpi4py. strace counts the file
# operations of both runs on the environment. The script can be run again. The files that it leaves behind are in target/.
set -euo pipefail
cd "$(dirname "$0")/.."
say() { printf '\n\033[1m%s\033[0m\n' "$*"; }

say "1. Install the packages that this demonstration needs"
bash tests/env/install-deps.sh

say "2. Make an environment with numpy, scipy, mpi4py and MPICH"
env_dir=$PWD/target/test-env
bash tests/env/make-env.sh "$env_dir"
venv=$env_dir/venv
export PATH="$(bash tests/env/mpich-bin.sh "$env_dir"):$PATH"

say "3. Build pyshm"
bash docs/build.sh
pyshm=$PWD/target/pyshm/bin

work=$(mktemp -d /var/tmp/pyshm-quickstart.XXXXXX)
trap 'rm -rf "$work"' EXIT

say "4. Bundle the environment"
"$pyshm/pyshm" bundle env "$venv" -o "$work/env.tar.zst"

# strace counts the path operations of the ranks on the environment and on its base interpreter. Counting begins with the first
# program that the launcher starts for each rank.
watch=()
for prefix in $("$venv/bin/python" -c 'import sys; print(*{sys.prefix, sys.base_prefix})'); do watch+=(--under "$prefix"); done
job=(mpiexec -n 4 "$venv/bin/python" "$PWD/tests/tools/app.py")

run() { # NAME FIRST-EXEC WORD…: runs the job with WORD… in front, once to time it and once to count
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

say "5. Run the job: 4 ranks, without pyshm and with it"
run plain '^"[^"]*/python[0-9.]*"' env
run pyshm '^"[^"]*/bin/pyshm-exec"' "$pyshm/pyshm-run" --no-fallback -b "$work/env.tar.zst"
python3 tests/tools/compare.py "$work/plain" "$work/pyshm" --size 4
cat <<TEXT

All ranks computed the same and saw the same paths. On the local disk of this machine a start takes equally long either way. On
a supercomputer the operations that pyshm saves would go from all ranks of all nodes to one shared file system.
Next: "$pyshm/pyshm-run --help".
TEXT
