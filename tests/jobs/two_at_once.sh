#!/bin/bash
# Tests jobs that stage at the same time on the same nodes: jobs of one user with the same bundle and with different
# bundles, and jobs of two users. All results are right, an unfinished stage never has its final name, and nothing is left.
. "$(dirname "$0")/harness.sh"
cluster_up 2

# Two packages have so many files that staging takes a while.
for p in one two; do
  mkdir -p "$scratch/$p/pkg_$p"; echo "name = '$p'" >"$scratch/$p/pkg_$p/__init__.py"
  (cd "$scratch/$p/pkg_$p" && for i in $(seq 1500); do echo "value = $i" >"m$i.py"; done)
  head -c 20000000 /dev/urandom >"$scratch/$p/pkg_$p/data"
  "$pyshm" bundle env "$scratch/$p" -o "$scratch/$p.tar.zst" -q || exit 1
done
chmod -R a+rX "$scratch"
cat >"$scratch/look.py" <<'PY'
import hashlib, importlib, os, sys
name = sys.argv[1]
package = importlib.import_module("pkg_" + name)
top = os.path.dirname(package.__file__)
digest = hashlib.sha256()
for entry in sorted(os.listdir(top)):
    digest.update(entry.encode() + (open(os.path.join(top, entry), "rb").read() if not os.path.isdir(os.path.join(top, entry)) else b""))
os.write(1, f"{name} {digest.hexdigest()}\n".encode())      # one write, because several ranks write to the same file
PY
run() { local p=$1; shift; PYTHONPATH=$scratch/$p "$@" "$venv/bin/python" -B "$scratch/look.py" "$p"; }
staged() { local p=$1; shift; run "$p" "$pyshm_run" --no-fallback "$@" -b "$scratch/$p.tar.zst"; }
bare_one=$(run one env); bare_two=$(run two env)

# watch_stages: until $work/stop exists, prints each file that is missing in a stage which already has its final name.
watch_stages() {
  local dir part
  while [ -d "$work" ] && [ ! -e "$work/stop" ]; do
    for dir in "$1"/????????????????; do
      [ -d "$dir" ] || continue
      for part in index state lease stage.json env lib/libpyshm.so bin/pyshm-exec fs; do
        [ -e "$dir/$part" ] || echo "$dir has no $part"
      done
      echo seen >>"$work/seen"
    done
  done >"$work/half" 2>&1
}

test_six_jobs_stage_the_same_bundle() {
  local round i pids watcher
  for round in 1 2 3; do
    rm -f "$work/stop"; watch_stages /dev/shm/pyshm-0 & watcher=$!
    pids=(); for i in 1 2 3 4 5 6; do staged one --keep >"$work/out.$i" 2>&1 & pids+=($!); done
    for i in "${pids[@]}"; do wait "$i" || fail "a job failed: $(cat "$work"/out.*)"; done
    touch "$work/stop"; wait "$watcher"
    for i in 1 2 3 4 5 6; do equal "result of job $i" "$bare_one" "$(cat "$work/out.$i")"; done
    equal "unfinished stages" "" "$(cat "$work/half")"
    equal "stages" 1 "$(find /dev/shm/pyshm-0 -mindepth 1 -maxdepth 1 | wc -l)"
    "$pyshm" unstage --all || fail "unstage"
    [ ! -e /dev/shm/pyshm-0 ] || fail "left: $(find /dev/shm -maxdepth 2)"
  done
  [ -s "$work/seen" ] || fail "the watcher saw no stage"
}
test_jobs_stage_a_bundle_while_others_purge_it() {
  local round i pids
  for round in 1 2 3 4; do
    pids=(); for i in 1 2 3 4; do (sleep "0.$((i * round % 9))"; staged one) >"$work/out.$i" 2>&1 & pids+=($!); done
    for i in "${pids[@]}"; do wait "$i" || fail "a job failed: $(cat "$work"/out.*)"; done
    for i in 1 2 3 4; do equal "result of job $i" "$bare_one" "$(cat "$work/out.$i")"; done
    [ ! -e /dev/shm/pyshm-0 ] || fail "left: $(find /dev/shm -maxdepth 2)"
  done
}
test_jobs_stage_different_bundles() {
  local i pids=() watcher
  watch_stages /dev/shm/pyshm-0 & watcher=$!
  for i in 1 3; do staged one --keep >"$work/out.$i" 2>&1 & pids+=($!); done
  for i in 2 4; do staged two --keep >"$work/out.$i" 2>&1 & pids+=($!); done
  for i in "${pids[@]}"; do wait "$i" || fail "a job failed: $(cat "$work"/out.*)"; done
  touch "$work/stop"; wait "$watcher"
  for i in 1 3; do equal "result of job $i" "$bare_one" "$(cat "$work/out.$i")"; done
  for i in 2 4; do equal "result of job $i" "$bare_two" "$(cat "$work/out.$i")"; done
  equal "unfinished stages" "" "$(cat "$work/half")"
  equal "stages" 2 "$(find /dev/shm/pyshm-0 -mindepth 1 -maxdepth 1 | wc -l)"
  "$pyshm" unstage --all || fail "unstage"
}
test_two_users_stage_the_same_bundle() {
  local uid i pids=()
  for i in 1 2; do for uid in 12345 12346; do
    PYTHONPATH=$scratch/one setpriv --reuid $uid --regid $uid --clear-groups "$pyshm_run" --no-fallback --keep -b "$scratch/one.tar.zst" "$venv/bin/python" -B "$scratch/look.py" one >"$work/out.$uid.$i" 2>&1 & pids+=($!)
  done; done
  for i in "${pids[@]}"; do wait "$i" || fail "a job failed: $(cat "$work"/out.*)"; done
  for i in "$work"/out.*; do equal "$i" "$bare_one" "$(cat "$i")"; done
  for uid in 12345 12346; do equal "owner and mode" "$uid 700" "$(stat -c '%u %a' /dev/shm/pyshm-$uid)"; done
  setpriv --reuid 12346 --regid 12346 --clear-groups ls /dev/shm/pyshm-12345 2>/dev/null && fail "another user looks into the stage"
  for uid in 12345 12346; do
    setpriv --reuid $uid --regid $uid --clear-groups "$pyshm" unstage --all || fail "unstage"
    [ ! -e /dev/shm/pyshm-$uid ] || fail "left: $(find /dev/shm -maxdepth 2)"
  done
}
test_jobs_stage_on_the_same_nodes() {
  launch_words hydra root 4 2
  local i j pids=() p
  for i in 1 2 3; do p=one; [ $i != 3 ] || p=two
    "${LOGIN[@]}" timeout 600 env PYTHONPATH="$scratch/$p" "$pyshm_run" --no-fallback -b "$scratch/$p.tar.zst" "${LAUNCH[@]}" "$PYTHON" -B "$scratch/look.py" $p </dev/null >"$work/out.$i" 2>"$work/said.$i" & pids+=($!)
  done
  for i in "${pids[@]}"; do wait "$i" || fail "a job failed: $(cat "$work"/said.*)"; done
  for i in 1 2; do equal "results of job $i" "$(for j in 1 2 3 4; do echo "$bare_one"; done)" "$(cat "$work/out.$i")"; done
  equal "results of job 3" "$(for j in 1 2 3 4; do echo "$bare_two"; done)" "$(cat "$work/out.3")"
  for i in n1 n2; do equal "left on $i" "" "$(VCLUSTER_WD=/ "$VCLUSTER" exec $i find /dev/shm -mindepth 1)"; done
}
test_a_stage_in_use_is_never_removed_and_one_whose_users_were_killed_is() {
  printf 'import sys, time\nopen(sys.argv[1], "w").close()\ntime.sleep(100)\n' >"$work/sleep.py"
  PYTHONPATH=$scratch/one setsid "$pyshm_run" --no-fallback -b "$scratch/one.tar.zst" "$venv/bin/python" "$work/sleep.py" "$work/ready" & local pid=$!
  for _ in $(seq 6000); do [ -e "$work/ready" ] && break; sleep 0.1; done
  equal "stages that gc removes" "" "$("$pyshm" gc)"
  "$pyshm" unstage --all 2>"$work/said"; equal "exit status of unstage" 75 $?; contains "the output" "$(cat "$work/said")" "is in use"
  contains "status" "$("$pyshm" status)" "in use"
  local kept; kept=$("$pyshm" stage -b "$scratch/two.tar.zst") || fail "stage"
  "$pyshm" unstage --unused || fail "unstage --unused"; [ ! -e "$kept" ] || fail "unstage --unused left $kept"
  staged two >/dev/null || fail "another job"
  [ -n "$(ls -A /dev/shm/pyshm-0)" ] || fail "the stage in use is gone"
  kill -KILL -- -$pid; wait $pid
  contains "status" "$("$pyshm" status)" "not in use"
  # The next staging removes the stage.
  cp -a /dev/shm/pyshm-0 "$work/left"
  staged two >/dev/null || fail "the next job"; [ ! -e /dev/shm/pyshm-0 ] || fail "left: $(find /dev/shm -maxdepth 2)"
  # `pyshm gc` removes the stage too.
  cp -a "$work/left" /dev/shm/pyshm-0
  [ "$("$pyshm" gc | wc -l)" = 1 ] || fail "gc removed something else"; [ ! -e /dev/shm/pyshm-0 ] || fail "left: $(find /dev/shm -maxdepth 2)"
}
test_status_and_unstage_take_a_name_and_all_nodes() {
  "$pyshm" unstage 0123456789abcdef 2>"$work/said"; equal "exit status for a name that is not there" 66 $?
  contains "the output" "$(cat "$work/said")" "0123456789abcdef: no stage has this name; 'pyshm status' lists those of this node"
  "$pyshm" unstage nonsense 2>"$work/said"; equal "exit status for no name" 2 $?
  [ ! -e /dev/shm/pyshm-0 ] || fail "a command that found nothing left something"
  launch_words hydra root 4 2
  "${LOGIN[@]}" timeout 600 env PYTHONPATH="$scratch/one" "$pyshm_run" --no-fallback --keep -b "$scratch/one.tar.zst" "${LAUNCH[@]}" "$PYTHON" -B -c 'import pkg_one' </dev/null || fail "the job"
  local said; said=$("${LOGIN[@]}" timeout 600 "$pyshm" status --all-nodes -- "${LAUNCH[@]}") || fail "status --all-nodes"
  for i in n1 n2; do contains "status" "$said" "$i: /dev/shm/pyshm-0/"; contains "status" "$said" "$i:   $scratch/one  from $scratch/one.tar.zst"; done
  "${LOGIN[@]}" timeout 600 "$pyshm" status --all-nodes --paths --json -- "${LAUNCH[@]}" | python3 -c '
import json, sys
nodes = json.load(sys.stdin)
assert [n["node"] for n in nodes] == ["n1", "n2"], nodes
for node in nodes:
    (stage,) = node["stages"]
    paths = {p["path"]: p["bundle"] for p in stage["paths"]}
    assert len(paths) == 1504 and set(paths.values()) == {sys.argv[1] + "/one.tar.zst"}, len(paths)
    assert sys.argv[1] + "/one/pkg_one/m7.py" in paths
' "$scratch" || fail "status --json"
  "${LOGIN[@]}" timeout 600 "$pyshm" unstage --all --all-nodes -- "${LAUNCH[@]}" || fail "unstage --all-nodes"
  for i in n1 n2; do equal "left on $i" "" "$(VCLUSTER_WD=/ "$VCLUSTER" exec $i find /dev/shm -mindepth 1)"; done
  "$pyshm" status --all-nodes 2>"$work/said"; equal "exit status without a launcher" 2 $?; contains "the output" "$(cat "$work/said")" "pyshm status --all-nodes -- mpiexec"
}

run_tests
