#!/bin/bash
# install-deps.sh: installs the system packages that the tests need (Debian, Ubuntu).
#
# Invariants: quick and silent when all is there; without root it prints the one line to run and exits 1;
# no service of an installed package (sshd, munged, slurmd) is left running on the host: the tests start their
# own inside the virtual cluster. `--list` prints the packages and does nothing.
set -euo pipefail

packages=(
    gcc libc6-dev make pkg-config libclang-dev      # the shim's C test programs, rsmpi's bindgen
    python3-venv python3-dev patchelf               # the test environment
    openmpi-bin libopenmpi-dev                      # Open MPI (MPICH comes as a wheel, see make-env.sh)
    slurm-wlm munge                                 # Slurm inside the virtual cluster
    openssh-server openssh-client                   # an ordinary user's remote shell inside it
    libfuse3-dev fuse3                              # mdsfs, the slow shared file system
    iproute2 util-linux procps hostname passwd      # namespaces, veth pairs, setpriv
    git zsh perl nodejs default-jre-headless file   # programs that are run on a staged prefix
    tar findutils diffutils sqlite3 gzip xz-utils mawk
    strace zstd libarchive-tools rsync isal              # counting operations, peers to measure against
    g++ libjemalloc2 libtcmalloc-minimal4           # C++ programs and other allocators under the shim
    nodejs                                          # a runtime that makes system calls by number
    musl-tools gcc-multilib                         # programs of another C library, and of 32 bits
    zsh vim cmake ruby lua5.4 curl openssl less man-db groff-base bsdextrautils  # what a facility's users
    tmux gdb linux-perf valgrind sudo               # have on their login nodes
    bubblewrap charliecloud-runtime proot           # container runtimes,
    mmdebstrap busybox-static                       # and what they run
    lua5.3 lua-filesystem lua-json lua-posix lua-term tcl8.6   # what Lmod and Tcl Environment Modules run on
    fish                                            # completions
)

if [ "${1:-}" = --list ]; then
    printf '%s\n' "${packages[@]}"
    exit 0
fi
command -v dpkg-query >/dev/null || {
    echo "install-deps.sh: knows apt only; install the likes of: ${packages[*]}" >&2
    exit 1
}

missing=()
for package in "${packages[@]}"; do
    status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

if [ "$(id -u)" -ne 0 ]; then
    echo "install-deps.sh: missing packages; run as root:" >&2
    echo "    apt-get install -y --no-install-recommends ${missing[*]}"
    exit 1
fi

# policy-rc.d answering 101 is Debian's own way to say "do not start services" while packages are installed.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    trap 'rm -f "$policy"' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${missing[@]}"

# A host that runs systemd may have enabled the services for its next start.
if [ -d /run/systemd/system ]; then
    for unit in ssh munge slurmd slurmctld; do
        for package in "${missing[@]}"; do
            case "$package:$unit" in
                openssh-server:ssh | munge:munge | slurm-wlm:slurm*)
                    systemctl disable --now "$unit" >/dev/null 2>&1 || true ;;
            esac
        done
    done
fi
