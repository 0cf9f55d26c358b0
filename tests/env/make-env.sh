#!/bin/bash
# make-env.sh DIR [--open-mpi-5] [--large] [--larger]: makes the Python environments of the tests below DIR (e.g. target/test-env).
#
#   DIR/base       a copy of the interpreter's prefix that an ordinary user can read; absent if the interpreter is the
#                  system's (/usr), which is never bundled
#   DIR/venv       a venv of that interpreter with numpy, scipy, mpi4py, and MPICH with mpicc and mpiexec
#   DIR/venv-ompi  a venv without MPICH, in which mpi4py uses the system's Open MPI
#   DIR/venv-ompi5 --open-mpi-5: a venv with mpi4py, and Open MPI 5 with mpicc and mpirun
#   DIR/prefix     --large: a prefix of some 600 MB for staging benchmarks: a copy of the interpreter's
#                  prefix or, if the interpreter is the system's, a venv with copied binaries
#   DIR/larger     --larger: a prefix with more packages, some 1.1 GB
#
# Invariants: the script writes only to DIR and pip's cache. A second run changes nothing (DIR/*.stamp say what each
# environment was made from). All .pyc files are made, even if PYTHONDONTWRITEBYTECODE is set. Libraries have absolute
# RUNPATHs, as in a prefix that was built in place.
set -euo pipefail
here=$(cd "$(dirname "$(readlink -f "$0")")" && pwd)
usage() { echo "usage: make-env.sh DIR [--open-mpi-5] [--large] [--larger]" >&2; exit 2; }

ompi5=
large=
larger=
dir=
for word in "$@"; do
    case $word in
        --open-mpi-5) ompi5=1 ;;
        --large) large=1 ;;
        --larger) larger=1 ;;
        -*) usage ;;
        *) [ -z "$dir" ] || usage; dir=$word ;;
    esac
done
[ -n "$dir" ] || usage
mkdir -p "$dir"
dir=$(cd "$dir" && pwd -P)
umask 022
unset PYTHONDONTWRITEBYTECODE PYTHONPATH PYTHONHOME VIRTUAL_ENV PYTHONSTARTUP
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PIP_NO_INPUT=1

# Tests that run at the same time all call this script. The first one makes the environments, and the others wait for the
# lock.
exec 9>"$dir/.lock"
flock 9

# `python3` may be a wrapper script (pyenv), so ask the interpreter for its prefix.
python=${PYTHON:-python3}
read -r base_prefix version < <("$python" -I -c \
    'import sys; print(sys.base_prefix, "%d.%d" % sys.version_info[:2])')
"$python" -I -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "make-env.sh: $python is older than 3.11" >&2
    exit 1
}
case $base_prefix in / | /usr) system_base=1 ;; *) system_base= ;; esac

# Raise `recipe` when existing environments must be made again. The stamps do not depend on the text of this script,
# because then each edit would make the environments again while jobs use them.
recipe=1
stamp_of() { { echo "$recipe $dir $base_prefix $("$python" -I -VV)"; cat /dev/null "$@"; } | sha256sum | cut -d' ' -f1; }
fresh() { [ "$(cat "$dir/$1.stamp" 2>/dev/null)" = "$2" ]; }
say() { echo "make-env.sh: $*" >&2; }

# copy_base TO: copies the interpreter's prefix to TO, without tests, static libraries and installed packages. Replaces
# the old prefix by TO in every text file and RPATH of the copy.
copy_base() {
    local to=$1 file rpath
    rm -rf "$to"
    mkdir -p "$to"
    (cd "$base_prefix" && tar -cf - --exclude="./lib/python$version/site-packages/*" \
        --exclude="./lib/python$version/test" --exclude="./lib/python$version/idlelib" \
        --exclude="./lib/python$version/*/test" --exclude="./lib/python$version/*/tests" \
        --exclude="./lib/python$version/tkinter" --exclude="./lib/python$version/EXTERNALLY-MANAGED" \
        --exclude='*.a' --exclude='__pycache__' \
        ./bin/python* ./lib ./include) | tar -C "$to" -xf -
    { grep -rlI --exclude='*.py' -- "$base_prefix" "$to/bin" "$to/lib" || true
      grep -lI -- "$base_prefix" "$to/lib/python$version"/_sysconfigdata*.py || true; } |
        while read -r file; do [ -L "$file" ] || sed -i "s|$base_prefix|$to|g" "$file"; done
    find "$to/bin" "$to/lib" -type f \( -name '*.so*' -o -name "python$version" \) | while read -r file; do
        rpath=$(patchelf --print-rpath "$file" 2>/dev/null) || continue
        case $rpath in
            *"$base_prefix"*) patchelf --set-rpath "${rpath//"$base_prefix"/"$to"}" "$file" ;;
        esac
    done
    ln -sf "python$version" "$to/bin/python"
}

interpreter() { if [ -n "$system_base" ]; then echo "$base_prefix/bin/python$version"; else echo "$dir/base/bin/python$version"; fi; }

# make_venv NAME requirements…: makes a venv with these packages.
make_venv() {
    local name=$1 file args=()
    shift
    for file in "$@"; do args+=(-r "$file"); done
    rm -rf "${dir:?}/$name"
    "$(interpreter)" -m venv "$dir/$name"
    "$dir/$name/bin/python" -m pip install -q --only-binary :all: "${args[@]}"
    compile "$dir/$name/bin/python" "$dir/$name/lib"
}

# compile PYTHON DIR: makes the .pyc files below DIR. Ignores errors, because some files of packages are named *.py but
# are templates and not Python.
compile() { "$1" -m compileall -q -j 2 "$2" >/dev/null 2>&1 || true; }

need=("$here/requirements.txt")
if [ -z "$system_base" ]; then
    stamp=$(stamp_of)
    if ! fresh base "$stamp"; then
        say "base: a copy of $base_prefix"
        copy_base "$dir/base"
        compile "$dir/base/bin/python" "$dir/base/lib"
        echo "$stamp" >"$dir/base.stamp"
    fi
fi
stamp=$(stamp_of "${need[@]}" "$here/requirements-mpich.txt")
if ! fresh venv "$stamp"; then
    say "venv"
    make_venv venv "${need[@]}" "$here/requirements-mpich.txt"
    echo "$stamp" >"$dir/venv.stamp"
fi
stamp=$(stamp_of "${need[@]}")
if ! fresh venv-ompi "$stamp"; then
    say "venv-ompi"
    make_venv venv-ompi "${need[@]}"
    echo "$stamp" >"$dir/venv-ompi.stamp"
fi
if [ -n "$ompi5" ]; then
    stamp=$(stamp_of "$here/requirements-ompi5.txt")
    if ! fresh venv-ompi5 "$stamp"; then
        say "venv-ompi5"
        make_venv venv-ompi5 "$here/requirements-ompi5.txt"
        echo "$stamp" >"$dir/venv-ompi5.stamp"
    fi
fi

# make_prefix NAME requirements…: makes a prefix with its own interpreter.
make_prefix() {
    local name=$1 stamp file args=()
    shift
    stamp=$(stamp_of "$@")
    if fresh "$name" "$stamp"; then return; fi
    say "$name"
    rm -rf "${dir:?}/$name"
    if [ -n "$system_base" ]; then
        "$(interpreter)" -m venv --copies "$dir/$name"
    else
        copy_base "$dir/$name"
        "$dir/$name/bin/python" -m ensurepip >/dev/null
    fi
    for file in "$@"; do args+=(-r "$file"); done
    "$dir/$name/bin/python" -m pip install -q --only-binary :all: "${args[@]}"
    compile "$dir/$name/bin/python" "$dir/$name/lib"
    echo "$stamp" >"$dir/$name.stamp"
}

need+=("$here/requirements-mpich.txt" "$here/requirements-large.txt")
if [ -n "$large" ]; then make_prefix prefix "${need[@]}"; fi
if [ -n "$larger" ]; then make_prefix larger "${need[@]}" "$here/requirements-larger.txt"; fi
