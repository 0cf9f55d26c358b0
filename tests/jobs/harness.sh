# Runs the functions named test_*, each in its own subshell, and counts the passed and failed tests; sourced by every file
# of tests/jobs.
#
# A test file defines test_… functions and ends with `run_tests`. A test fails when it returns non-zero; `fail`,
# `check`, `equal` and `contains` print the reason. $work is a new directory for each test, visible on every node of the
# virtual cluster.
set -uo pipefail

# Use real paths, because a bundle is for one path of its prefix, and a symbolic link would give the prefix another path.
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
env_dir=$(readlink -f "$top/target/test-env")
venv=$env_dir/venv
venv_ompi=$env_dir/venv-ompi
pyshm=$top/target/pyshm/bin/pyshm
pyshm_run=$top/target/pyshm/bin/pyshm-run
tools=$top/tests/tools
# A test that needs one of these variables sets it.
unset PYSHM_CACHE PYSHM_STAGE PYSHM_DISABLE PYSHM_BCAST PYSHM_BCAST_LAUNCH LD_PRELOAD PYTHONDONTWRITEBYTECODE
export PYTHONHASHSEED=0

fail() { echo "    FAILED: $*" >&2; exit 1; }
# check WHAT COMMAND…: fails unless the command succeeds.
check() { local what=$1; shift; "$@" || fail "$what"; }
# note TEXT: prints a line even if the test passes.
note() { echo "       $*" >&3; }
# equal WHAT EXPECTED GOT: fails unless the two texts are equal.
equal() { [ "$2" = "$3" ] || fail "$1: expected '$2', got '$3'"; }
# contains WHAT TEXT PART: fails unless PART occurs in TEXT.
contains() { [[ $2 == *"$3"* ]] || fail "$1: no '$3' in: $2"; }

. "$top/tests/cluster/mounts.sh"
kept=("$top")
# As root each test file has its own /dev/shm, which no other process uses, and every user can enter the checkout.
if [ "$(id -u)" = 0 ] && [ -z "${PYSHM_TEST_ISOLATED:-}" ]; then
  PYSHM_TEST_ISOLATED=1 exec unshare --mount --propagation private bash "$0" "$@"
elif [ "${PYSHM_TEST_ISOLATED:-}" = 1 ]; then
  open_up "$top" && mount_over /dev/shm -t tmpfs -o mode=1777,size=8g tmpfs || exit 1
  export PYSHM_TEST_ISOLATED=done
fi

# cluster_up N: starts a virtual cluster of N nodes, makes the directory $scratch, and sources launch.sh. The cluster
# and the directory are removed when the test file ends.
cluster_up() {
  VCLUSTER_DIR=$(mktemp -d /var/tmp/pyshm-cluster.XXXXXX); chmod 755 "$VCLUSTER_DIR"
  scratch=$(mktemp -d /var/tmp/pyshm-scratch.XXXXXX); chmod 755 "$scratch"
  TEST_ENV=$env_dir
  . "$top/tests/cluster/launch.sh"
  trap '"$VCLUSTER" down; rm -rf "$VCLUSTER_DIR" "$scratch"' EXIT
  "$VCLUSTER" up "$1" || exit 1
}

# bundle_of NAME PREFIX: prints the path of an environment's bundle, which is made once for all test files.
bundle_of() {
  local bundle=$top/target/test-bundles/$1.tar.zst
  mkdir -p "${bundle%/*}"
  (flock 9; [ -e "$bundle" ] || "$pyshm" bundle env "$2" -o "$bundle" -q) 9>"$bundle.lock" || return 1
  echo "$bundle"
}

# tenths SECONDS: prints how many tenths of a second this machine may need for work that takes SECONDS on an idle machine.
# If several processes share a processor, the time is multiplied by their number.
tenths() { awk -v cpus="$(nproc)" -v seconds="$1" '{ load = $1 / cpus; print int(10 * seconds * (load > 1 ? load : 1)) }' /proc/loadavg; }

# watch PREFIX: prints options of count_ops.py that count the operations on an environment and its base interpreter.
watch() { local p; for p in $("$1/bin/python" -c 'import sys; print(*sorted({sys.prefix, sys.base_prefix}))'); do echo --under "$p"; done; }

run_tests() {
  exec 3>&1
  local name passed=0 failed=0 begun output
  for name in $(declare -F | awk '$3 ~ /^test_/ { print $3 }'); do
    [[ -z ${ONLY:-} || $name == *$ONLY* ]] || continue
    work=$(mktemp -d /var/tmp/pyshm-job.XXXXXX); chmod 755 "$work"; begun=$SECONDS
    output=$work.log
    if ( "$name" ) >"$output" 2>&1; then
      passed=$((passed + 1)); echo "  ok   ${name#test_} ($((SECONDS - begun)) s)"
    else
      failed=$((failed + 1)); echo "  FAIL ${name#test_} ($((SECONDS - begun)) s)"; sed 's/^/      /' "$output" | tail -n 40
    fi
    rm -rf "$work" "$output"
  done
  echo "$passed $failed" >> "${RESULTS:-/dev/null}"
  [ "$failed" = 0 ]
}
