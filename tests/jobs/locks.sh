#!/bin/bash
# Locks of processes on two nodes that share a file system: who keeps whom out is compared with a bare run.
. "$(dirname "$0")/harness.sh"
cluster_up 2
on() { VCLUSTER_WD=/ "$VCLUSTER" exec "$@"; }

# locks.py hold WAY: locks, says so, and lets go when its input ends; locks.py try WAY: says whether it can lock.
the_program() {
  cat >"$work/locks.py" <<'PY'
import fcntl, os, struct, subprocess, sys
act, way, tree = sys.argv[1], sys.argv[2], sys.argv[3]
kind, flags, what = way.split("-")
name = os.path.join(tree, {"file": "lock", "directory": "d", "parent": "lock", "inherited": "lock"}[what])
fd = os.open(name, os.O_RDONLY if flags == "reads" else os.O_RDWR)
if what == "inherited" and len(sys.argv) < 5:
    # The program that locks it has it from one that is no more.
    os.dup2(fd, 9)
    os.execv(sys.executable, [sys.executable, "-IS", *sys.argv, "9"])
elif what == "inherited":
    fd = 9
if act == "hold" and what == "parent":
    # One child that ended, and one that does not have the descriptor.
    subprocess.Popen(["true"]), subprocess.Popen(["sleep", "60"])
try:
    if kind == "shared": fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    elif kind == "exclusive": fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    elif kind == "record": fcntl.lockf(fd, (fcntl.LOCK_EX if flags == "writes" else fcntl.LOCK_SH) | fcntl.LOCK_NB, 4, 2)
    else: fcntl.fcntl(fd, 37, struct.pack("hhqqi4x", fcntl.F_WRLCK if flags == "writes" else fcntl.F_RDLCK, 0, 2, 4, 0))
    print(act, way, "locked", flush=True)
except OSError as error:
    print(act, way, os.strerror(error.errno), flush=True)
if act == "hold":
    sys.stdin.read()
    subprocess.run(["pkill", "-P", str(os.getpid()), "sleep"], check=False)
PY
}
ways="exclusive-reads-file exclusive-reads-parent exclusive-reads-inherited exclusive-reads-directory exclusive-writes-file shared-reads-file shared-writes-file
  record-reads-file record-writes-file description-reads-file description-writes-file"

# pairs [BEFORE-1 BEFORE-2]: each way to lock on n1 against each one on n2, with these words in front of python.
pairs() {
  local held tried
  for held in $ways; do
    # A shell is the parent, as in a job script.
    coproc HOLDER { on n1 sh -c '"$@"; :' - $1 python3 -IS "$work/locks.py" hold "$held" "$work/tree"; }
    local pid=$HOLDER_PID; read -r line <&"${HOLDER[0]}"; echo "$line"
    for tried in $ways; do
      on n2 $2 python3 -IS "$work/locks.py" try "$tried" "$work/tree"
    done
    exec {HOLDER[1]}>&-; wait "$pid" 2>/dev/null
    on n2 $2 python3 -IS "$work/locks.py" try exclusive-writes-file "$work/tree"
  done
}

test_locks_of_two_nodes_exclude_each_other() {
  mkdir -p "$work/tree/d"; echo lock >"$work/tree/lock"; the_program
  "$pyshm" bundle env "$work/tree" -o "$work/b.tar.zst" -q || fail "bundle"
  pairs "" "" >"$work/bare"
  local n
  for n in n1 n2; do on "$n" "$pyshm" stage -b "$work/b.tar.zst" >"$work/stage.$n" || fail "stage on $n"; done
  pairs "$(cat "$work/stage.n1")/bin/pyshm-exec" "$(cat "$work/stage.n2")/bin/pyshm-exec" >"$work/staged"
  diff "$work/bare" "$work/staged" || fail "locks differ: bare on the left"
  contains "the results" "$(cat "$work/staged")" "Resource temporarily unavailable"
  note "$(grep -c ^try "$work/staged") tries, $(grep -c 'unavailable$' "$work/staged") of them refused"
  for n in n1 n2; do on "$n" "$pyshm" unstage --all >/dev/null; done
}
run_tests
