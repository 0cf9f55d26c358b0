#!/bin/bash
# Tests tests/run.sh: the parts that it runs, the words that it refuses, and that none of its processes outlives it.
. "$(dirname "$0")/harness.sh"
export PYSHM_TEST_BUILT=1
run() { env -u RESULTS -u PYSHM_TEST_ISOLATED bash "$top/tests/run.sh" "$@"; }

test_a_name_chooses_parts_and_the_last_line_has_the_counts() {
  run checks/docs >"$work/said" 2>&1 || { cat "$work/said"; fail "checks/docs failed"; }
  equal "the last line" "1 passed, 0 failed" "$(tail -n 1 "$work/said")"
  equal "parts that ran" "== checks/docs" "$(grep '^== checks\|^== jobs\|^== rust\|^== tools' "$work/said")"
}
test_a_failure_is_counted_and_named() {
  # Run a part in a copy of the tree, because the part must fail.
  mkdir "$work/copy"; cp -r "$top/tests" "$top/docs" "$top/README.md" "$work/copy"; mkdir -p "$work/copy/target/pyshm/bin" "$work/copy/target/test-env"
  touch "$work/copy/target/pyshm/bin/pyshm" "$work/copy/target/test-env/a.stamp"; echo '[gone](nowhere.md)' >>"$work/copy/README.md"
  env -u RESULTS -u PYSHM_TEST_ISOLATED bash "$work/copy/tests/run.sh" checks/docs >"$work/said" 2>&1; equal "exit status" 1 $?
  equal "the last line" "0 passed, 1 failed" "$(tail -n 1 "$work/said")"
  contains "the failed part" "$(cat "$work/said")" "checks.docs: checks/docs"
}
test_an_unknown_name_or_option_is_an_error() {
  run checks/docs no-such-part >"$work/said" 2>&1; equal "exit status" 2 $?
  contains "the message" "$(cat "$work/said")" "no part has no-such-part in its name"
  run --no-such-option >"$work/said" 2>&1; equal "exit status" 2 $?
  run --all checks/docs >"$work/said" 2>&1; equal "exit status" 2 $?
}
test_every_test_is_listed() {
  run --list >"$work/list" 2>"$work/said" || fail "--list"
  equal "differences between parts.txt and the tree" "" "$(cat "$work/said")"
  local file part
  for file in "$top"/tests/checks/*.sh "$top"/tests/jobs/*.sh; do
    part=${file#"$top/tests/"}; part=${part%.sh}
    [ "$part" = jobs/harness ] || grep -q "^$part  *[0-9]* s" "$work/list" || fail "$part is not listed"
  done
}

# namespaces_of PID: prints the PID, mount, IPC and network namespaces of the process's descendants, except the namespaces
# of the process itself.
namespaces_of() {
  local all=("$1") i=0 pid
  while [ $i -lt ${#all[@]} ]; do
    for pid in $(cat "/proc/${all[i]}/task/"*/children 2>/dev/null); do all+=("$pid"); done
    i=$((i + 1))
  done
  for pid in "${all[@]}"; do readlink "/proc/$pid/ns/"{pid,mnt,ipc,net}; done 2>/dev/null | sort -u | comm -13 <(readlink "/proc/$1/ns/"{pid,mnt,ipc,net} | sort) -
}
# ended_by SIGNAL NUMBER: sends the signal to a run.sh with a running cluster, and checks that nothing is left.
ended_by() {
  local runner used i mounts
  # This test itself runs inside contained.sh, and so has a mount of contained.sh already.
  mounts=$(grep pyshm-tests /proc/self/mountinfo)
  # A background process of a script would ignore SIGINT.
  env -u RESULTS -u PYSHM_TEST_ISOLATED --default-signal=INT,TERM,HUP bash "$top/tests/run.sh" jobs/signals >"$work/said" 2>&1 & runner=$!
  for i in $(seq 3000); do
    used=$(namespaces_of $runner)
    # Wait for at least four network namespaces: those of the cluster, of n0, of n1 and of n2.
    [ "$(grep -c net: <<<"$used")" -lt 4 ] || break
    sleep 0.1
  done
  [ "$(grep -c net: <<<"$used")" -ge 4 ] || { cat "$work/said"; fail "run.sh started no cluster in time"; }
  kill -"$1" $runner; wait $runner; equal "exit status" $((128 + $2)) $?
  for i in /proc/[0-9]*; do
    ! readlink "$i/ns/"{pid,mnt,ipc,net} 2>/dev/null | grep -qxF "$used" || fail "a process is left: $(tr '\0' ' ' <"$i/cmdline")"
  done
  equal "left in /dev/shm" "" "$(ls -A /dev/shm)"
  equal "left in /var/tmp" "$1" "$1$(find /var/tmp -maxdepth 1 -name 'pyshm-tests.*')"
  equal "mounts" "$mounts" "$(grep pyshm-tests /proc/self/mountinfo)"
}
test_ctrl_c_ends_all_processes_of_a_run() { ended_by INT 2; }
test_sigterm_ends_all_processes_of_a_run() { ended_by TERM 15; }
test_sighup_ends_all_processes_of_a_run() { ended_by HUP 1; }

run_tests
