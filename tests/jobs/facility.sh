#!/bin/bash
# Tests that real programs behave as without pyshm if a facility puts the library into LD_PRELOAD of every process. Each
# case of tests/facility is a bash script that prints its results. The script runs three times: bare; with the library
# preloaded but no stage, as after `module load`; and with the stage of a real environment, as in a job. The outputs and
# exit statuses must be the same.
#
# `bash tests/jobs/facility.sh --table` prints docs/programs.md. A test compares this output with the document, so that the
# document names only programs that run here. The first line of a case names the programs. If a case is known to differ, a
# line before the first line says where and why. Then the test fails if the case does not differ.
. "$(dirname "$0")/harness.sh"
cases=$top/tests/facility

# said CASE KEY: prints the text behind `# differs KEY: ` in a case.
said() { sed -n "s/^# differs $2: //p" "$cases/$1.sh"; }
title() { grep -v '^# differs ' "$cases/$1.sh" | sed -n '1s/^# //p'; }
names() { local f; for f in "$cases"/*.sh; do basename "$f" .sh; done; }
table() {
  cat <<'MD'
# Programs under the preloaded library

Each of these programs prints the same and returns the same exit status, whether `libpyshm.so` is in `LD_PRELOAD` of every process
or not. In the column *by a module*, the library of an installation is preloaded and there is no stage, as on a login node. In the
column *in a job*, the library of a stage with a real environment is preloaded. `bash tests/jobs/facility.sh --table` prints this page from the cases in `tests/facility`, and
`bash tests/run.sh facility` runs them.

| case | what is run | by a module | in a job |
| --- | --- | --- | --- |
MD
  local name module job
  for name in $(names); do
    module=$(said "$name" "by a module") job=$(said "$name" "in a job")
    echo "| $name | $(title "$name") | ${module:-the same} | ${job:-the same} |"
  done
}
[ "${1:-}" != --table ] || { table; exit; }

export LC_ALL=C TZ=UTC GIT_CONFIG_NOSYSTEM=1 tools venv ASAN_OPTIONS=detect_leaks=0 PYTHONDONTWRITEBYTECODE=1
unset PYSHM_CONTAINERS DISPLAY TMUX LESS MANPATH MAKEFLAGS HISTFILE
both=$(mktemp -d /var/tmp/pyshm-facility.XXXXXX); chmod 755 "$both"
trap 'rm -rf "$both"; "$pyshm" unstage --all >/dev/null 2>&1' EXIT

# The library lies as in an installation. Each loader replaces `$LIB` by its own directory, so 32-bit programs find an empty
# library.
installed='/$LIB/libpyshm.so'
lib() { "$1" --list-diagnostics | sed -n 's/^dl_dst_lib="\(.*\)"/\1/p'; }
install_library() {
  local wide narrow
  wide=$both/site/$(lib /lib64/ld-linux-x86-64.so.2) narrow=$both/site/$(lib /lib/ld-linux.so.2)
  mkdir -p "$wide" "$narrow" && cp "$top/target/pyshm/lib/libpyshm.so" "$wide/" &&
    echo 'char empty;' | gcc -m32 -shared -nostdlib -Wl,-soname,libpyshm.so -x c -o "$narrow/libpyshm.so" -
}
install_library || { echo "failed to copy the library into the directories of \$LIB below $both"; exit 1; }
bundle=$(bundle_of venv "$venv") && stage=$("$pyshm" stage -b "$bundle") || { echo "failed to stage $venv"; exit 1; }

# run HOW CASE: runs a case once, in a directory that has the same name each time.
run() {
  local start=()
  case $1 in
    module) start=(env "LD_PRELOAD=$both/site$installed") ;;
    job) start=("$stage/bin/pyshm-exec") ;;
  esac
  rm -rf "$both/run"; mkdir -p "$both/run/home" "$both/run/w"
  ( cd "$both/run/w" && HOME=$both/run/home typed=$tools/typed.py exec timeout 600 "${start[@]}" bash "$cases/$2.sh" ) >"$both/$1" 2>&1 </dev/null
  echo "exit status $?" >>"$both/$1"
}

# compare CASE HOW KEY: compares the preloaded run HOW with the bare run.
compare() {
  local reason; reason=$(said "$1" "$3")
  if diff "$both/bare" "$both/$2" >"$both/diff"; then
    [ -z "$reason" ] || { echo "    FAILED: $1 no longer differs $3" >&2; return 1; }
  elif [ -z "$reason" ]; then
    echo "    FAILED: $1 differs $3 (< bare, > preloaded): $(head -n 30 "$both/diff")" >&2; return 1
  fi
}

test_docs_programs_md_lists_the_cases() {
  diff "$top/docs/programs.md" <(table) || fail "docs/programs.md is not what bash tests/jobs/facility.sh --table prints"
  [ "$(names | wc -l)" -ge 30 ] || fail "there are only $(names | wc -l) cases"
}

test_programs_do_what_they_do_bare() {
  local name failed=0
  for name in $(names); do
    [[ -z ${CASE:-} || $name == "$CASE" ]] || continue
    run bare "$name"
    # A case that breaks off early or prints nothing would pass without comparing anything.
    [ "$(wc -l <"$both/bare")" -gt 2 ] || fail "$name prints nothing bare: $(cat "$both/bare")"
    ! grep -E "^exit status 124|/$name.sh: line [0-9]+: .*not found" "$both/bare" || fail "$name cannot run here: $(tail -n 5 "$both/bare")"
    run module "$name"; compare "$name" module "by a module" || failed=1
    run job "$name"; compare "$name" job "in a job" || failed=1
  done
  return "$failed"
}

# Compares the system calls of a start without a stage with those of a start with an empty library.
test_a_start_without_a_stage_makes_no_call_for_it() {
  local wide=$both/site/lib; mkdir -p "$wide"; cp "$top/target/pyshm/lib/libpyshm.so" "$wide/"
  echo 'char empty;' | gcc -shared -nostdlib -x c -o "$work/empty.so" - || fail gcc
  calls() { strace -f -o "$work/calls" -E LD_PRELOAD="$1" /bin/true && sed -n 's/^[0-9]* *\([a-z0-9_]*\)(.*/\1/p' "$work/calls" | sort; }
  calls "$work/empty.so" >"$work/empty"; [ "$(wc -l <"$work/empty")" -gt 20 ] || fail "$(cat "$work/calls")"
  local where; where=$both/site/$(lib /lib64/ld-linux-x86-64.so.2)/libpyshm.so
  equal "by its path" "" "$(calls "$where" | comm -13 "$work/empty" - | tr '\n' ' ')"
  # The loader asks for the program's path if LD_PRELOAD contains a dollar sign.
  equal "by \$LIB" "readlink " "$(calls "$both/site$installed" | comm -13 "$work/empty" - | tr '\n' ' ')"
  # A library in a directory `lib` may lie in a stage, so the shim looks for one.
  equal "in a directory lib" "geteuid newfstatat openat " "$(calls "$wide/libpyshm.so" | comm -13 "$work/empty" - | tr '\n' ' ')"
}

# Programs that the cases start have the library, which is active only if there is a stage.
test_started_programs_have_the_library() {
  contains "by a module" "$(PYSHM_LOG=1 LD_PRELOAD="$both/site$installed" bash -c /bin/true 2>&1)" "pyshm: inactive: libpyshm.so does not lie in a stage"
  contains "in a job" "$(PYSHM_LOG=1 "$stage/bin/pyshm-exec" bash -c /bin/true 2>&1)" "pyshm: active ($stage)"
}

run_tests
