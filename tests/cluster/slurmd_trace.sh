# Sourced by job tests that count what slurmd and all below it do, after harness.sh: ranks under srun are slurmd's children
# on the nodes, not the launcher's.

# cluster_traced N: cluster_up N, with Slurm, whose slurmds run under strace.
cluster_traced() {
  trace=$(mktemp -d /var/tmp/pyshm-slurmd.XXXXXX)
  cluster_up "$1"
  trap '"$VCLUSTER" down; rm -rf "$VCLUSTER_DIR" "$scratch" "$trace"' EXIT
  VCLUSTER_SLURMD_TRACE=$trace/slurmd "$VCLUSTER" slurm >/dev/null || exit 1
}

# What was done since `mark` is a trace for each node in $work/t after `collect`.
mark() { local node; for node in "$trace"/slurmd.n?; do stat -c %s "$node" >"$trace/mark.${node##*.}"; done; }
collect() {
  local node; mkdir -p "$work/t"
  for node in "$trace"/slurmd.n?; do
    python3 "$tools/trace_since.py" "$node" "$(cat "$trace/mark.${node##*.}")" >"$work/t/${node##*.}" || fail "${node##*/} was not read"
  done
}

# ops FROM DIR…: operations on the DIRs, in the traces in $work/t, by processes from their exec FROM on. That these were seen
# at all is shown by what they did in the stage. With ANY_PROCESSOR=1 without what the loader tries for the processor.
ops() {
  local from=$1 file n total=0 dir under=(${ANY_PROCESSOR:+--any-processor}); shift
  for dir; do under+=(--under "$dir"); done
  for file in "$work"/t/n?; do
    n=$(python3 "$tools/count_ops.py" "$file" --cwd / --from-exec "$from" --ignore-exec '^"/proc/self/exe"' --json "${under[@]}") || { echo "not counted"; return; }
    total=$((total + $(python3 -c 'import json, sys; print(json.load(sys.stdin)["total"])' <<<"$n")))
  done
  echo "$total"
}
# no_ops WHAT FROM DIR…: there are none; which there are is said.
no_ops() {
  local what=$1 from=$2 n file dir under=(); shift
  n=$(ops "$@"); shift
  [ "$n" != 0 ] || return 0
  for dir; do under+=(--under "$dir"); done
  for file in "$work"/t/n?; do
    python3 "$tools/count_ops.py" "$file" --cwd / --from-exec "$from" --ignore-exec '^"/proc/self/exe"' --list 8 "${under[@]}"
  done
  fail "$what: $n"
}
