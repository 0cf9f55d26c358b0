#!/bin/bash
# Tests Ctrl-C and SIGTERM during the broadcast, during unpacking and during the application. One job has a launcher and two
# nodes, another has no launcher and one node. On an idle machine all processes end within 5 s, and nothing is left in
# /dev/shm on any node. Another test ends a job in which one node is slow.
. "$(dirname "$0")/harness.sh"
cluster_up 2

# The prefix is large and its data does not compress, so that each phase takes seconds. PYTHONPATH names the prefix, so
# that pyshm stages it.
mkdir "$scratch/prefix"; head -c 1500000000 /dev/urandom >"$scratch/prefix/data"
"$pyshm" bundle env "$scratch/prefix" -o "$scratch/big.tar.zst" -q || exit 1
bundle=$(bundle_of venv "$venv") || exit 1

cat >"$scratch/sleep.py" <<'PY'
import sys, time
open(sys.argv[1], "w").close()
time.sleep(60)
PY

# clean_everywhere: waits up to 5 s until /dev/shm of all nodes is clean. The wait is needed because the command on the
# terminal may end before its descendant pyshm-run.
clean_everywhere() {
  local i left
  for i in 0 1 2; do
    for _ in $(seq "$(tenths 5)"); do
      left=$(VCLUSTER_WD=/ "$VCLUSTER" exec "n$i" find /dev/shm -mindepth 1 -path '*pyshm*' 2>/dev/null | head -3); [ -z "$left" ] && break; sleep 0.1
    done
    [ -z "$left" ] || fail "n$i has $left"
  done
  for _ in $(seq "$(tenths 5)"); do left=$(pgrep -fa 'pyshm-bcast-' | grep -F "$scratch" | cut -c1-200 | head -3); [ -z "$left" ] && break; sleep 0.1; done
  [ -z "$left" ] || fail "still running: $left"
}


on_two_nodes() { # SIGNAL PHASE
  local when node; node=/proc/$(host_pid n2)/root/dev/shm
  case $2 in
    broadcast) when="ls -d $node/pyshm-0/.new-* >/dev/null 2>&1" ;;
    unpacking) when="[ \$(du -sm $node/pyshm-0 2>/dev/null | cut -f1) -gt 600 ] 2>/dev/null" ;;
    application) when="[ -e $work/ready ]" ;;
  esac
  launch_words hydra root 2 2
  python3 "$tools/interrupt.py" "$1" --when "$when" -- "${LOGIN[@]}" env PYTHONPATH="$scratch/prefix" \
    "$pyshm_run" -b "$bundle" -b "$scratch/big.tar.zst" "${LAUNCH[@]}" "$PYTHON" "$scratch/sleep.py" "$work/ready" || fail "see above"
  [ "$2" = application ] || [ ! -e "$work/ready" ] || fail "the application was started"
  clean_everywhere
}
# host_pid NODE: prints the number, outside the cluster, of the process that holds a node's namespaces.
host_pid() {
  local p
  for p in $(pgrep -f 'sleep infinity'); do
    [ "$(nsenter -t "$p" -u hostname 2>/dev/null)" = "$1" ] && grep -qs "${VCLUSTER_DIR##*/}" "/proc/$p/mountinfo" && { echo "$p"; return; }
  done
}
test_ctrl_c_during_the_broadcast_leaves_nothing() { on_two_nodes --ctrl-c broadcast; }
test_ctrl_c_during_unpacking_leaves_nothing() { on_two_nodes --ctrl-c unpacking; }
test_ctrl_c_during_the_application_leaves_nothing() { on_two_nodes --ctrl-c application; }
test_sigterm_during_the_broadcast_leaves_nothing() { on_two_nodes --term broadcast; }
test_sigterm_during_unpacking_leaves_nothing() { on_two_nodes --term unpacking; }
test_sigterm_during_the_application_leaves_nothing() { on_two_nodes --term application; }

on_one_node() { # SIGNAL PHASE
  local when
  case $2 in
    unpacking) when="[ \$(du -sm /dev/shm/pyshm-0 2>/dev/null | cut -f1) -gt 600 ] 2>/dev/null" ;;
    application) when="[ -e $work/ready ]" ;;
  esac
  PYTHONPATH=$scratch/prefix python3 "$tools/interrupt.py" "$1" --when "$when" -- \
    "$pyshm_run" -b "$bundle" -b "$scratch/big.tar.zst" "$venv/bin/python" "$scratch/sleep.py" "$work/ready" || fail "see above"
  [ ! -e /dev/shm/pyshm-0 ] || fail "left: $(find /dev/shm/pyshm-0 -maxdepth 2)"
}
test_ctrl_c_during_unpacking_on_one_node_leaves_nothing() { on_one_node --ctrl-c unpacking; }
test_ctrl_c_during_the_application_on_one_node_leaves_nothing() { on_one_node --ctrl-c application; }
test_sigterm_during_unpacking_on_one_node_leaves_nothing() { on_one_node --term unpacking; }
test_sigterm_during_the_application_on_one_node_leaves_nothing() { on_one_node --term application; }

# A busy node may take longer than the others to remove a stage. For this the test stops one node's helper for eight
# seconds.
test_a_node_that_removes_its_stage_late_is_waited_for() {
  local on_n2=(env VCLUSTER_WD=/ "$VCLUSTER" exec n2) job i
  # A node sees the processes of all nodes, so choose the helper that is in the same UTS namespace.
  to_helper() { "${on_n2[@]}" bash -c 'for p in $(pgrep -x pyshm-bcast-mpi); do [ "$(readlink "/proc/$p/ns/uts")" != "$(readlink /proc/self/ns/uts)" ] || { kill "$0" "$p"; echo "$p"; }; done' "$1"; }
  launch_words hydra root 2 2
  "${LOGIN[@]}" "$pyshm_run" --no-fallback --summary -b "$bundle" "${LAUNCH[@]}" "$PYTHON" -c 'import os, sys, time
open(sys.argv[1] + "/ready", "w").close()
while not os.path.exists(sys.argv[1] + "/stop"): time.sleep(0.05)' "$work" </dev/null 2>"$work/said" & job=$!
  for i in $(seq 12000); do [ -e "$work/ready" ] && break; sleep 0.05; done
  equal "helpers of n2 that are stopped" 1 "$(to_helper -STOP | wc -l)"
  touch "$work/stop"; (sleep 8; to_helper -CONT >/dev/null) &
  wait $job; equal "exit status" 0 $?
  # The counts show that the step was not killed.
  contains "the summary" "$(cat "$work/said")" "answered"
  for i in 0 1 2; do equal "files left on n$i" "" "$(VCLUSTER_WD=/ "$VCLUSTER" exec "n$i" find /dev/shm -mindepth 1 -path '*pyshm*' | head -3)"; done
  wait
}

run_tests
