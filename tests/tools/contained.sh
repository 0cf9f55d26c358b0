#!/bin/bash
# contained.sh COMMAND…: runs COMMAND. When COMMAND or this script ends, removes everything that COMMAND started or left:
# processes, mounts, networks, control groups of Slurm, and files in /dev/shm and /var/tmp. The exit status is COMMAND's, or
# 128 and the number of the signal that ended this script.
#
# COMMAND sees only its own processes, and has its own /dev/shm and /var/tmp. The checkout keeps its path, and every
# user can enter it. Without root there are no namespaces, and COMMAND only gets its own process group.
#
# Invariants: a signal that ends this script (INT, TERM, HUP, KILL) ends all processes. After KILL a directory is left in
# /var/tmp. The next call of contained.sh removes this directory.
set -u
here=$(cd "$(dirname "$(readlink -f "$0")")" && pwd -P)
top=$(cd "$here/../.." && pwd -P)

if [ "${1:-}" = --inside ]; then
    # This shell is the first process of the PID namespace. When it ends, the kernel ends the other processes.
    hold=$2
    shift 2
    . "$top/tests/cluster/mounts.sh"
    kept=("$top")
    open_up "$top" && mount_over /dev/shm -t tmpfs -o mode=1777 tmpfs && mount_over /var/tmp --bind "$hold" || exit 1
    cd "$PWD" || exit 1
    "$@"
    exit
fi

child=
groups=
# Without job control (set -m) a background process would ignore Ctrl-C.
run() {
    set -m
    setpriv --pdeathsig KILL "$@" </dev/null &
    child=$!
    set +m
    wait "$child"
}
# thaw: thaws the processes that Slurm has frozen in its control groups, because a frozen process does not die.
thaw() { [ -z "$groups" ] || find "$groups" -name freezer.state -exec sh -c 'for file; do echo THAWED >"$file"; done' thaw {} + 2>/dev/null; }
end() { # SIGNAL'S NUMBER
    local first
    trap '' INT TERM HUP
    if [ -n "$child" ]; then
        # Root kills the first process of the PID namespace. Then the kernel kills all other processes of the namespace, and
        # unshare ends.
        first=-$child
        [ "$(id -u)" -ne 0 ] || read -r first _ <"/proc/$child/task/$child/children"
        kill -KILL -- "${first:--$child}" 2>/dev/null
        # A process that was stopped (Ctrl-Z) must continue before it can end.
        while kill -CONT "$child" 2>/dev/null; do thaw; sleep 0.05; done
    fi
    exit $((128 + $1))
}
trap 'end 2' INT
trap 'end 15' TERM
trap 'end 1' HUP

if [ "$(id -u)" -ne 0 ]; then
    run "$@"
    exit
fi

# remove HOLD: removes the directory and the control groups of a call.
remove() {
    groups=/sys/fs/cgroup/freezer/${1##*/}
    if [ -d "$groups" ]; then
        thaw
        for _ in $(seq 100); do
            find "$groups" -depth -type d -exec rmdir {} + 2>/dev/null
            [ -d "$groups" ] || break
            sleep 0.05
        done
    fi
    rm -rf --one-file-system "$1"
}
for old in /var/tmp/pyshm-tests.*; do
    # A call that still runs holds a lock on its directory.
    if [ -d "$old" ] && exec {lock}<"$old"; then
        ! flock -n "$lock" || remove "$old"
        exec {lock}<&-
    fi
done

hold=$(mktemp -d /var/tmp/pyshm-tests.XXXXXX) && chmod 1777 "$hold" || exit 1
exec {lock}<"$hold" && flock "$lock" || exit 1
trap 'remove "$hold"' EXIT
groups=
if mkdir "/sys/fs/cgroup/freezer/${hold##*/}" 2>/dev/null; then
    groups=/sys/fs/cgroup/freezer/${hold##*/}
    export VCLUSTER_FREEZER=$groups
fi
run unshare --mount --ipc --pid --fork --kill-child --mount-proc --propagation private bash "$here/contained.sh" --inside "$hold" "$@"
