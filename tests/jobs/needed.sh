#!/bin/bash
# Tests bundles that are configured for all commands (PYSHM_BUNDLES). pyshm stages only the bundles that a command uses.
# For a command that uses no bundle, pyshm stages nothing and prints nothing.
. "$(dirname "$0")/harness.sh"
site=$(mktemp -d /var/tmp/pyshm-site.XXXXXX)
trap 'rm -rf "$site"' EXIT
export PYSHM_CACHE=$site/cache
unset VIRTUAL_ENV CONDA_PREFIX PYTHONPATH PYTHONHOME

# There are two environments of one interpreter. The bundle of each environment also has the prefix of the interpreter.
interpreter=$(readlink -f "$venv/bin/python")
library=$("$interpreter" -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')
mkdir -p "$site/base/bin" "$site/base/lib"; cp "$interpreter" "$site/base/bin/python3"; ln -s "$library" "$site/base/lib/"
for name in a b; do
  mkdir -p "$site/$name/bin"
  printf 'home = %s\ninclude-system-site-packages = false\n' "$site/base/bin" >"$site/$name/pyvenv.cfg"
  ln -s "$site/base/bin/python3" "$site/$name/bin/python"
  echo "$name" >"$site/$name/name"
done
for name in base a b; do "$pyshm" bundle env "$site/$name" -o "$site/$name.tar.zst" -q || exit 1; done
export PYSHM_BUNDLES=$site/base.tar.zst:$site/a.tar.zst:$site/b.tar.zst

# This program prints which of the prefixes base, a and b are staged.
cat >"$site/staged" <<EOF
#!/bin/sh
for dir in /dev/shm/pyshm-*/????????????????/fs$site/*; do [ ! -d "\$dir" ] || echo "\${dir##*/}"; done | sort | xargs
EOF
chmod 755 "$site/staged"
active() { ( export VIRTUAL_ENV=$site/a PATH=$site/a/bin:$PATH; "$@" ); }
nothing_left() { [ -z "$(ls -A /dev/shm)" ] || fail "/dev/shm has $(find /dev/shm -maxdepth 3)"; }
opens_of_bundles() { grep -cE "open(at)?\(.*\"$site/[a-z]*\.tar\.zst\"" "$1"; }

test_a_system_program_stages_nothing_and_opens_no_bundle_twice() {
  local run
  export PYSHM_CACHE=$work/cache
  for run in 1 2; do
    equal "the output" "$(hostname)" "$(active bash "$tools/trace.sh" "$work/trace.$run" "$pyshm_run" --no-fallback hostname 2>"$work/said")"
    equal "the message" "" "$(cat "$work/said")"
    ! grep -qE 'mkdir(at)?\(.*/[0-9a-f]{16}' "$work/trace.$run" || fail "pyshm staged for hostname, which uses no bundle"
  done
  equal "opens of bundles by the first job" 3 "$(opens_of_bundles "$work/trace.1")"
  equal "opens of bundles by the second job" 0 "$(opens_of_bundles "$work/trace.2")"
  touch "$site/a.tar.zst"
  active bash "$tools/trace.sh" "$work/trace.3" "$pyshm_run" --no-fallback hostname >/dev/null || fail "the third run"
  equal "opens of bundles when one was packed again" 1 "$(opens_of_bundles "$work/trace.3")"
  contains "with -v" "$(active "$pyshm_run" -v hostname 2>&1)" "nothing is staged: the command uses no environment"
  nothing_left
}

test_only_the_environment_in_use_and_its_base_are_staged() {
  local code='import subprocess, sys; subprocess.run([sys.argv[1]])'
  equal "an environment's own python" "a base" "$("$pyshm_run" --no-fallback "$site/a/bin/python" -c "$code" "$site/staged")"
  equal "the bundles of the other environment" "b base" "$("$pyshm_run" --no-fallback "$site/b/bin/python" -c "$code" "$site/staged")"
  equal "a script while one is active" "a base" "$(active "$pyshm_run" --no-fallback "$site/staged")"
  equal "a wrapper before python" "a base" "$(active "$pyshm_run" --no-fallback timeout 60 python -c "$code" "$site/staged")"
  equal "a shell's command" "a base" "$(active "$pyshm_run" --no-fallback timeout 60 sh -c "$site/staged")"
  nothing_left
}

test_bundles_of_the_command_line_replace_configured_ones() {
  equal "staged prefixes" "b base" "$(VIRTUAL_ENV=$site/a "$pyshm_run" --no-fallback -b "$site/b.tar.zst" "$site/b/bin/python" -c 'import os, sys; os.system(sys.argv[1])' "$site/staged")"
  nothing_left
}

test_a_missing_bundle_is_named_if_others_are_staged() {
  export PYSHM_BUNDLES=$site/gone.tar.zst:$PYSHM_BUNDLES
  equal "staged prefixes" "a base" "$(active "$pyshm_run" --no-fallback --no-summary "$site/staged" 2>"$work/said")"
  contains "the message" "$(cat "$work/said")" "warning: failed to read bundle $site/gone.tar.zst: No such file or directory"
  equal "the message" "" "$(active "$pyshm_run" true 2>&1)"
  contains "with -v" "$(active "$pyshm_run" -v true 2>&1)" "$site/gone.tar.zst"
  nothing_left
}

test_a_missing_bundle_is_named_if_it_may_be_needed() {
  local said="pyshm-run: warning: failed to read bundle $site/gone.tar.zst: No such file or directory"
  export PYSHM_BUNDLES=$site/gone.tar.zst
  equal "an environment that is bundled by itself" "a base" "$("$pyshm_run" --no-fallback --no-summary "$site/a/bin/python" -c 'import os, sys; os.system(sys.argv[1])' "$site/staged" 2>"$work/said")"
  equal "the message" "$said" "$(cat "$work/said")"
  # If no interpreter is found, no environment is in use.
  ln -s /bin/busybox "$work/busybox"
  equal "the output of a program that is never bundled" hello "$(PATH=/nonexistent "$pyshm_run" "$work/busybox" echo hello 2>"$work/said")"
  equal "the message" "$said; running from the shared file system" "$(cat "$work/said")"
  PATH=/nonexistent "$pyshm_run" --no-fallback "$work/busybox" true 2>/dev/null; equal "exit status without a fallback" 66 $?
  equal "the output of hostname" "$(hostname)" "$("$pyshm_run" hostname 2>&1)"
  nothing_left
}

test_an_environment_that_no_bundle_covers_is_bundled_automatically() {
  mkdir -p "$work/own/bin"; cp "$site/a/pyvenv.cfg" "$work/own"; ln -s "$site/base/bin/python3" "$work/own/bin/python"
  mkdir "$work/else"; "$pyshm" bundle env "$work/else" -o "$work/else.tar.zst" -q || fail "the bundle"
  export PYSHM_BUNDLES=$work/else.tar.zst
  "$pyshm_run" -v --no-fallback "$work/own/bin/python" -c 'import sys; print(sys.prefix)' >"$work/out" 2>"$work/said" || fail "the run"
  equal "the prefix" "$work/own" "$(cat "$work/out")"
  contains "the message" "$(cat "$work/said")" "making the bundle of $work/own"
  nothing_left
}

# The command that would start the staging step makes the file `called`.
test_no_step_is_started_for_a_program_that_needs_nothing() {
  printf '#!/bin/sh\ntouch %s/called\nexit 1\n' "$work" >"$work/launch"; chmod 755 "$work/launch"
  printf '#!/bin/sh\nexec "$@"\n' >"$work/start"; chmod 755 "$work/start"
  launch() {
    active env PYSHM_BCAST=/bin/true PYSHM_BCAST_LAUNCH="$work/launch" PYSHM_PROGRAM="$1" "$pyshm_run" "$work/start" "$@" 2>"$work/said"
  }
  equal "the output of hostname" "$(hostname)" "$(launch hostname)"
  [ ! -e "$work/called" ] || fail "a step was started"
  equal "the message" "" "$(cat "$work/said")"
  equal "the output of python" hello "$(launch python -c 'print("hello")')"
  [ -e "$work/called" ] || fail "no step was started where one is needed"
  contains "the message" "$(cat "$work/said")" "running from the shared file system"
  nothing_left
}

run_tests
