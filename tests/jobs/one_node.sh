#!/bin/bash
# Tests pyshm-run on one node without MPI: Python's view, the streams and signals of a command, automatic bundles, the
# cache.
. "$(dirname "$0")/harness.sh"
export PYSHM_CACHE; PYSHM_CACHE=$(mktemp -d /var/tmp/pyshm-cache.XXXXXX)
trap 'rm -rf "$PYSHM_CACHE"' EXIT
bundle=$(bundle_of venv "$venv") || { echo "failed to bundle $venv"; exit 1; }
python=$venv/bin/python
strict() { "$pyshm_run" --no-fallback -b "$bundle" "$@"; }
nothing_left() { local left; left=$(ls -A /dev/shm | grep -x "pyshm-$(id -u)"); [ -z "$left" ] || fail "/dev/shm has $(find "/dev/shm/$left" -maxdepth 2)"; }

test_python_sees_the_same_staged_and_bare() {
  "$python" "$tools/view.py" >"$work/bare" || fail "the bare run"
  strict "$python" "$tools/view.py" >"$work/pyshm" || fail "the run with pyshm"
  check "both views are equal" python3 "$tools/compare.py" --strict-env "$work/bare" "$work/pyshm"
  nothing_left
}

test_an_mpi_program_is_staged_without_an_mpi_helper() {
  local install=$work/pyshm; cp -a "$top/target/pyshm" "$install"; rm "$install"/libexec/pyshm-bcast-*
  mkdir "$work/bare" "$work/staged"
  "$python" "$tools/app.py" "$work/bare" || fail "the bare run"
  bash "$tools/trace.sh" "$work/trace" "$install/bin/pyshm-run" --no-fallback -b "$bundle" "$python" "$tools/app.py" "$work/staged" || fail "the run with pyshm"
  check "the results are those of the bare run" python3 "$tools/compare.py" --strict-env --size 1 "$work/bare" "$work/staged"
  # shellcheck disable=SC2046
  python3 "$tools/count_ops.py" "$work/trace" --from-exec '^"[^"]*/bin/pyshm-exec"' $(watch "$venv") --under "$install" --under "$bundle" --max 0 || fail "operations on the environment"
  nothing_left
}

test_a_start_makes_no_operation_on_the_environment() {
  local code='import numpy.fft, scipy.interpolate, subprocess, sys; subprocess.run([sys.executable, "-c", "import numpy"], check=True)'
  bash "$tools/trace.sh" "$work/trace" "$pyshm_run" --no-fallback -b "$bundle" "$python" -c "$code" || fail "the run"
  local count=(python3 "$tools/count_ops.py" "$work/trace" --from-exec '^"[^"]*/bin/pyshm-exec"' --json)
  "${count[@]}" --under /dev/shm | python3 -c 'import json, sys; assert json.load(sys.stdin)["total"] > 500' || fail "the program was not seen"
  # shellcheck disable=SC2046
  "${count[@]}" $(watch "$venv") --under "$top/target/pyshm" --under "$bundle" >"$work/counted"
  equal "operations" 0 "$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["total"])' "$work/counted")"
}

# The shim asks the kernel by a readlink of /proc/self/exe, which is the slowest of the shim's calls at a start.
test_the_kernel_is_asked_once_which_file_a_program_is() {
  ln -s /bin/true "$work/tool"
  bash "$tools/trace.sh" "$work/trace" "$pyshm_run" --no-fallback -b "$bundle" "$python" -c '
import os, subprocess, sys
tool = sys.argv[1]
for _ in range(3): subprocess.run([tool], check=True)
os.remove(tool); os.symlink(sys.executable, tool)
print(subprocess.run([tool, "-c", "import sys; print(sys.base_prefix)"], check=True, text=True, stdout=subprocess.PIPE).stdout, end="")
' "$work/tool" >"$work/said" || fail "the run"
  equal "times the kernel was asked which file the tool is" 1 "$(grep -cE 'readlink(at)?\(.*"/proc/self/exe", "[^"]*/true"' "$work/trace")"
  equal "output of the tool after it was replaced" "$("$python" -c 'import sys; print(sys.base_prefix)')" "$(cat "$work/said")"
}

test_status_streams_and_arguments_are_the_commands_own() {
  strict "$python" -c 'import sys; sys.exit(37)'; equal "exit status" 37 $?
  equal "standard input and output" "HELLO" "$(echo hello | strict "$python" -c 'print(input().upper())')"
  equal "standard error" "only this" "$(strict --no-summary "$python" -c 'import sys; sys.stderr.write("only this")' 2>&1 >/dev/null)"
  equal "arguments" "['-c', 'a b', '', '--keep', '*']" "$(strict "$python" -c 'import sys; print(sys.argv)' 'a b' '' --keep '*')"
  strict "$python" -c 'import os, signal; os.kill(os.getpid(), signal.SIGKILL)'; equal "status after SIGKILL" 137 $?
  ( strict "$python" -c 'import os, signal; os.kill(os.getpid(), signal.SIGTERM)' ); equal "status after SIGTERM" 143 $?
  nothing_left
}

test_a_command_that_cannot_run_ends_as_in_a_shell() {
  strict no-such-command-here 2>"$work/said"; equal "exit code" 127 $?
  contains "message" "$(cat "$work/said")" "no-such-command-here: command not found"
  touch "$work/plain"
  strict "$work/plain" 2>"$work/said"; equal "exit code" 126 $?
  contains "message" "$(cat "$work/said")" "$work/plain: Permission denied"
  strict mpiexec.of.nowhere -n 2 true 2>/dev/null; equal "a launcher that is not installed, by name" 127 $?
  ( export PATH=/nowhere; "$pyshm_run" -b "$bundle" mpiexec -n 2 true 2>"$work/said" ); equal "a launcher that is not installed" 127 $?
  contains "message" "$(cat "$work/said")" "mpiexec: command not found"
  nothing_left
}

test_a_signal_reaches_the_command_once() {
  cat >"$work/count.py" <<'PY'
import os, signal, sys, time
seen = []
signal.signal(signal.SIGUSR1, lambda *_: seen.append(1))
open(sys.argv[1] + "/ready", "w").close()
end = time.time() + 20
while time.time() < end and not os.path.exists(sys.argv[1] + "/stop"):
    time.sleep(0.05)
print(len(seen))
PY
  "$pyshm_run" --no-fallback -b "$bundle" "$python" "$work/count.py" "$work" >"$work/out" & local pid=$!
  for _ in $(seq 12000); do [ -e "$work/ready" ] && break; sleep 0.05; done
  kill -USR1 $pid; sleep 0.5; touch "$work/stop"; wait $pid; equal "exit status" 0 $?
  equal "times the signal was received" 1 "$(cat "$work/out")"
}

test_writes_reach_the_shared_tree_and_are_seen_at_once() {
  cp -a "$venv" "$work/venv"
  "$pyshm_run" --no-fallback "$work/venv/bin/python" - "$work/venv" <<'PY' || fail "the program"
import os, subprocess, sys
top = sys.argv[1]
site = [p for p in sys.path if p.endswith("site-packages")][0]
new = os.path.join(site, "made_by_test.py")
assert not os.path.exists(new)
with open(new, "w") as f:
    f.write("x = 1\n")
assert os.path.exists(new) and "made_by_test.py" in os.listdir(site)
see = "import made_by_test, os; print(made_by_test.x, os.path.getsize(made_by_test.__file__))"
assert subprocess.check_output([sys.executable, "-c", see], text=True) == "1 6\n"
cfg = os.path.join(top, "pyvenv.cfg")
with open(cfg, "a") as f:
    f.write("# more\n")
assert open(cfg).read().endswith("# more\n")
os.rename(new, new + ".moved")
assert not os.path.exists(new) and os.path.exists(new + ".moved")
os.unlink(new + ".moved")
assert "made_by_test.py.moved" not in os.listdir(site)
os.mkdir(os.path.join(top, "directory"))
assert subprocess.run(["test", "-d", os.path.join(top, "directory")]).returncode == 0
PY
  equal "the shared file" "# more" "$(tail -n 1 "$work/venv/pyvenv.cfg")"
  [ -d "$work/venv/directory" ] || fail "the directory is not on the shared file system"
  nothing_left
}

test_a_pip_install_between_two_runs_is_seen() {
  cp -a "$venv" "$work/venv"; local py=$work/venv/bin/python
  "$pyshm_run" -v --no-fallback "$py" -c 'import numpy' 2>"$work/first" || fail "first run"
  contains "first run" "$(cat "$work/first")" "making the bundle of $work/venv"
  "$pyshm_run" -v --no-fallback "$py" -c 'import numpy' 2>"$work/second" || fail "second run"
  [[ $(cat "$work/second") != *"making the bundle"* ]] || fail "nothing changed, but it was packed again"
  # Write a wheel with one module, so that pip needs no index and no build tools.
  "$py" - "$work/newcomer-1-py3-none-any.whl" <<'PY' || fail "the wheel"
import sys, zipfile
info = "newcomer-1.dist-info/"
with zipfile.ZipFile(sys.argv[1], "w") as wheel:
    wheel.writestr("newcomer.py", 'greeting = "hello"\n')
    wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\nName: newcomer\nVersion: 1\n")
    wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    wheel.writestr(info + "RECORD", f"newcomer.py,,\n{info}METADATA,,\n{info}WHEEL,,\n{info}RECORD,,\n")
PY
  "$py" -m pip install -q --no-index --no-deps "$work/newcomer-1-py3-none-any.whl" || fail "pip install"
  equal "the new module" hello "$("$pyshm_run" -v --no-fallback "$py" -c 'import newcomer; print(newcomer.greeting)' 2>"$work/third")"
  contains "third run" "$(cat "$work/third")" "making the bundle of $work/venv"
  nothing_left
}

test_jobs_that_start_together_pack_once() {
  export PYSHM_CACHE=$work/cache
  cp -a "$venv" "$work/venv"
  local i pids=()
  for i in 1 2 3 4 5 6; do "$pyshm_run" -v --no-fallback "$work/venv/bin/python" -c 'import numpy' 2>"$work/said.$i" & pids+=($!); done
  for i in "${pids[@]}"; do wait "$i" || fail "a job failed"; done
  equal "jobs that packed the environment" 1 "$(cat "$work"/said.* | grep -c "making the bundle of $work/venv ")"
  nothing_left
}

test_the_cache_is_listed_and_pruned() {
  export PYSHM_CACHE=$work/cache
  "$pyshm_run" --no-fallback "$python" -c 'import numpy' || fail "the run"
  equal "prefixes in the cache" "$("$python" -c 'import sys; print(*sorted({sys.prefix, sys.base_prefix}), sep="\n")')" \
    "$("$pyshm" cache list --json | python3 -c 'import json, sys; print(*sorted(e["prefix"] for e in json.load(sys.stdin)), sep="\n")')"
  contains "the list" "$("$pyshm" cache list)" "used today"
  PYSHM_CACHE_MAX=1 "$pyshm" cache prune >/dev/null || fail "prune"
  contains "the list" "$("$pyshm" cache list)" "nothing is cached"
}

test_an_environment_that_is_not_worth_staging_is_not_staged() {
  PYSHM_SERIAL_READ=1M "$pyshm_run" -v "$python" -c 'import sys; print(sys.prefix)' >"$work/out" 2>"$work/said" || fail "the run"
  equal "the program ran" "$venv" "$(cat "$work/out")"
  contains "the reason" "$(cat "$work/said")" "cannot pay"
  [[ $(PYSHM_SERIAL_READ=1M strict -v "$python" -c '' 2>&1) != *"cannot pay"* ]] || fail "pyshm did not stage a bundle that the command line names"
}

test_a_bundle_that_covers_nothing_is_not_staged() {
  ( cd /; env -u VIRTUAL_ENV -u CONDA_PREFIX -u PYTHONPATH PATH=/usr/bin:/bin bash "$tools/trace.sh" "$work/trace" "$pyshm_run" -b "$bundle" hostname >/dev/null 2>"$work/said" ) || fail "the run: $(cat "$work/said")"
  grep -q 'execve("/usr/bin/hostname"\|execve("/bin/hostname"' "$work/trace" || fail "hostname was not run from its own place"
  if grep -q '\.new-' "$work/trace"; then fail "the bundle was staged"; fi
  nothing_left
}

test_scripts_and_wrappers_find_their_environment() {
  printf '#!%s\nimport numpy, sys; print(sys.prefix, numpy.__file__.startswith(sys.prefix))\n' "$python" >"$work/tool"; chmod +x "$work/tool"
  equal "a script with a shebang" "$venv True" "$("$pyshm_run" --no-fallback "$work/tool")"
  printf '#!/bin/sh\nexec "%s" "$@"\n' "$python" >"$work/python3"; chmod +x "$work/python3"
  equal "a wrapper script" "$venv" "$(PATH=$work:$PATH "$pyshm_run" --no-fallback python3 -c 'import sys; print(sys.prefix)')"
  equal "an active environment" "$venv" "$(VIRTUAL_ENV=$venv PATH=$venv/bin:$PATH "$pyshm_run" --no-fallback bash -c 'python -c "import sys; print(sys.prefix)"')"
  nothing_left
}

test_reroute_env_leads_python_by_variables() {
  strict --reroute env "$python" -c 'import sys, numpy; assert numpy.__file__.startswith("/dev/shm/pyshm-"), numpy.__file__; assert sys.executable.startswith("/dev/shm/pyshm-"), sys.executable' || fail "by path"
  PATH=$venv/bin:$PATH strict --reroute env python -c 'import scipy.interpolate as s; assert s.__file__.startswith("/dev/shm/pyshm-"), s.__file__' || fail "by name"
  equal "the prefix with --reroute off" "$venv" "$(strict --reroute off "$python" -c 'import sys; print(sys.prefix)')"
  nothing_left
}

test_keep_leaves_the_stage_for_the_next_run() {
  strict --keep "$python" -c '' || fail "first run"
  equal "stages" 1 "$("$pyshm" status --json | python3 -c 'import json, sys; print(len(json.load(sys.stdin)))')"
  bash "$tools/trace.sh" "$work/trace" "$pyshm_run" --no-fallback --keep -b "$bundle" "$python" -c '' || fail "second run"
  equal "times the bundle was opened" 0 "$(grep -c "open.*\"$bundle\"" "$work/trace")"
  "$pyshm" unstage --all || fail "unstage"
  nothing_left
}

test_a_kept_stage_survives_a_run_without_keep() {
  "$pyshm" stage -b "$bundle" >/dev/null || fail "stage"
  strict "$python" -c '' || fail "the run"
  equal "stages" 1 "$("$pyshm" status --json | python3 -c 'import json, sys; print(len(json.load(sys.stdin)))')"
  "$pyshm" unstage --all || fail "unstage"
  nothing_left
}

test_a_second_run_sees_changes_that_a_running_one_does_not_stage() {
  cp -a "$venv" "$work/venv"; local py=$work/venv/bin/python site
  site=$("$py" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
  "$pyshm_run" --no-fallback "$py" -c 'import sys, time; open(sys.argv[1], "w"); time.sleep(8)' "$work/ready" & local pid=$!
  for _ in $(seq 12000); do [ -e "$work/ready" ] && break; sleep 0.05; done
  echo 'x = 7' >"$site/latecomer.py"
  equal "the new module" 7 "$("$pyshm_run" --no-fallback "$py" -c 'import latecomer; print(latecomer.x)')"
  wait $pid; equal "the first run" 0 $?
  nothing_left
}

# The file changes twice within one second, while the first run packs. The second change comes as late in this second as
# possible.
test_a_change_in_the_second_of_packing_is_seen_where_times_are_whole_seconds() {
  local mdsfs env=$work/coarse/env module tries; mdsfs=$(bash "$top/tests/cluster/build-mdsfs.sh") || fail "mdsfs"
  mkdir "$work/backing" "$work/coarse"; truncate -s 1M "$work/state"
  "$mdsfs" set "$work/state" 0 0 || fail "mdsfs set"
  MDSFS_WHOLE_SECONDS=1 MDSFS_TIMEOUT=0 "$mdsfs" -w "$work/backing" "$work/coarse" "$work/state" || fail "mount"
  trap 'umount -l "$work/coarse"' EXIT
  python3 -m venv --without-pip "$env" || fail "venv"
  module=$(echo "$env"/lib/python3*/site-packages)/constant.py
  show() { PYSHM_SERIAL_READ=1G "$pyshm_run" --no-fallback "$env/bin/python" -Bc 'import constant; print(constant.X)'; }
  for tries in 1 2 3; do
    sleep "$(python3 -c 'import time; print(1.02 - time.time() % 1)')"
    echo "X = 'old'" >"$module"
    show >"$work/first" & local pid=$!
    sleep "$(python3 -c 'import time; print(max(0, 0.9 - time.time() % 1))')"
    echo "X = 'new'" 1<>"$module"
    wait $pid; equal "the first run" 0 $?
    equal "the later run, try $tries" new "$(show)"
  done
  nothing_left
}

test_an_ordinary_user_stages_a_read_only_environment_behind_a_symlink() {
  mkdir -p "$work/real/lib/deep" "$work/out"; ln -s real "$work/env"; chmod 777 "$work/out"
  echo 'int dep(void) { return 42; }' >"$work/dep.c"; echo 'int dep(void); int user(void) { return dep(); }' >"$work/user.c"
  gcc -shared -fPIC -o "$work/real/lib/libdep.so" "$work/dep.c" || fail "gcc"
  gcc -shared -fPIC -o "$work/real/lib/deep/libuser.so" "$work/user.c" -L"$work/real/lib" -Wl,-rpath,"$work/env/lib" -ldep || fail "gcc"
  chmod -R a-w "$work/real"
  local user=(setpriv --reuid 12345 --regid 12345 --clear-groups) stage
  "${user[@]}" "$pyshm" bundle env "$work/env" -o "$work/out/b.tar.zst" -q || fail "bundle"
  stage=$("${user[@]}" "$pyshm" stage -b "$work/out/b.tar.zst") || fail "stage"
  contains "the library that the loader finds" "$(ldd "$stage/fs$work/real/lib/deep/libuser.so")" "$stage/fs$work/real/lib/deep/../libdep.so"
  "${user[@]}" "$pyshm" unstage --all || fail "unstage"
  chmod -R u+w "$work/real"
}

test_a_closed_pipe_or_a_full_device_does_not_change_the_exit_status() {
  "$pyshm" inspect --entries "$bundle" | head -1 >/dev/null; equal "exit status" 0 "${PIPESTATUS[0]}"
  strict --summary "$python" -c 'print(5)' >"$work/out" 2>/dev/full; equal "exit status" 0 $?
  equal "output" 5 "$(cat "$work/out")"
}

test_an_option_that_does_not_exist_is_wrong_usage() {
  "$pyshm_run" --sumary true 2>"$work/said"; equal "exit code" 2 $?
  contains "message" "$(cat "$work/said")" "--sumary"
  "$pyshm" bundle env "$venv" -o "$work/b.tar.zst" --level 99 2>"$work/said"; equal "exit code" 2 $?
  contains "message" "$(cat "$work/said")" "1 to 22"
}

test_the_summary_has_size_time_and_number_of_operations() {
  strict --summary "$python" -c 'import numpy' 2>"$work/said" || fail "the run"
  [[ $(cat "$work/said") =~ ^pyshm-run:\ [0-9.]+\ MB\ bundle,\ unpacked\ on\ this\ node\ in\ [0-9.]+\ s,\ [0-9,]+\ operations\ answered\ locally$ ]] || fail "the summary is: $(cat "$work/said")"
}

# The shim of the outer job starts the first program of the inner job. It must not pass the variables of the outer job
# on.
test_a_job_within_a_job_has_only_the_inner_stage() {
  local name form
  for name in a b; do mkdir -p "$work/$name/bin" "$work/$name/lib"; cp "$(command -v bash)" "$work/$name/bin/shell-$name"; "$pyshm" bundle env "$work/$name" -o "$work/$name.tar.zst" -q || fail "bundle"; done
  printf 'env | grep -E "^(LD_|PYSHM_)" | sort; sed -n "s|.*/dev/shm/pyshm-0/[^/]*\\(/fs%s/[ab]/bin\\).*|\\1|p; s|.*/dev/shm/pyshm-0/\\([^/]*\\)/lib/libpyshm.so|\\1|p" /proc/$$/maps | sort -u >"$1"\n' "$work" >"$work/look"
  for form in "" "LD_PRELOAD=$(gcc -print-file-name=libm.so.6)"; do
    outer() { env $form LD_LIBRARY_PATH="$work/a/lib:/nowhere" "$@"; }
    outer "$work/a/bin/shell-a" -c "exec $work/b/bin/shell-b $work/look $work/bare.maps" >"$work/bare" || fail "the bare run"
    outer "$pyshm_run" --no-fallback -b "$work/a.tar.zst" "$work/a/bin/shell-a" -c "$pyshm_run --no-fallback -b $work/b.tar.zst $work/b/bin/shell-b $work/look $work/maps" >"$work/out" || fail "the run"
    diff "$work/bare" "$work/out" || fail "other variables (< bare, > preloaded)"
    equal "files that the inner program maps" 2 "$(wc -l <"$work/maps")"
    contains "the program" "$(cat "$work/maps")" "/fs$work/b/bin"
  done
}
run_tests
