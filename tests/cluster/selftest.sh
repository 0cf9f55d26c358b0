#!/bin/bash
# selftest.sh [FLAVOR...]: tests the virtual cluster without pyshm, in about two minutes. Starts a new cluster, runs
# app.py twice with each launcher as root and as the ordinary user, compares the two runs, counts the operations of one
# run, and checks that `down` leaves nothing.
set -euo pipefail
here=$(cd "$(dirname "$(readlink -f "$0")")" && pwd -P)
VCLUSTER_DIR=$(mktemp -d /var/tmp/pyshm-selftest.XXXXXX)
. "$here/launch.sh"
tools=$CHECKOUT/tests/tools
[ $# -gt 0 ] || set -- "${FLAVORS[@]}"
fail() { echo "selftest: FAIL: $*" >&2; exit 1; }
trap '"$VCLUSTER" down; rmdir "$VCLUSTER_DIR" 2>/dev/null || true' EXIT

"$CHECKOUT/tests/env/make-env.sh" "$TEST_ENV"
python3 -m unittest discover -q -s "$tools" 2>/dev/null || fail "count_ops.py"
chmod 755 "$VCLUSTER_DIR"
"$VCLUSTER" up 4
case "$*" in *srun*) "$VCLUSTER" slurm ;; esac
work=$USER_HOME/work
install -d -m 777 "$work"
cd "$work"

for flavor in "$@"; do
    for who in root user; do
        option=()
        [ $who = root ] || option=(--user)
        for run in first second; do
            install -d -m 777 "$work/$flavor-$who-$run"
            timeout 120 "$here/run-mpi.sh" "${option[@]}" "$flavor" python "$tools/app.py" "$work/$flavor-$who-$run" \
                >"$run.out" 2>&1 || { cat "$run.out" >&2; fail "$flavor as $who"; }
        done
        python3 "$tools/compare.py" --size 8 "$flavor-$who-first" "$flavor-$who-second" || fail "$flavor as $who: runs differ"
        python3 - "$flavor-$who-first" "$who" <<'PYTHON' || fail "$flavor as $who: not four nodes, or the wrong MPI"
import glob, json, os, sys
records = [json.load(open(name)) for name in glob.glob(sys.argv[1] + "/rank-*.json")]
assert {r["size"] for r in records} == {8}, "size"
assert len({r["mpi"] for r in records}) == 1
assert ("venv-ompi" in records[0]["interpreter"]["sys.prefix"]) == ("Open MPI" in records[0]["mpi"])
assert {os.stat(f).st_uid for f in glob.glob(sys.argv[1] + "/rank-*")} == {0 if sys.argv[2] == "root" else 12345}
PYTHON
        echo "selftest: $flavor as $who: ok"
    done
done

install -d traced
"$here/run-mpi.sh" --before "$tools/trace.sh $work/trace" hydra python "$tools/app.py" "$work/traced" >traced.out 2>&1 ||
    fail "traced run"
total=$(python3 "$tools/count_ops.py" trace --under "$TEST_ENV/venv" --under "$TEST_ENV/base" --json |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["total"])')
[ "$total" -gt 8000 ] || fail "a bare run of 8 ranks has only $total operations, expected more than 8000"
echo "selftest: $total path operations on the environment in a bare run of 8 ranks"

cd /
"$VCLUSTER" down
[ ! -e "$VCLUSTER_DIR" ] || fail "down left $VCLUSTER_DIR"
! grep -q "$VCLUSTER_DIR" /proc/self/mounts || fail "down left mounts"
! grep -lqs "$VCLUSTER_DIR" /proc/[0-9]*/mountinfo || fail "down left namespaces"
echo "selftest: down left nothing"
