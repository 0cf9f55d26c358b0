# mounts.sh: mounts over directories of the machine. The directories in the array `kept` keep their paths all the same, and
# every user can enter them. Sourced inside a new mount namespace.

# attach SOURCE TARGET: binds SOURCE, with the mounts below it, to TARGET. SOURCE may be a path below /proc/self/fd, because
# such a path still leads to a directory that a later mount hides.
attach() { mount --no-canonicalize --rbind "$1" "$2"; }

# cover DIR: mounts a directory over DIR that has the same entries and that every user can enter.
cover() {
    local fd entry name
    exec {fd}<"$1"
    mount -t tmpfs -o mode=755 tmpfs "$1"
    for entry in "/proc/self/fd/$fd"/* "/proc/self/fd/$fd"/.[!.]*; do
        name=${entry##*/}
        if [ -L "$entry" ]; then cp -P "$entry" "$1/$name"
        elif [ -d "$entry" ]; then mkdir "$1/$name"; attach "$entry" "$1/$name"
        elif [ -f "$entry" ]; then touch "$1/$name"; attach "$entry" "$1/$name"
        fi
    done
    exec {fd}<&-
}

# open_up DIR: covers DIR and each directory above it that an ordinary user cannot enter.
open_up() {
    local at="" part mode
    local -a parts
    IFS=/ read -ra parts <<<"${1#/}"
    for part in "${parts[@]}"; do
        at=$at/$part
        mode=$(stat -c %a "$at")
        (( 8#${mode: -1} & 1 )) || cover "$at"
    done
}

# mount_over DIR WORDS…: runs `mount WORDS… DIR` and attaches the `kept` directories below DIR again.
mount_over() {
    local over=$1 fds=() fd path i
    shift
    for i in "${!kept[@]}"; do
        case ${kept[i]} in "$over"/*) exec {fd}<"${kept[i]}"; fds[i]=$fd ;; esac
    done
    mount "$@" "$over" || return 1
    for i in "${!fds[@]}"; do
        path=${kept[i]} fd=${fds[i]}
        # If an outer directory is attached already, so are the directories in it.
        [ -e "$path" ] || { mkdir -p "$path"; attach "/proc/self/fd/$fd" "$path"; }
        exec {fd}<&-
    done
}
