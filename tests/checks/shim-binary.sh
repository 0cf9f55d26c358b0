#!/bin/bash
# Checks the ELF files of the shim and the trampoline.
#
# libpyshm.so needs no library except libc (musl's loader finds none of glibc's others) and no symbol
# newer than glibc 2.17. The shim has no thread-local storage, no executable stack and no code that panics. All symbols are
# bound when the loader loads the shim, and from then on their table is read-only. The shim exports the symbols of
# preload/exports.txt. The unwinder can search the shim's table of frames. The loader has little to do at the start of a
# process.
set -e
# The trampoline must be static, so that the loader looks for no library when a rank starts.
segments=$(readelf -lW target/pyshm/libexec/pyshm-exec)
! grep INTERP <<<"$segments" || { echo "target/pyshm/libexec/pyshm-exec is not static" >&2; exit 1; }
shim=target/pyshm/lib/libpyshm.so
fail() { echo "$shim: $*" >&2; exit 1; }
needed=$(readelf -d "$shim" | awk -F'[][]' '/NEEDED/ { print $2 }' | sort | tr '\n' ' ')
[ "$needed" = "libc.so.6 " ] || fail "NEEDED is $needed"
newest=$(readelf -VW "$shim" | grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -n 1)
[ -n "$newest" ] || fail "no symbol has a version"
[ "$(printf '%s\n' "$newest" GLIBC_2.17 | sort -V | tail -n 1)" = GLIBC_2.17 ] || fail "a symbol needs $newest, newer than GLIBC_2.17"
! readelf -SW "$shim" | grep -q '\.tdata\|\.tbss' || fail "it has thread-local storage"
readelf -lW "$shim" | grep -q 'GNU_STACK.*RW ' || fail "its stack is executable"
readelf -lW "$shim" | grep -q GNU_RELRO || fail "it has no RELRO"
readelf -d "$shim" | grep -q 'BIND_NOW\|FLAGS.*NOW' || fail "its symbols are not bound when it is loaded"
relocations=$(readelf -rW "$shim" | grep -c 'R_[A-Z0-9_]*')
[ "$relocations" -le 100 ] || fail "the loader has $relocations relocations to make: is there a new table of addresses?"
! readelf -SW "$shim" | grep -q ' \.data  ' || fail "it has data that is not zero, which the loader maps and a process copies"
# The loader reads the first 16 pages in any case, so the code that runs at every start must lie in them
# (preload/startup.ld).
for name in 'pyshm::init::init' 'pyshm_core::stage::find::find' 'pyshm_format::index::Index::parse'; do
    at=$(nm -C "$shim" | awk -v name="$name" '$2 ~ /[tT]/ && $3 == name { print $1 }')
    [ -n "$at" ] || fail "there is no function $name"
    [ $((16#$at)) -lt 65536 ] || fail "$name, which every start runs, lies at 0x$at, far from what the loader reads"
done
# No function may lie before .eh_frame_hdr, the table in which the unwinder looks up functions (preload/startup.ld).
table=$(readelf -SW "$shim" | sed 's/^ *\[ *[0-9]*\] //' | awk '$1 == ".eh_frame_hdr" { print $3 }')
first=$(nm "$shim" | awk '$2 ~ /[tTwW]/ { print $1 }' | sort | head -n 1)
[ -n "$table" ] && [ -n "$first" ] && [ $((16#$table)) -lt $((16#$first)) ] ||
    fail "code at 0x$first lies before .eh_frame_hdr at 0x$table: an exception through it finds no frame"
# The linker keeps a function only if another one calls it, so no function that panics may be in the file. First make sure
# that the file has names of functions, because without names the search would find no function.
functions=$(nm -C "$shim")
grep -q ' pyshm_core::decide::' <<<"$functions" || fail "it has no names of its own functions"
panics=$(grep -E 'panic|slice_index_fail|slice_error_fail|len_mismatch|unwrap_failed|expect_failed|begin_unwind' \
    <<<"$functions" || true)
[ -z "$panics" ] || fail "a hook may panic: $panics"
diff preload/exports.txt <(nm -D --defined-only "$shim" | awk '{ print $3 }' | sed 's/@.*//' | sort -u)
