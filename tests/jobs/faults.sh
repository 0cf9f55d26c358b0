#!/bin/bash
# Tests faults of staging. pyshm reports each fault in one line with file, cause and way out, and the command still runs.
# With --no-fallback the fault is an error with its documented exit code. Nothing is left in /dev/shm in either case.
. "$(dirname "$0")/harness.sh"
bundle=$(bundle_of venv "$venv") || exit 1
python=$venv/bin/python

# wrong CODE PATTERN [OPTION…]: runs a command with fallback and without, and checks the message and the exit code.
wrong() {
  local code=$1 pattern=$2; shift 2
  "$pyshm_run" "$@" "$python" -c 'print("ran")' >"$work/out" 2>"$work/said"; equal "exit status with fallback" 0 $?
  equal "the command's output" ran "$(cat "$work/out")"
  equal "lines of warning" 1 "$(wc -l <"$work/said")"
  contains "the warning" "$(cat "$work/said")" "pyshm-run: warning: "
  contains "the warning" "$(cat "$work/said")" "$pattern"
  contains "the warning" "$(cat "$work/said")" "; running from the shared file system"
  "$pyshm_run" --no-fallback "$@" "$python" -c 'print("ran")' >"$work/out" 2>"$work/said"; equal "exit status without" "$code" $?
  equal "nothing ran" "" "$(cat "$work/out")"
  contains "the error" "$(cat "$work/said")" "$pattern"
  [ ! -e "/dev/shm/pyshm-0" ] || fail "left: $(find /dev/shm -maxdepth 3)"
}
test_a_missing_bundle_is_reported() { wrong 66 "/nowhere/env.tar.zst: No such file" -b /nowhere/env.tar.zst; }
test_a_truncated_bundle_is_reported() { head -c 50000000 "$bundle" >"$work/b.tar.zst"; wrong 65 "$work/b.tar.zst: it is truncated" -b "$work/b.tar.zst"; }
test_a_flipped_byte_is_found() {
  cp "$bundle" "$work/b.tar.zst"; printf '\377\000\377' | dd of="$work/b.tar.zst" bs=1 seek=60000000 conv=notrunc status=none
  wrong 65 "$work/b.tar.zst: it is damaged" -b "$work/b.tar.zst"
}
test_a_file_that_is_no_tar_is_refused() { echo hello >"$work/b.tar.zst"; wrong 65 "$work/b.tar.zst: it is not a tar, compressed or not" -b "$work/b.tar.zst"; }
test_an_empty_bundle_is_refused() { : >"$work/b.tar.zst"; wrong 65 "it is empty" -b "$work/b.tar.zst"; }
test_a_full_memory_is_reported() {
  mount -o remount,size=50m /dev/shm || fail "mount"
  wrong 73 "free some, or choose another place with --root" -b "$bundle"; mount -o remount,size=8g /dev/shm
}
test_too_few_inodes_are_reported() {
  mount -o remount,nr_inodes=3000 /dev/shm || fail "mount"
  wrong 73 "inodes free but" -b "$bundle"; mount -o remount,nr_inodes=0 /dev/shm
}
test_a_reserve_of_memory_stays_free() {
  PYSHM_RESERVE=8500M wrong 73 "8.5 GB that stay free for MPI and the application, see PYSHM_RESERVE" -b "$bundle"
  # Without a reserve the bundle fits into memory that the default reserve would keep free.
  local fits=$(( $(du -sm "$venv" | cut -f1) + 150 ))
  mount -o remount,size=${fits}m /dev/shm || fail "mount"
  PYSHM_RESERVE=0 "$pyshm_run" --no-fallback -b "$bundle" "$python" -c 'print("ran")' >"$work/out" || fail "without a reserve"
  PYSHM_RESERVE=200M wrong 73 "are needed" -b "$bundle"; mount -o remount,size=8g /dev/shm
}
# Runs a job in a control group with little memory, in the version of control groups that this machine has.
test_the_memory_limit_of_the_job_is_kept() {
  local group limit
  if [ -e /sys/fs/cgroup/memory/memory.limit_in_bytes ]; then group=/sys/fs/cgroup/memory/pyshm-test-$$ limit=memory.limit_in_bytes
  else group=/sys/fs/cgroup/pyshm-test-$$ limit=memory.max; fi
  if ! mkdir "$group" 2>/dev/null || ! echo 150M >"$group/$limit" 2>/dev/null; then
    rmdir "$group" 2>/dev/null; note "no control group with memory can be made here: only unit tests saw a limit"; return
  fi
  ( echo "$BASHPID" >"$group/cgroup.procs" && wrong 73 "failed to fit the stage into the job's memory limit ($group/$limit): " -b "$bundle" && contains "the way out" "$(cat "$work/said")" "ask for more memory" )
  local code=$?
  for _ in $(seq 50); do rmdir "$group" 2>/dev/null && break; sleep 0.1; done
  return $code
}
test_a_wrong_value_is_reported_with_the_name_of_its_variable() {
  PYSHM_WAIT=soon wrong 2 "PYSHM_WAIT is 'soon', which is not a number of seconds" -b "$bundle"
  PYSHM_CACHE_MAX=many wrong 2 "PYSHM_CACHE_MAX is 'many', which is not a size" -b "$bundle"
  PYSHM_RESERVE=-1 wrong 2 "PYSHM_RESERVE is '-1', which is not a size" -b "$bundle"
  PYSHM_SERIAL_READ=x wrong 2 "PYSHM_SERIAL_READ is 'x', which is not a size" -b "$bundle"
  PYSHM_CACHE=cache wrong 2 "PYSHM_CACHE is 'cache', which is not an absolute path" -b "$bundle"
  PYSHM_ROOT=shm wrong 2 "PYSHM_ROOT is 'shm', which is not an absolute path" -b "$bundle" --root /dev/shm
  PYSHM_ROOT=/nowhere wrong 66 "/nowhere" -b "$bundle"
  PYSHM_WAIT=soon "$pyshm" stage -b "$bundle" 2>"$work/said"; equal "exit status of pyshm" 2 $?; contains "the output" "$(cat "$work/said")" "PYSHM_WAIT"
  mkdir -m 700 /dev/shm/own; PYSHM_ROOT=/dev/shm/own "$pyshm_run" --no-fallback -v -b "$bundle" "$python" -c '' 2>"$work/said" || fail "with PYSHM_ROOT"
  contains "where it was staged" "$(cat "$work/said")" "staged in /dev/shm/own/pyshm-0/"; rmdir /dev/shm/own
}
test_a_root_that_does_not_exist_is_reported() { wrong 66 "/nowhere" --root /nowhere -b "$bundle"; }
test_a_directory_that_another_user_took_is_reported() {
  mkdir /dev/shm/pyshm-0; chown 12345 /dev/shm/pyshm-0
  "$pyshm_run" -b "$bundle" "$python" -c 'print("ran")' >"$work/out" 2>"$work/said"; equal "exit status" 0 $?
  contains "the warning" "$(cat "$work/said")" "failed to trust /dev/shm/pyshm-0: it belongs to another user"
  rmdir /dev/shm/pyshm-0
}

mpiexec=$venv/bin/mpiexec
launched() { # CODE PATTERN COMMAND…
  local code=$1 pattern=$2; shift 2
  "$pyshm_run" -b "$bundle" "$@" >"$work/out" 2>"$work/said"; equal "exit status with fallback" 0 $?
  equal "ranks that ran" 2 "$(grep -o ran "$work/out" | wc -l)"
  contains "the warning" "$(cat "$work/said")" "$pattern"
  "$pyshm_run" --no-fallback -b "$bundle" "$@" >"$work/out" 2>"$work/said"; equal "exit status without" "$code" $?
  equal "nothing ran" "" "$(cat "$work/out")"
  [ ! -e "/dev/shm/pyshm-0" ] || fail "left: $(find /dev/shm -maxdepth 3)"
}
test_a_command_line_that_is_not_understood_is_reported() {
  printf '%s\n' "-n 2 $python -c print('ran')" >"$work/contexts"
  launched 69 "PYSHM_BCAST_LAUNCH" "$mpiexec" -configfile "$work/contexts"
  "$pyshm_run" --no-fallback -b "$bundle" "$mpiexec" -no-such-option -n 2 "$python" -c '' 2>"$work/said"; equal "exit status" 69 $?
  contains "the error" "$(cat "$work/said")" "-no-such-option"
}
test_a_helper_that_does_not_exist_is_reported() {
  export PYSHM_BCAST=/nowhere/pyshm-bcast
  launched 69 "/nowhere/pyshm-bcast" "$mpiexec" -launcher fork -hosts "$(hostname)x,$(hostname)" -n 2 "$python" -c 'print("ran")' 2>&1 || exit 1
}
test_a_program_that_a_launcher_cannot_find_ends_with_127() {
  PATH=$venv/bin:$PATH "$pyshm_run" -b "$bundle" "$mpiexec" -n 2 no-such-program >"$work/out" 2>&1; equal "exit status" 127 $?
  contains "message" "$(cat "$work/out")" "no-such-program: command not found"
}

run_tests
