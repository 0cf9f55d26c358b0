#!/bin/bash
# docs/build.sh [--no-mpi]: builds pyshm into target/pyshm/{bin,lib,libexec}.
#
#   bin/pyshm bin/pyshm-run            the tools
#   lib/libpyshm.so                    the shim, which ranks load
#   libexec/pyshm-exec                 the trampoline
#   libexec/pyshm-bcast-mpich          the broadcast helper for MPICH, Intel MPI, Cray MPICH …
#   libexec/pyshm-bcast-openmpi        the broadcast helper for Open MPI
#
# A broadcast helper is built for each MPI whose mpicc is found. MPICH_MPICC and OPENMPI_MPICC name the mpicc of an MPI; `none`
# leaves this MPI out. Otherwise the mpicc on PATH is used, and the libraries that it links tell its MPI. Without MPI, and with
# --no-mpi, no helper is built; jobs on one node need none. The build needs cargo and a C compiler, and libclang for the helpers.
# PYSHM_BUILD_DIR (default: target) and PYSHM_PREFIX (default: target/pyshm) choose other directories.
set -euo pipefail

cd "$(dirname "$(readlink -f "$0")")/.."
with_mpi=1
for word in "$@"; do
    case $word in
        --no-mpi) with_mpi= ;;
        -h | --help) sed -n '2,13s/^# \{0,1\}//p' "$0"; exit ;;
        *) echo "build.sh: unknown option $word; --help lists the options" >&2; exit 2 ;;
    esac
done
build=${PYSHM_BUILD_DIR:-target}
prefix=${PYSHM_PREFIX:-target/pyshm}

say() { echo "build.sh: $*" >&2; }
die() { say "$*"; exit 1; }
command -v cargo >/dev/null || die "failed to find cargo: install Rust (https://rustup.rs)"

# put FROM TO: replaces the file TO by a copy of FROM. TO is not written into, because it may be a running program.
put() {
    mkdir -p "$(dirname "$2")"
    cp "$1" "$2.new.$$"
    mv -f "$2.new.$$" "$2"
}

# kind_of MPICC: prints the MPI that MPICC belongs to: mpich, openmpi or nothing.
kind_of() {
    local shown
    shown=$("$1" -show 2>/dev/null || "$1" --showme 2>/dev/null) || return 0
    case "$shown $("$1" --showme:version 2>/dev/null || true)" in
        *[Oo]pen*MPI* | *openmpi* | *ompi*) echo openmpi ;;
        *mpich* | *-lmpi*) echo mpich ;;
    esac
}

# libdirs_of MPICC: prints the directories that MPICC links from, because cargo does not pass on its rpath.
libdirs_of() {
    { "$1" -show 2>/dev/null || "$1" --showme:link; } | tr ' ' '\n' | sed -n 's/^-L//p' | sort -u
    { "$1" -show 2>/dev/null || true; } | tr ' ' '\n' | sed -n 's/^-Wl,-rpath,//p; s/^-Wl,-rpath=//p' | sort -u
}

# find_mpicc KIND GIVEN: prints the mpicc of the MPI KIND: GIVEN if it is not empty, else the first one on PATH. Prints nothing
# if GIVEN is "none" or none is found.
find_mpicc() {
    local wanted=$1 given=$2 dir name
    [ "$given" != none ] || return 0
    if [ -n "$given" ]; then
        command -v "$given" >/dev/null || die "failed to find $given"
        echo "$given"
        return
    fi
    local IFS=:
    for dir in $PATH; do
        for name in mpicc "mpicc.$wanted"; do
            if [ -x "$dir/$name" ] && [ "$(kind_of "$dir/$name")" = "$wanted" ]; then
                echo "$dir/$name"
                return
            fi
        done
    done
}

# find_libclang: whether libclang is installed.
find_libclang() {
    [ -z "${LIBCLANG_PATH:-}" ] || return 0
    command -v llvm-config >/dev/null && return 0
    ldconfig -p 2>/dev/null | grep -q libclang && return 0
    compgen -G '/usr/lib/llvm*/lib/libclang*.so*' >/dev/null || compgen -G '/usr/lib*/libclang*.so*' >/dev/null
}

say "building the tools and the shim"
cargo build --locked --release --target-dir "$build" -p pyshm --bins
# The shim and the trampoline are each optimized as one module. Otherwise a call from one crate into another would go through
# an address that the loader fills in at every start.
cargo rustc --locked --release --target-dir "$build" -p pyshm-preload --lib -- -C lto=fat
# The trampoline is linked statically if the C library is installed as an archive (RHEL: glibc-static). Otherwise the loader
# looks for the trampoline's libc along each rank's LD_LIBRARY_PATH, which may lead to the shared file system.
static=()
if echo 'int main(void) { return 0; }' | cc -static-pie -x c -o /dev/null - 2>/dev/null; then
    static=(-C target-feature=+crt-static -C strip=symbols)
else
    say "no static C library (RHEL: glibc-static): each rank looks along LD_LIBRARY_PATH for libexec/pyshm-exec's libc"
fi
cargo rustc --locked --release --target-dir "$build" -p pyshm-exec --bin pyshm-exec -- -C lto=fat ${static[@]+"${static[@]}"}
put "$build/release/pyshm" "$prefix/bin/pyshm"
put "$build/release/pyshm-run" "$prefix/bin/pyshm-run"
put "$build/release/libpyshm.so" "$prefix/lib/libpyshm.so"
put "$build/release/pyshm-exec" "$prefix/libexec/pyshm-exec"

built=
for kind in mpich openmpi; do
    [ -n "$with_mpi" ] || break
    variable=${kind^^}_MPICC
    mpicc=$(find_mpicc "$kind" "${!variable:-}")
    if [ -z "$mpicc" ]; then
        say "found no mpicc of $kind, so libexec/pyshm-bcast-$kind is not built (set $variable to build it)"
        continue
    fi
    find_libclang || die "failed to find libclang, which generates the MPI bindings: install it (Debian: apt install \
libclang-dev), set LIBCLANG_PATH to its directory, or build with --no-mpi"
    flags=${RUSTFLAGS:-}
    # The helper gets an RPATH, which takes precedence over LD_LIBRARY_PATH: a job's environment must not bring another libmpi.
    for dir in $(libdirs_of "$mpicc"); do
        flags="$flags -C link-arg=-Wl,--disable-new-dtags,-rpath,$dir"
    done
    say "building pyshm-bcast-$kind with $mpicc"
    # One target directory per MPI, because cargo does not notice that MPICC changed.
    MPICC=$mpicc RUSTFLAGS=$flags cargo build --locked --release --target-dir "$build/$kind" -p pyshm \
        --features mpi --bin pyshm-bcast
    put "$build/$kind/release/pyshm-bcast" "$prefix/libexec/pyshm-bcast-$kind"
    built="$built $kind"
done
say "done: $prefix, broadcast helpers for${built:- no MPI}"
