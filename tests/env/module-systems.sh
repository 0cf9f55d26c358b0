#!/bin/bash
# module-systems.sh DIR: unpacks Lmod and Tcl Environment Modules below DIR, because their packages conflict and cannot
# both be installed. install-deps.sh installs Lua and Tcl.
#
#   DIR/lmod.bash   sets up Lmod in a bash that sources it
#   DIR/tcl.bash    sets up Tcl Environment Modules in the same way
#
# Invariants: the script writes only to DIR; a second run changes nothing.
set -euo pipefail
[ $# = 1 ] || { echo "usage: module-systems.sh DIR" >&2; exit 2; }
mkdir -p "$1"
dir=$(cd "$1" && pwd -P)
exec 9>"$dir/.lock"
flock 9

# unpack PACKAGE FILES…: unpacks PACKAGE into DIR/PACKAGE, and puts this directory before the absolute paths in FILES.
unpack() {
    local package=$1 to=$dir/$1; shift
    [ ! -e "$to.stamp" ] || return 0
    rm -rf "$to" "$to.deb"; mkdir -p "$to" "$to.deb"
    # Download as root, because apt's own user cannot write to this directory.
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
