#!/bin/bash
# trace.sh OUTFILE cmd...: runs cmd under strace so that count_ops.py can count every path operation of it and of all
# its descendants, across nodes too where the remote shell is fake-ssh. OUTFILE gets one line per call, all processes
# in one file in the order of time; OUTFILE.cwd the directory in which cmd starts. Exit status: cmd's.
#
# Invariants: %file holds every call with a path argument; the others say which directory a relative name means
# (-y: descriptors, clone and fork: who inherits whose). --seccomp-bpf stops the program at these calls only; it needs
# -f, and it sets no_new_privs: setuid programs run as the caller. Under a launcher whose ranks are no descendants (srun,
# sshd), put trace.sh in front of the ranks' program, with `%` in OUTFILE for node and process: /shared/t.%.
set -eu
out=${1:?usage: trace.sh OUTFILE cmd...}
shift
out=${out//%/$(hostname).$$}
pwd -P >"$out.cwd"
exec strace -f -y -q -s 4096 --seccomp-bpf --signal=none \
    -e trace=%file,fchdir,clone,?clone3,?fork,?vfork -o "$out" -- "$@"
