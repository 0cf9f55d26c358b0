#!/bin/bash
# module-systems.sh DIR: unpacks Lmod and Tcl Environment Modules below DIR, one beside the other: as packages they conflict.
#
#   DIR/lmod.bash, DIR/tcl.bash   what a bash sources to have the one or the other
#
# Invariants: nothing outside DIR is written (what both run on, Lua and Tcl, comes from install-deps.sh); run again it
# does nothing.
set -euo pipefail
[ $# = 1 ] || { echo "usage: module-systems.sh DIR" >&2; exit 2; }
mkdir -p "$1"
dir=$(cd "$1" && pwd -P)
exec 9>"$dir/.lock"
flock 9

# unpack PACKAGE FILES…: into DIR/PACKAGE, the files changed to name that place instead of /.
unpack() {
    local package=$1 to=$dir/$1; shift
    [ ! -e "$to.stamp" ] || return 0
    rm -rf "$to" "$to.deb"; mkdir -p "$to" "$to.deb"
    # Root downloads as itself: apt's own user cannot write here.
    (cd "$to.deb" && apt-get -qq -o APT::Sandbox::User=root download "$package")
    dpkg -x "$to.deb"/*.deb "$to"
    (cd "$to" && grep -rlE '/(usr/share/lmod|etc/lmod|etc/environment-modules|usr/share/modules|usr/lib/[a-z0-9_-]*/(modulecmd|libtclenv))' "$@" |
        xargs -r sed -i -E "s#(^|[^A-Za-z0-9_./-])/(usr/share/lmod|etc/lmod|etc/environment-modules|usr/share/modules|usr/lib/[a-z0-9_-]*/(modulecmd|libtclenv))#\1$to/\2#g")
    touch "$to.stamp"
}
unpack lmod usr/share/lmod
unpack environment-modules usr/lib usr/share/modules etc
echo ". '$dir/lmod/usr/share/lmod/lmod/init/bash'" >"$dir/lmod.bash"
echo ". '$dir/environment-modules/usr/share/modules/init/bash'" >"$dir/tcl.bash"
