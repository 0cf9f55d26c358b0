#!/bin/bash
# mpich-bin.sh DIR: prints the directory of MPICH's mpicc and mpiexec in the environment that make-env.sh made in DIR.
# mpicc sets no rpath to the wheel's libraries: when linking, add -Wl,-rpath,$(mpich-bin.sh DIR)/../lib.
set -euo pipefail
bin=$(cd "${1:?usage: mpich-bin.sh DIR}" && pwd -P)/venv/bin
[ -x "$bin/mpicc" ] && [ -x "$bin/mpiexec" ] || { echo "mpich-bin.sh: no MPICH in $1: run make-env.sh $1" >&2; exit 1; }
echo "$bin"
