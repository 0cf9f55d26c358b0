#!/bin/bash
# All tests: bash tests/run.sh [NAME…] (a name is a part of a file name in tests/jobs; none runs everything).
# Installs what it needs; leaves nothing behind outside target/.
set -uo pipefail
cd "$(dirname "$0")/.."
top=$PWD
say() { printf '\n== %s\n' "$*"; }
stop() { echo "tests/run.sh: $*" >&2; exit 1; }

say "what the tests need"
bash tests/env/install-deps.sh || stop "install what is named above and run this again"
bash tests/env/make-env.sh "$top/target/test-env" --open-mpi-5 || stop "failed to make the test environment"

say "build"
MPICH_MPICC=$(bash tests/env/mpich-bin.sh "$top/target/test-env")/mpicc OPENMPI_MPICC=$(command -v mpicc.openmpi || true) \
  bash docs/build.sh || stop "failed to build"

RESULTS=$(mktemp /var/tmp/pyshm-results.XXXXXX); export RESULTS
trap 'rm -f "$RESULTS"' EXIT
# Bundles of an older build are of no use.
rm -rf target/test-bundles

if [ $# = 0 ]; then
  say "the code itself"
  code() { # NAME COMMAND…
    local name=$1; shift
    if "$@"; then echo "  ok   $name"; echo "1 0" >> "$RESULTS"; else echo "  FAIL $name"; echo "0 1" >> "$RESULTS"; fi
  }
  for check in tests/checks/*.sh; do code "$(basename "$check" .sh)" bash "$check"; done

  say "unit and integration tests"
  # The tools' own tests find shim and trampoline beside the tools.
  code "cargo build" cargo build --workspace --quiet
  code "cargo test" cargo test --workspace --no-fail-fast
  code "every hook has a case that fails without it" python3 tests/tools/hooks_off.py
  code "python tests of the tools" python3 -m unittest discover -s tests/tools -p 'test_*.py'
fi

for file in tests/jobs/*.sh; do
  name=$(basename "$file" .sh)
  [ "$name" != harness ] || continue
  if [ $# != 0 ]; then
    wanted=; for part in "$@"; do [[ $name != *$part* ]] || wanted=1; done
    [ -n "$wanted" ] || continue
  fi
  say "$name"
  counted=$(wc -l <"$RESULTS")
  # One that ends before its tests has failed.
  bash "$file" || [ "$(wc -l <"$RESULTS")" -gt "$counted" ] || { echo "  FAIL $name"; echo "0 1" >> "$RESULTS"; }
done

read -r passed failed < <(awk '{ p += $1; f += $2 } END { print p + 0, f + 0 }' "$RESULTS")
printf '\n%s passed, %s failed\n' "$passed" "$failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
