#!/bin/bash
# bench/cluster.sh [--prefix DIR] [--runs N] [--archive NAME]: measures staging on four virtual nodes of this machine (needs
# root) with MPICH's mpiexec:
#   timeline   when each node read, broadcast, decoded and wrote the bundle of DIR (default: target/test-env/prefix,
#              which `bash tests/env/make-env.sh target/test-env --large` makes)
#   reuse      the time of a job that finds the kept stage, and of `mpiexec -n 4 true` without pyshm; the two commands
#              take turns, and each runs N times (default 15)
# The nodes share the processors of the machine, so the seconds say nothing about a real cluster. The timeline shows
# which phases overlap. `--archive NAME` keeps the output in bench/runs/NAME.
. "$(dirname "$0")/../tests/jobs/harness.sh"
words=$* prefix=$env_dir/prefix runs=15 archive=
while [ $# -gt 0 ]; do
  case $1 in
    --prefix) prefix=$2; shift 2 ;;
    --runs) runs=$2; shift 2 ;;
    --archive) archive=$2; words=${words/ --archive $2/}; shift 2 ;;
    *) sed -n '2,9p' "$0" >&2; exit 2 ;;
  esac
done
bundle=$(bundle_of "$(basename "$prefix")" "$prefix") || exit 1
cluster_up 4
launch_words hydra root 4 4
on_n0() { "${LOGIN[@]}" env CONDA_PREFIX="$prefix" "$@"; }
seconds() { local begun=$EPOCHREALTIME; "$@" >/dev/null || exit 1; awk -v a="$begun" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.3f\n", b - a }'; }
middle() { sort -n | awk '{ v[NR] = $1 } END { printf "least %.3f median %.3f\n", v[1], v[int((NR + 1) / 2)] }'; }
both() { on_n0 "$pyshm_run" --no-fallback --no-summary --keep -b "$bundle" "${LAUNCH[@]}" true; }

measure() {
  echo "command: bash bench/cluster.sh${words:+ $words}"
  echo "machine: $(nproc) processors for four virtual nodes, Linux $(uname -r), $(date +%F); $("$pyshm" --version)"
  echo "bundle:  $(stat -c %s "$bundle") bytes of $(basename "$prefix")"
  echo
  echo "timeline: a first step"
  on_n0 "$pyshm_run" --no-fallback --keep --summary --timeline -b "$bundle" "${LAUNCH[@]}" true 2>&1 || exit 1
  echo
  echo "reuse: seconds of a whole step of 4 ranks on 4 nodes that run 'true'"
  local i
  for i in $(seq "$runs"); do
    seconds on_n0 "${LAUNCH[@]}" true >&3
    seconds both >&4
  done 3>"$scratch/bare" 4>"$scratch/kept"
  echo "mpiexec                        $(middle <"$scratch/bare")"
  echo "pyshm-run mpiexec, stage kept  $(middle <"$scratch/kept")"
  on_n0 bash "$tools/trace.sh" "$scratch/trace" "$pyshm_run" --no-fallback --keep -b "$bundle" "${LAUNCH[@]}" true || exit 1
  echo "times the bundle was opened in a kept step: $(grep -cE "open(at)?\(.*\"$bundle\"" "$scratch/trace")"
}
measure | tee "$scratch/out"
[ "${PIPESTATUS[0]}" = 0 ] || exit 1
[ -z "$archive" ] || { mkdir -p "$top/bench/runs"; cp "$scratch/out" "$top/bench/runs/$archive"; }
