#!/bin/bash
# Tests jobs on four virtual nodes in which a leader is killed or one of the leader's system calls fails. The results of
# all ranks must be right, and after `pyshm gc` nothing may be left of any stage. Kills come in each phase of staging.
# KILLS sets their number (default 20).
#
# PYSHM_TEST_PAUSE makes the helper stop in a phase (src/instrument/test_pause.rs), so that each kill comes in the
# intended phase. The node and the moment in the phase are random. SEED=NUMBER, as a failure prints it, repeats a run.
. "$(dirname "$0")/harness.sh"
cluster_up 4
KILLS=${KILLS:-20}; SEED=${SEED:-$RANDOM}; RANDOM=$SEED
launch_words hydra root 4 4

mkdir -p "$scratch/site/pkg"; echo 'name = "pkg"' >"$scratch/site/pkg/__init__.py"
for i in $(seq 400); do echo "value = $i" >"$scratch/site/pkg/m$i.py"; done
for i in $(seq 8); do head -c 5000000 /dev/urandom >"$scratch/site/pkg/data$i"; done
"$pyshm" bundle env "$scratch/site" -o "$scratch/b.tar.zst" -q || exit 1
cat >"$scratch/rank.py" <<'PY'
import hashlib, os, sys
import pkg.m7
top = os.path.dirname(pkg.__file__)
digest = hashlib.sha256()
for name in sorted(n for n in os.listdir(top) if n != "__pycache__"):
    digest.update(name.encode() + open(os.path.join(top, name), "rb").read())
with open(f"{sys.argv[1]}/{os.environ['PMI_RANK']}", "w") as file:
    print(digest.hexdigest(), pkg.m7.value, pkg.__file__, file=file)
PY
job() { "${LOGIN[@]}" timeout 600 env PYTHONPATH="$scratch/site" "$@" "${LAUNCH[@]}" "$PYTHON" -S -B "$scratch/rank.py" "$work/out" </dev/null; }
mkdir "$scratch/bare"; work=$scratch; mv "$scratch/bare" "$scratch/out"; job env || exit 1; mv "$scratch/out" "$scratch/bare"

right() { equal "ranks" 4 "$(ls "$work/out" | wc -l)"; check "the results of $1 are those of the bare run" diff -r "$scratch/bare" "$work/out"; }
swept() {
  local i left
  for i in 1 2 3 4; do
    VCLUSTER_WD=/ "$VCLUSTER" exec "n$i" "$pyshm" gc >/dev/null || fail "gc on n$i"
    left=$(VCLUSTER_WD=/ "$VCLUSTER" exec "n$i" find /dev/shm -mindepth 1 | head -3); [ -z "$left" ] || fail "after $1: n$i has $left"
  done
}

test_results_are_right_after_a_leader_is_killed_in_any_phase() {
  local phases=(read broadcast decode write publish) run phase count node pid job landed=() begun=$SECONDS
  for run in $(seq "$KILLS"); do
    phase=${phases[run % 5]}; node=n$((RANDOM % 4 + 1)); count=$((RANDOM % 8 + 1))
    case $phase in
      read) node=n1 ;;                       # only rank 0, which runs on n1, reads the bundle
      broadcast) count=$((count % 5 + 1)) ;; # two chunks are broadcast together, so there are only half as many moments
      publish) count=$((count % 2 + 1)) ;;
    esac
    rm -rf "$work/out" "$work/paused"; mkdir "$work/out"
    job PYSHM_TEST_PAUSE="$phase:$count:$node:$work/paused" "$pyshm_run" -b "$scratch/b.tar.zst" >"$work/said" 2>&1 & job=$!
    for _ in $(seq 12000); do [ -s "$work/paused" ] && break; kill -0 $job 2>/dev/null || break; sleep 0.05; done
    [ -s "$work/paused" ] || fail "run $run (SEED=$SEED): the helper on $node ended before it came to phase $phase for the time $count: $(cat "$work/said")"
    pid=$(cat "$work/paused")
    VCLUSTER_WD=/ "$VCLUSTER" exec "$node" kill -KILL "$pid" || fail "failed to kill the helper on $node, process $pid"
    landed[run % 5]=$((${landed[run % 5]:-0} + 1))
    wait $job; equal "run $run (SEED=$SEED, $phase $count on $node): exit status" 0 $?
    contains "run $run" "$(cat "$work/said")" "running from the shared file system"
    right "run $run ($phase $count on $node)"
    swept "run $run ($phase $count on $node)"
  done
  note "$KILLS kills in $((SECONDS - begun)) s (SEED=$SEED); kills in each phase: $(for i in 0 1 2 3 4; do echo -n "${phases[i]} ${landed[i]:-0} "; done)"
}

test_a_job_runs_without_a_leader_that_hangs() {
  local phase
  for phase in broadcast write publish; do
    rm -rf "$work/out" "$work/paused"; mkdir "$work/out"
    job PYSHM_WAIT=12 PYSHM_TEST_PAUSE="$phase:1:n3:$work/paused" "$pyshm_run" -b "$scratch/b.tar.zst" >"$work/said" 2>&1; equal "exit status with $phase" 0 $?
    [ -s "$work/paused" ] || fail "the helper on n3 ended before it came to phase $phase"
    contains "the warning" "$(cat "$work/said")" "s; raise PYSHM_WAIT"
    right "a hang in $phase"; swept "a hang in $phase"
  done
}

# failing NODE EXPECTED INJECTION…: runs the job. On NODE the helper runs under strace, whose options INJECTION make some
# of the helper's system calls fail. Checks that the warning contains EXPECTED, and checks the results.
failing() {
  local node=$1 expected=$2; shift 2
  cat >"$work/helper" <<SH
#!/bin/bash
[ "\$(hostname)" = $node ] || exec "$top/target/pyshm/libexec/pyshm-bcast-mpich" "\$@"
exec strace -f -o "$work/injected" $(printf '%q ' "$@") "$top/target/pyshm/libexec/pyshm-bcast-mpich" "\$@"
SH
  chmod +x "$work/helper"; rm -rf "$work/out" "$work/injected"; mkdir "$work/out"
  job PYSHM_BCAST="$work/helper" "$pyshm_run" -b "$scratch/b.tar.zst" >"$work/said" 2>&1; equal "exit status with $*" 0 $?
  grep -q INJECTED "$work/injected" || fail "$*: no system call failed"
  equal "lines of warning with $*" 1 "$(grep -c 'pyshm-run: warning' "$work/said")"
  contains "the warning with $*" "$(cat "$work/said")" "$expected"
  right "$*"; swept "$*"
}
test_results_are_right_after_errors_while_a_node_writes() {
  local error text
  for error in "ENOSPC:No space left on device" "EDQUOT:Disk quota exceeded" "EIO:Input/output error"; do
    text=${error#*:} error=${error%%:*}
    failing n2 "1 of 4 nodes run from the shared file system (n2: failed to write" -e trace=pwrite64 -e inject=pwrite64:error=$error:when=$((RANDOM % 300 + 1))
    contains "the cause" "$(cat "$work/said")" "$text"
  done
  failing n3 "n3: failed to write" -e trace=mkdir -e inject=mkdir:error=ENOSPC:when=2+
  failing n3 "1 of 4 nodes run from the shared file system (n3: failed to write" -e trace=renameat2 -e inject=renameat2:error=EIO:when=1
  failing n4 "1 of 4 nodes run from the shared file system (n4: failed to write" -e trace=utimensat -e inject=utimensat:error=EIO:when=$((RANDOM % 300 + 1))
}
test_results_are_right_after_errors_while_rank_0_reads() {
  failing n1 "failed to read bundle $scratch/b.tar.zst: Input/output error" -e trace=read -P "$scratch/b.tar.zst" -e inject=read:error=EIO:when=$((RANDOM % 5 + 3))
  failing n1 "failed to read bundle $scratch/b.tar.zst: Input/output error" -e trace=read -P "$scratch/b.tar.zst" -e inject=read:error=EIO:when=1
  failing n1 "it became shorter while it was read" -e trace=read -P "$scratch/b.tar.zst" -e inject=read:retval=0:when=$((RANDOM % 4 + 5))+
  failing n1 "failed to use bundle $scratch/b.tar.zst" -e trace=read -P "$scratch/b.tar.zst" -e inject=read:retval=0:when=1+
  failing n1 "failed to read bundle" -e trace=openat -P "$scratch/b.tar.zst" -e inject=openat:error=EIO
}

run_tests
