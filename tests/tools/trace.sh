#!/bin/bash
# trace.sh OUTFILE cmd...: runs cmd under strace so that count_ops.py can count every path operation of cmd and its
# descendants, on all nodes if the remote shell is fake-ssh. OUTFILE gets one line for each call of any process, in the
# order of time. OUTFILE.cwd gets the directory in which cmd starts. The exit status is cmd's.
#
# If the ranks are not descendants of the launcher (srun, sshd), put trace.sh in front of the ranks' program. A `%` in
# OUTFILE is replaced by the names of the node and the process: /shared/t.%.
#
# Invariants: %file traces every call with a path argument. -y (paths of descriptors), fchdir, clone and fork show at which
# directory a relative name starts. --seccomp-bpf stops the program only at the traced calls. This option needs -f. It sets
# no_new_privs, so that setuid programs run as the caller.
set -eu
out=${1:?usage: trace.sh OUTFILE cmd...}
shift
out=${out//%/$(hostname).$$}
pwd -P >"$out.cwd"
exec strace -f -y -q -s 4096 --seccomp-bpf --signal=none \
    -e trace=%file,fchdir,clone,?clone3,?fork,?vfork -o "$out" -- "$@"
