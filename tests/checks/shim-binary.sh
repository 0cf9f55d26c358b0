#!/bin/bash
# What libpyshm.so needs and exports: libc and the loader alone, no executable stack, the checked list of symbols.
set -e
shim=target/pyshm/lib/libpyshm.so
needed=$(readelf -d "$shim" | awk -F'[][]' '/NEEDED/ { print $2 }' | sort | tr '\n' ' ')
case $needed in "ld-linux-"*"libc.so.6 " | "libc.so.6 ") ;; *) echo "NEEDED is $needed" >&2; exit 1;; esac
if readelf -lW "$shim" | grep 'GNU_STACK.*E '; then echo "its stack is executable" >&2; exit 1; fi
readelf -d "$shim" | grep -q 'BIND_NOW\|FLAGS.*NOW' || { echo "it is not bound at once" >&2; exit 1; }
diff preload/exports.txt <(nm -D --defined-only "$shim" | awk '{ print $3 }' | sed 's/@.*//' | sort -u)
