#!/bin/bash
# build-mdsfs.sh [OUT]: builds mdsfs into OUT (default target/test-tools/mdsfs) if OUT is older than the sources; prints
# OUT.
set -euo pipefail
. "$(dirname "$(readlink -f "$0")")/common.sh"
source=$CHECKOUT/tests/cluster/mdsfs.c
out=${1:-$CHECKOUT/target/test-tools/mdsfs}
mkdir -p "$(dirname "$out")"
stale() { local part; for part in "${source%fs.c}"*.[ch]; do [ ! "$part" -nt "$out" ] || return 0; done; [ ! -e "$out" ]; }
if stale; then
    # shellcheck disable=SC2046
    gcc -O2 -Wall -Wextra -o "$out.$$" "$source" $(pkg-config --cflags --libs fuse3) -lpthread
    mv "$out.$$" "$out"
fi
echo "$out"
