#!/bin/bash
# install-deps.sh: installs the system packages that the tests need (Debian, Ubuntu).
#
# `--list` prints the packages and installs none.
#
# Invariants: if all packages are installed, the script is quick and prints nothing. Without root, the script prints the
# one line to run and exits with 1. It leaves no service of a package (sshd, munged, slurmd) running on the host, because
# the tests start their own services inside the virtual cluster.
set -euo pipefail

packages=(
    gcc libc6-dev make pkg-config libclang-dev      # the shim's C test programs, rsmpi's bindgen
    python3-venv python3-dev patchelf               # the test environment
    openmpi-bin libopenmpi-dev                      # Open MPI (MPICH comes as a wheel, see make-env.sh)
    slurm-wlm munge                                 # Slurm inside the virtual cluster
    openssh-server openssh-client                   # an ordinary user's remote shell inside the cluster
    libfuse3-dev fuse3                              # mdsfs, the slow shared file system
    iproute2 util-linux procps hostname passwd      # namespaces, veth pairs, setpriv
    git zsh perl nodejs default-jre-headless file   # programs that are run on a staged prefix
    tar findutils diffutils sqlite3 gzip xz-utils mawk
    strace zstd libarchive-tools rsync isal              # counting operations, tools to compare staging with
    g++ libjemalloc2 libtcmalloc-minimal4           # C++ programs and other allocators under the shim
    nodejs                                          # a runtime that makes system calls without libc
    musl-tools gcc-multilib                         # programs of another C library, and of 32 bits
    # Programs that users have on a facility's login nodes.
    zsh vim cmake ruby lua5.4 curl openssl less man-db groff-base bsdextrautils tmux gdb linux-perf valgrind sudo
    bubblewrap charliecloud-runtime proot           # container runtimes
    mmdebstrap busybox-static                       # root file systems for containers
    lua5.3 lua-filesystem lua-json lua-posix lua-term tcl8.6   # interpreters of Lmod and Tcl Environment Modules
    fish                                            # a shell whose completions are tested
)

if [ "${1:-}" = --list ]; then
    printf '%s\n' "${packages[@]}"
    exit 0
fi
command -v dpkg-query >/dev/null || {
    echo "install-deps.sh: failed to find dpkg-query: this script needs apt; install packages like these yourself: ${packages[*]}" >&2
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

# Debian starts no service of a package that it installs if policy-rc.d exits with 101.
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
