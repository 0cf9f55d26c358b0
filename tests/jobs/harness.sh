# Sourced by every job test: runs the functions named test_*, each in a subshell of its own, and counts them.
#
# A test file defines test_… functions and ends with `run_tests`. A test fails when it returns non-zero; `check` and its
# like say why. $work is a new directory for each test, visible on every node of the virtual cluster.
set -uo pipefail

# By their real names: a bundle stands for a prefix's name, and a link on the way gives the prefix another one.
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
env_dir=$(readlink -f "$top/target/test-env")
venv=$env_dir/venv
venv_ompi=$env_dir/venv-ompi
pyshm=$top/target/pyshm/bin/pyshm
pyshm_run=$top/target/pyshm/bin/pyshm-run
tools=$top/tests/tools
# Each test sets these itself where it needs them.
unset PYSHM_CACHE PYSHM_STAGE PYSHM_DISABLE PYSHM_BCAST PYSHM_BCAST_LAUNCH LD_PRELOAD PYTHONDONTWRITEBYTECODE
export PYTHONHASHSEED=0

fail() { echo "    FAILED: $*" >&2; exit 1; }
# check WHAT COMMAND…: the command must succeed.
check() { local what=$1; shift; "$@" || fail "$what"; }
# note TEXT: a figure for the reader, shown also when the test passes.
note() { echo "       $*" >&3; }
# equal WHAT EXPECTED GOT
equal() { [ "$2" = "$3" ] || fail "$1: expected '$2', got '$3'"; }
# contains WHAT TEXT PATTERN
contains() { [[ $2 == *"$3"* ]] || fail "$1: no '$3' in: $2"; }

. "$top/tests/cluster/mounts.sh"
kept=("$top")
# As root each file has a /dev/shm of its own, so that what others have there does not matter, and a checkout that every user
# can reach.
if [ "$(id -u)" = 0 ] && [ -z "${PYSHM_TEST_ISOLATED:-}" ]; then
  PYSHM_TEST_ISOLATED=1 exec unshare --mount --propagation private bash "$0" "$@"
elif [ "${PYSHM_TEST_ISOLATED:-}" = 1 ]; then
  open_up "$top" && mount_over /dev/shm -t tmpfs -o mode=1777,size=8g tmpfs || exit 1
  export PYSHM_TEST_ISOLATED=done
fi

# cluster_up N: a virtual cluster of N nodes for this test file, gone when it ends, and launch.sh's functions. $scratch is
# a directory that goes with it.
cluster_up() {
  VCLUSTER_DIR=$(mktemp -d /var/tmp/pyshm-cluster.XXXXXX); chmod 755 "$VCLUSTER_DIR"
  scratch=$(mktemp -d /var/tmp/pyshm-scratch.XXXXXX); chmod 755 "$scratch"
  TEST_ENV=$env_dir
  . "$top/tests/cluster/launch.sh"
  trap '"$VCLUSTER" down; rm -rf "$VCLUSTER_DIR" "$scratch"' EXIT
  "$VCLUSTER" up "$1" || exit 1
}

# The bundle of an environment, made once for all test files, which may run at the same time: bundle_of NAME PREFIX prints its path.
bundle_of() {
  local bundle=$top/target/test-bundles/$1.tar.zst
  mkdir -p "${bundle%/*}"
  (flock 9; [ -e "$bundle" ] || "$pyshm" bundle env "$2" -o "$bundle" -q) 9>"$bundle.lock" || return 1
  echo "$bundle"
}

# tenths SECONDS: the tenths of a second that SECONDS of an idle machine are on this one, by the processes for each processor.
tenths() { awk -v cpus="$(nproc)" -v seconds="$1" '{ load = $1 / cpus; print int(10 * seconds * (load > 1 ? load : 1)) }' /proc/loadavg; }

# Directories whose operations are counted, as options for count_ops.py: the environment and its base interpreter.
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
