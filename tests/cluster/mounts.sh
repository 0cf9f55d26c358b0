# mounts.sh: mounts over directories of the machine that leave the directories in the array `kept` where they were, and open
# to every user; for a mount namespace of one's own; sourced.

# attach SOURCE TARGET: SOURCE may go through /proc/self/fd, which names what a mount since hides.
attach() { mount --no-canonicalize --rbind "$1" "$2"; }

# cover DIR: an enterable DIR with the same entries.
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

# open_up DIR: covers the ancestors that an ordinary user cannot enter.
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

# mount_over DIR WORDS…: mounts what mount's WORDS say over DIR.
mount_over() {
    local over=$1 fds=() fd path i
    shift
    for i in "${!kept[@]}"; do
        case ${kept[i]} in "$over"/*) exec {fd}<"${kept[i]}"; fds[i]=$fd ;; esac
    done
    mount "$@" "$over" || return 1
    for i in "${!fds[@]}"; do
        path=${kept[i]} fd=${fds[i]}
        # An outer directory that is attached already brings the inner ones along.
        [ -e "$path" ] || { mkdir -p "$path"; attach "/proc/self/fd/$fd" "$path"; }
        exec {fd}<&-
    done
}
