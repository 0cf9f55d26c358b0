#!/bin/bash
# contained.sh COMMAND…: runs COMMAND so that nothing that it starts outlives it, or this process: no process, mount or network,
# and nothing in /dev/shm, /var/tmp or the control groups of Slurm. Exit status: COMMAND's; 128 and the signal's number where
# one ended it.
#
# COMMAND sees its own processes alone, and directories of its own at /dev/shm and /var/tmp. The checkout is where it was, and
# open to every user, wherever it lies. Without root there are no such namespaces: what is left then is one process group.
#
# Invariants: a signal that ends this process (INT, TERM, HUP; KILL too) ends everything; what only KILL leaves in /var/tmp
# the next call removes.
set -u
here=$(cd "$(dirname "$(readlink -f "$0")")" && pwd -P)
top=$(cd "$here/../.." && pwd -P)

if [ "${1:-}" = --inside ]; then
    # The first process of the namespace: the others end with it.
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
# Background processes of a script ignore Ctrl-C, except those of a job of their own.
run() {
    set -m
    setpriv --pdeathsig KILL "$@" </dev/null &
    child=$!
    set +m
    wait "$child"
}
# The processes of Slurm's control groups that are frozen do not die.
thaw() { [ -z "$groups" ] || find "$groups" -name freezer.state -exec sh -c 'for file; do echo THAWED >"$file"; done' thaw {} + 2>/dev/null; }
end() { # SIGNAL'S NUMBER
    local first
    trap '' INT TERM HUP
    if [ -n "$child" ]; then
        # In namespaces: unshare ends when their first process has, and all others with that one.
        first=-$child
        [ "$(id -u)" -ne 0 ] || read -r first _ <"/proc/$child/task/$child/children"
        kill -KILL -- "${first:--$child}" 2>/dev/null
        # A stopped one (Ctrl-Z) would never see it.
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

# remove HOLD: what a call has left.
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
    # One that still runs has it locked.
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
