#!/bin/bash
# tests/run.sh [--all | --list | NAME…]: builds pyshm and tests it; as root, on any x86-64 Linux.
#
#   (nothing)   runs a selection of the parts and lists the others; takes at most 15 minutes on two processors if the
#               checkout is built
#   --all       runs everything, in at most 45 minutes
#   --list      prints each part with its name, the seconds that it last took, and --all if only that option runs it
#   NAME…       runs every part whose name contains NAME: jobs/cluster, cluster, rust/, checks/docs
#
# The last line is `N passed, N failed`. The script installs the system packages that it needs, leaves nothing outside
# target/, and ends every process that it started.
#
# A part is a file of tests/checks or tests/jobs, a Rust test program (rust/unit and rust/doc are the tests beside the
# code), or one of tools/. parts.txt gives the time of each part. Two parts run at the same time: one of jobs/ and one of
# another kind, as long as parts of both kinds are left. PYSHM_TEST_LANES=1 runs one part after the other and shows the
# output of each part while the part runs. PYSHM_TEST_BUILT=1 skips the build and tests the installation in target/pyshm.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
top=$PWD
say() { printf '\n== %s\n' "$*"; }
stop() { echo "tests/run.sh: $*" >&2; exit 2; }

# all_parts: prints the name of every part. The names come from the files in tests/.
all_parts() {
  local file
  for file in tests/checks/*.sh; do echo "checks/$(basename "$file" .sh)"; done
  echo rust/unit; echo rust/doc
  for file in tests/*.rs tests/*/main.rs; do file=${file#tests/}; file=${file%.rs}; echo "rust/${file%/main}"; done
  echo tools/python; echo tools/hooks_off
  for file in tests/jobs/*.sh; do [ "$file" = tests/jobs/harness.sh ] || echo "jobs/$(basename "$file" .sh)"; done
}
declare -A seconds=() only_all=()
read_parts() {
  local name time flag there part
  while read -r name time flag; do
    case $name in '' | '#'*) continue ;; esac
    seconds[$name]=$time; [ "$flag" != all ] || only_all[$name]=1
  done <tests/parts.txt
  mapfile -t parts < <(all_parts)
  there=" ${parts[*]} "
  for part in "${parts[@]}"; do
    if [ -z "${seconds[$part]:-}" ]; then echo "tests/run.sh: tests/parts.txt has no line for $part" >&2; seconds[$part]=60; fi
  done
  for part in "${!seconds[@]}"; do [[ $there == *" $part "* ]] || echo "tests/run.sh: tests/parts.txt has a line for $part, but there is no such part" >&2; done
  # Times that were measured in this checkout replace those of parts.txt.
  for part in "${parts[@]}"; do
    if [ -e "target/test-times/$part" ]; then read -r "seconds[$part]" <"target/test-times/$part"; fi
  done
}

wanted=()
left_out=()
choose() {
  local part word found
  case ${1:-} in
    --all) [ $# = 1 ] || stop "--all takes no names"; wanted=("${parts[@]}") ;;
    '') for part in "${parts[@]}"; do if [ -n "${only_all[$part]:-}" ]; then left_out+=("$part"); else wanted+=("$part"); fi; done ;;
    *)
      for word; do
        case $word in -*) stop "there is no option $word; --help shows them" ;; esac
        found=
        for part in "${parts[@]}"; do [[ $part != *$word* ]] || found=1; done
        [ -n "$found" ] || stop "no part has $word in its name; --list shows them"
      done
      for part in "${parts[@]}"; do
        for word; do if [[ $part == *$word* ]]; then wanted+=("$part"); break; fi; done
      done ;;
  esac
}

read_parts
case ${1:-} in
  -h | --help) sed -n '2,/^set /s/^# \{0,1\}//p' "$0"; exit ;;
  --list)
    for part in "${parts[@]}"; do printf '%-26s %5s s  %s\n' "$part" "${seconds[$part]}" "${only_all[$part]:+--all}"; done
    exit ;;
  --contained) shift; choose "$@" ;;
  *)
    choose "$@"
    say "packages that the tests need"
    bash tests/env/install-deps.sh || stop "failed to install the packages; install those that are named above and run this again"
    exec bash tests/tools/contained.sh bash tests/run.sh --contained "$@" ;;
esac

if [ -z "${PYSHM_TEST_BUILT:-}" ]; then
  bash tests/env/make-env.sh "$top/target/test-env" --open-mpi-5 || stop "failed to make the test environment"
  say "build"
  MPICH_MPICC=$(bash tests/env/mpich-bin.sh "$top/target/test-env")/mpicc OPENMPI_MPICC=$(command -v mpicc.openmpi || true) \
    bash docs/build.sh || stop "failed to build"
fi
case " ${wanted[*]} " in
  *" rust/"* | *" tools/hooks_off "*)
    # The tests of pyshm-run and pyshm look for the shim and the trampoline in the same directory of target/ as these
    # programs.
    cargo build --workspace --quiet && cargo test --workspace --no-run --quiet || stop "failed to build the tests" ;;
esac
# If pyshm or an environment was made again, remove the old bundles.
build=$(cat target/pyshm/bin/pyshm target/test-env/*.stamp | cksum)
if [ "$(cat target/test-bundles/build 2>/dev/null)" != "$build" ]; then
  rm -rf target/test-bundles
  mkdir -p target/test-bundles && echo "$build" >target/test-bundles/build || stop "failed to write target/test-bundles"
fi
logs=$(mktemp -d /var/tmp/pyshm-logs.XXXXXX) || stop "failed to make a directory for the logs"
trap 'rm -rf "$logs"' EXIT

# run_part PART: runs a part and prints its output; writes its results to a file in $logs, a line `PASSED FAILED` for
# each group of tests.
run_part() {
  local part=$1 name=${1#*/} kind=${1%%/*} begun=$SECONDS code=0
  local results=$logs/$kind.$name.results
  : >"$results"
  say "$part"
  case $part in
    checks/*) bash "tests/checks/$name.sh" || code=$? ;;
    rust/unit) counted cargo test -p pyshm -p pyshm-core -p pyshm-format --lib --bins --no-fail-fast || code=$? ;;
    rust/doc) counted cargo test --workspace --doc --no-fail-fast || code=$? ;;
    rust/*) counted cargo test --test "$name" || code=$? ;;
    tools/python) python3 -m unittest discover -s tests/tools -p 'test_*.py' || code=$? ;;
    tools/hooks_off) python3 tests/tools/hooks_off.py || code=$? ;;
    jobs/*) RESULTS=$results bash "tests/jobs/$name.sh" || code=$? ;;
  esac
  # A part that counts no tests passes or fails as a whole. A part that counted only passed tests, but then ended with
  # an error, has failed too.
  if [ ! -s "$results" ]; then
    if [ $code = 0 ]; then echo "  ok   $part"; echo "1 0" >"$results"; else echo "  FAIL $part"; echo "0 1" >"$results"; fi
  elif [ $code != 0 ] && ! grep -q ' [1-9]' "$results"; then
    echo "  FAIL $part: exit status $code"; echo "0 1" >>"$results"
  fi
  mkdir -p "target/test-times/$kind"
  echo $((SECONDS - begun)) >"target/test-times/$part"
  echo "   $part took $((SECONDS - begun)) s"
}
# counted COMMAND…: runs a `cargo test` command and writes the counts that it prints to $results.
counted() {
  "$@" 2>&1 | tee "$results.said"
  local code=${PIPESTATUS[0]}
  sed -n 's/^test result: [A-Za-z]*\. \([0-9]*\) passed; \([0-9]*\) failed;.*/\1 \2/p' "$results.said" >"$results"
  return "$code"
}

# next_of KIND…: chooses the first KIND (jobs or code) that has parts which have not begun, and sets $next to the
# longest of these parts. Fails if no KIND has such a part.
next_of() {
  local kind part best
  for kind; do
    best=
    for part in "${waiting[@]}"; do
      case $part in
        jobs/*) [ "$kind" = jobs ] || continue ;;
        *) [ "$kind" = code ] || continue ;;
      esac
      if [ -z "$best" ] || [ "${seconds[$part]}" -gt "${seconds[$best]}" ]; then best=$part; fi
    done
    [ -z "$best" ] || { next=$best; return 0; }
  done
  return 1
}
# begin LANE: starts the next part in the background; lane 1 takes code first, lane 2 takes jobs first.
begin() {
  local kept=() part
  if [ "$1" = 1 ]; then next_of code jobs; else next_of jobs code; fi || return 0
  for part in "${waiting[@]}"; do [ "$part" = "$next" ] || kept+=("$part"); done
  waiting=(${kept[@]+"${kept[@]}"})
  running=$((running + 1))
  echo "   $next begins"
  { run_part "$next" >"$logs/${next/\//.}.log" 2>&1; echo "$1 $next" >"$ended"; } &
}

waiting=("${wanted[@]}")
if [ "${PYSHM_TEST_LANES:-2}" = 1 ] || [ ${#wanted[@]} = 1 ]; then
  for part in "${wanted[@]}"; do run_part "$part" 2>&1 | tee "$logs/${part/\//.}.log"; done
else
  ended=$logs/ended running=0
  mkfifo "$ended"
  exec 4<>"$ended"
  begin 1
  begin 2
  while [ $running -gt 0 ]; do
    read -r lane part <&4
    running=$((running - 1))
    cat "$logs/${part/\//.}.log"
    begin "$lane"
  done
  rm "$ended"
fi

if [ ${#left_out[@]} -gt 0 ]; then
  say "left out; --all runs these too"
  for part in "${left_out[@]}"; do printf '%-26s %5s s\n' "$part" "${seconds[$part]}"; done
fi
read -r passed failed < <(cat "$logs"/*.results | awk '{ p += $1; f += $2 } END { print p + 0, f + 0 }')
if [ "$failed" != 0 ]; then say "failed"; (cd "$logs" && grep -H '^  FAIL' ./*.log | sed 's|^\./||; s|[.]log:  FAIL|:|'); fi
printf '\n%s passed, %s failed\n' "$passed" "$failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
