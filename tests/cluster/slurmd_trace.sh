# Counts the operations of slurmd and its descendants on each node; sourced after harness.sh by job tests with srun,
# whose ranks are children of slurmd, not of the launcher.

# cluster_traced N: cluster_up N, with a Slurm whose slurmds run under strace.
cluster_traced() {
  trace=$(mktemp -d /var/tmp/pyshm-slurmd.XXXXXX)
  cluster_up "$1"
  trap '"$VCLUSTER" down; rm -rf "$VCLUSTER_DIR" "$scratch" "$trace"' EXIT
  VCLUSTER_SLURMD_TRACE=$trace/slurmd "$VCLUSTER" slurm >/dev/null || exit 1
}

# `mark` remembers the lengths of the traces; `collect` writes the lines since then to $work/t, one file for each node.
mark() { local node; for node in "$trace"/slurmd.n?; do stat -c %s "$node" >"$trace/mark.${node##*.}"; done; }
collect() {
  local node; mkdir -p "$work/t"
  for node in "$trace"/slurmd.n?; do
    python3 "$tools/trace_since.py" "$node" "$(cat "$trace/mark.${node##*.}")" >"$work/t/${node##*.}" || fail "${node##*/} was not read"
  done
}

# ops FROM DIR…: prints the number of operations on the DIRs in the traces in $work/t, by each process from its exec
# FROM on. With ANY_PROCESSOR=1 the loader's tries in subdirectories for the processor do not count. A caller must check
# that the traces show the ranks: for example, that the ranks make operations in the stage.
ops() {
  local from=$1 file n total=0 dir under=(${ANY_PROCESSOR:+--any-processor}); shift
  for dir; do under+=(--under "$dir"); done
  for file in "$work"/t/n?; do
    n=$(python3 "$tools/count_ops.py" "$file" --cwd / --from-exec "$from" --ignore-exec '^"/proc/self/exe"' --json "${under[@]}") || { echo "not counted"; return; }
    total=$((total + $(python3 -c 'import json, sys; print(json.load(sys.stdin)["total"])' <<<"$n")))
  done
  echo "$total"
}
# no_ops WHAT FROM DIR…: fails if there are operations that `ops FROM DIR…` counts, and prints the first of them.
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
