#!/bin/bash
# Tests a /dev/shm that is mounted noexec. Files come from the stage, programs and libraries come from the shared file
# system, and the shim and the trampoline come from /tmp.
. "$(dirname "$0")/harness.sh"
mount_over /tmp -t tmpfs -o mode=1777 tmpfs || exit 1
mount -o remount,noexec /dev/shm || exit 1
bundle=$(bundle_of venv "$venv") || { echo "failed to bundle $venv"; exit 1; }
python=$venv/bin/python
nothing_left() { [ ! -e "/dev/shm/pyshm-$(id -u)" ] && [ ! -e "/tmp/pyshm-$(id -u)" ] || fail "left: $(find /dev/shm /tmp -maxdepth 3)"; }
strict() { "$pyshm_run" --no-fallback -b "$bundle" "$@"; }

test_dev_shm_refuses_to_execute_programs() {
  cp /bin/true /dev/shm/true; ! /dev/shm/true 2>/dev/null || fail "/dev/shm is not mounted noexec, so these tests would prove nothing"; rm /dev/shm/true
}
test_python_sees_the_same_staged_and_bare() {
  "$python" "$tools/view.py" >"$work/bare" || fail "the bare run"
  strict "$python" "$tools/view.py" >"$work/pyshm" || fail "the run with pyshm"
  check "both views are equal" python3 "$tools/compare.py" --strict-env "$work/bare" "$work/pyshm"
  nothing_left
}
test_modules_are_read_from_the_stage_and_libraries_from_the_original() {
  local code='import numpy.fft, scipy.interpolate, subprocess, sys; subprocess.run([sys.executable, "-c", "import numpy"], env={}, check=True)'
  bash "$tools/trace.sh" "$work/trace" "$pyshm_run" --no-fallback -b "$bundle" "$python" -c "$code" || fail "the run"
  # shellcheck disable=SC2046
  python3 "$tools/count_ops.py" "$work/trace" --from-exec '^"[^"]*/bin/pyshm-exec"' --list 100000 $(watch "$venv") >"$work/counted"
  grep -q 'openat(.*/_multiarray_umath' "$work/counted" || fail "no library was loaded from the original"
  ! grep -E 'openat\(.*\.pyc?"' "$work/counted" || fail "modules were read from the original"
  nothing_left
}
test_a_launcher_starts_staged_ranks_on_one_node() {
  strict "$venv/bin/mpiexec" -n 2 "$python" -c 'import numpy; print("rank")' >"$work/out" || fail "the run"
  # The outputs of two ranks may be on one line.
  equal "ranks" 2 "$(grep -o rank "$work/out" | wc -l)"
  nothing_left
}
test_reroute_env_starts_the_original_program() {
  equal "prefix" "$venv" "$("$pyshm_run" --no-fallback --reroute env -b "$bundle" "$python" -c 'import numpy, sys; print(sys.prefix)')"
  nothing_left
}
test_leftovers_of_a_crash_are_removed_with_the_next_stage() {
  local kept
  kept=$("$pyshm" stage -b "$bundle") || fail "staging"
  equal "directories in /tmp" 1 "$(find "/tmp/pyshm-$(id -u)" -maxdepth 1 -name 'run-*' | wc -l)"
  check "the shim can be loaded by the stage's name" env LD_PRELOAD="$kept/lib/libpyshm.so" "$python" -c 'import os; os.listdir(os.__file__[:-5])'
  # A process with another /dev/shm cannot tell whether the stage is in use, and must not remove its programs.
  unshare --mount bash -c 'mount -t tmpfs tmpfs /dev/shm && "$1" gc' bash "$pyshm" || fail "gc beside"
  [ -e "$kept/lib/libpyshm.so" ] || fail "gc removed programs that another namespace uses"
  # The files in /dev/shm are lost, but the files in /tmp are not.
  rm -rf "/dev/shm/pyshm-$(id -u)"
  "$pyshm" gc | grep -q "/tmp/pyshm-$(id -u)/run-" || fail "gc did not remove the directory for programs"
  nothing_left
  kept=$("$pyshm" stage -b "$bundle") || fail "staging again"
  "$pyshm" gc; [ -e "$kept/lib/libpyshm.so" ] || fail "gc removed programs in use"
  check "unstage" "$pyshm" unstage --all
  nothing_left
}
test_a_node_without_any_directory_for_programs_reports_this() {
  mount -o remount,noexec /tmp && mount_over /var/tmp -t tmpfs -o noexec,mode=1777 tmpfs || fail "mount"
  "$pyshm_run" -b "$bundle" "$python" -c 'print("ran")' >/dev/shm/out 2>/dev/shm/said; equal "exit status" 0 $?
  equal "output" ran "$(cat /dev/shm/out)"
  contains "the warning" "$(cat /dev/shm/said)" "/dev/shm is mounted noexec, and /tmp and /var/tmp cannot be used either"
  umount --lazy /var/tmp && mount -o remount,exec /tmp || fail "umount"; rm /dev/shm/out /dev/shm/said
  nothing_left
}

run_tests
