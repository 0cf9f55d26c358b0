#!/bin/bash
# run-mpi.sh [options] FLAVOR PROGRAM...: runs PROGRAM (`python`: the flavor's interpreter) from n0 on the running
# cluster. launch.sh describes the flavors. The exit status is the launcher's.
#   --user           runs as the ordinary user with real ssh, not as root
#   --ranks N        starts N ranks (default 8), the same number on each node
#   --nodes N        uses N nodes (default 4)
#   --before WORDS   puts WORDS in front of the launcher; --inside WORDS puts them in front of PROGRAM
#   --set NAME=VALUE sets a variable of the launcher and of the ranks (repeatable); for Open MPI it adds the option -x
#   --show           prints the command line and does not run it
set -euo pipefail
. "$(dirname "$(readlink -f "$0")")/launch.sh"
who=root ranks=8 nodes=4 show=
before=() inside=() set_env=()
while [ $# -gt 0 ]; do
    case $1 in
        --user) who=user ;;
        --ranks) ranks=$2; shift ;;
        --nodes) nodes=$2; shift ;;
        --before) read -ra before <<<"$2"; shift ;;
        --inside) read -ra inside <<<"$2"; shift ;;
        --set) set_env+=("$2"); shift ;;
        --show) show=1 ;;
        --) shift; break ;;
        -*) sed -n '2,9p' "$0" >&2; exit 2 ;;
        *) break ;;
    esac
    shift
done
[ $# -ge 2 ] || { sed -n '2,9p' "$0" >&2; exit 2; }
flavor=$1
shift
[ "$1" != -- ] || shift
launch_words "$flavor" "$who" "$ranks" "$nodes"
[ "$1" != python ] || set -- "$PYTHON" "${@:2}"
if [ -n "$FORWARD" ]; then
    for pair in "${set_env[@]}"; do LAUNCH+=("$FORWARD" "${pair%%=*}"); done
fi
words=("${LOGIN[@]}" env "${LAUNCH_ENV[@]}" "${set_env[@]}" "${ALLOC[@]}" "${before[@]}" "${LAUNCH[@]}" "${inside[@]}" "$@")
if [ -n "$show" ]; then
    printf '%q ' "${words[@]}"
    echo
    exit
fi
exec "${words[@]}" </dev/null
