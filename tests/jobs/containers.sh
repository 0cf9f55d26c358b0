#!/bin/bash
# Tests that a job's LD_PRELOAD does not reach programs in containers, and that the shim works in a container that gets
# the variable on purpose. The container runtimes are real. The containers have two root file systems: one has an older
# glibc (Debian 11, from the mirror of apt), and one has musl.
. "$(dirname "$0")/harness.sh"
unset PYSHM_CONTAINERS
export LC_ALL=C USER=root

roots=$top/target/test-containers
# probe: prints a shell script for the container. The script prints its environment and the files that it sees.
probe() {
  cat <<'SH'
cat /where; echo "LD_PRELOAD is ${LD_PRELOAD-not set}"; ls /bin | wc -l; cat /no-such
[ ! -x /usr/bin/perl ] || perl -e 'opendir my $d, "/usr/bin"; print scalar(() = readdir $d), "\n"; print `cat /where`'
[ ! -x /bin/walks ] || walks
SH
}
# finish DIRECTORY WHERE: adds to the root file system in DIRECTORY the files that container runtimes expect, the file
# /where with the text WHERE, and the script /probe.
finish() {
  mkdir -p "$1"/{bin,dev,etc,home,lib,mnt,proc,root,sys,tmp,usr} && touch "$1"/etc/{passwd,group,hosts,resolv.conf} || return 1
  echo "$2" >"$1/where"; probe >"$1/probe"
}
# make_roots: makes both root file systems. Debian 11 is downloaded once. `extract` unpacks packages, but runs no script
# of a package.
make_roots() {
  local mirror old=$roots/debian11
  if [ ! -e "$old" ]; then
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Suite: oldstable' | head -n 1)
    mirror=${mirror:-$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' | head -n 1)}
    rm -rf "$old.new"; mkdir -p "$roots"
    mmdebstrap --quiet --variant=extract --include=dash,coreutils,libc-bin,perl-base bullseye "$old.new" "$mirror" || return 1
    mv "$old.new" "$old"
  fi
  finish "$old" 'in the old container' || return 1
  local musl=$roots/musl link
  rm -rf "$musl"; finish "$musl" 'in the musl container' || return 1
  cp /bin/busybox "$musl/bin/" && for link in sh cat ls wc; do ln -s busybox "$musl/bin/$link"; done
  cp -L /lib/ld-musl-x86_64.so.1 "$musl/lib/" && musl-gcc -w -O1 -o "$musl/bin/walks" "$top/tests/containers/walks.c"
}
make_roots || { echo "failed to make the root file systems in $roots; check that Debian's mirror can be reached"; echo "0 1" >>"${RESULTS:-/dev/null}"; exit 1; }
trap 'rm -rf "$roots/musl"' EXIT

# in_root RUNTIME ROOT: sets `words` to the words that start a command in a root file system.
in_root() {
  case $1 in
    chroot) words=(chroot "$2") ;;
    bwrap) words=(bwrap --bind "$2" / --dev-bind /dev /dev --proc /proc) ;;
    ch-run) words=(ch-run "$2" --) ;;
    proot) words=(proot -r "$2" -b /dev -b /proc -w /) ;;
  esac
  # Use the path of the runtime: busybox's env would run its own chroot.
  words[0]=$(command -v "${words[0]}")
}
runtimes=(chroot bwrap ch-run proot)

# staged: makes the prefix $p and stages it in $stage.
staged() {
  p=$work/p; mkdir -p "$p/docs"; echo words >"$p/docs/words"; seq 1 20000 >"$p/numbers"; ln -sfn numbers "$p/link"
  "$pyshm" bundle env "$p" -o "$work/b.tar.zst" -q || fail "bundle"
  stage=$("$pyshm" stage -b "$work/b.tar.zst") || fail "stage"
}
unstaged() { "$pyshm" unstage --all >/dev/null || fail "unstage"; }

# run_bare COMMAND…: runs COMMAND, and writes its output and exit status to $work/bare.
# same WHAT COMMAND…: runs COMMAND, and fails if its output or exit status differs from $work/bare.
run_bare() { "$@" >"$work/bare" 2>&1 </dev/null; echo "status $?" >>"$work/bare"; }
same() {
  local what=$1; shift
  "$@" >"$work/ours" 2>&1 </dev/null; echo "status $?" >>"$work/ours"
  diff "$work/bare" "$work/ours" >"$work/diff" || fail "$what (< bare, > preloaded): $(cat "$work/diff")"
}

# A daemon that starts a container runtime does not have the shim. busybox's env stands for such a daemon, because
# busybox is static and so has no shim either.
test_a_container_is_started_without_the_shim_by_any_program() {
  local shim=$top/target/pyshm/lib/libpyshm.so runtime root words count=0
  staged
  for runtime in "${runtimes[@]}"; do
    for root in debian11 musl; do
      in_root "$runtime" "$roots/$root"; words+=(sh /probe)
      run_bare "${words[@]}"
      contains "the output of $runtime bare" "$(cat "$work/bare")" container
      contains "the output of $runtime bare" "$(cat "$work/bare")" "LD_PRELOAD is not set"
      same "$runtime, by a shell" env LD_PRELOAD="$shim" bash -c '"$@"' - "${words[@]}"
      same "$runtime, by a daemon" /bin/busybox env LD_PRELOAD="$shim" "${words[@]}"
      same "$runtime, by a shell, staged" "$stage/bin/pyshm-exec" bash -c '"$@"' - "${words[@]}"
      same "$runtime, as the job itself" "$stage/bin/pyshm-exec" "${words[@]}"
      same "$runtime, by a daemon, staged" /bin/busybox env LD_PRELOAD="$stage/lib/libpyshm.so" "${words[@]}"
      count=$((count + 5))
    done
  done
  note "$count starts of containers"
  same "pyshm-run" "$pyshm_run" --no-fallback --no-summary -b "$work/b.tar.zst" "${words[@]}"
  unstaged
}

# The message of the container's loader shows that the test above would notice a shim in the container.
test_a_container_that_is_given_the_shim_complains() {
  local shim=$top/target/pyshm/lib/libpyshm.so words
  # bwrap shows nothing of the host: ch-run would show /tmp, where the checkout may be.
  in_root bwrap "$roots/debian11"
  PYSHM_CONTAINERS=keep LD_PRELOAD=$shim "${words[@]}" sh /probe >"$work/said" 2>&1
  contains "the message" "$(cat "$work/said")" "cannot be preloaded"
  contains "the message" "$(cat "$work/said")" "LD_PRELOAD is $shim"
}

test_other_preloaded_libraries_go_into_the_container() {
  local words shim=$top/target/pyshm/lib/libpyshm.so other=/dev/shm/libother.so list
  echo 'int of_no_use;' | gcc -shared -nostdlib -x c -o "$other" - || fail gcc
  in_root bwrap "$roots/debian11"
  for list in "$shim:$other" "$other $shim" "$other:$shim" " $shim  $other "; do
    equal "LD_PRELOAD of '$list' by a shell" "$other" "$(LD_PRELOAD=$list bash -c '"$@"' - "${words[@]}" sh -c 'echo "$LD_PRELOAD"' 2>&1)"
    equal "LD_PRELOAD of '$list' by a daemon" "$other" "$(/bin/busybox env LD_PRELOAD="$list" "${words[@]}" sh -c 'echo "$LD_PRELOAD"' 2>&1 | tr ' ' : )"
  done
  rm "$other"
}

# A script with the name of a container runtime prints the environment that the exec passed to it. The script's static
# interpreter does not change the environment.
test_every_function_that_starts_programs_leaves_the_shim_out_of_a_container() {
  local shim=$work/libpyshm.so other=libjemalloc.so.2 name functions
  cp "$top/target/pyshm/lib/libpyshm.so" "$shim"; gcc -w -o "$work/starts" "$top/tests/containers/starts.c" || fail gcc
  mkdir "$work/bin"
  for name in apptainer singularity podman docker shifter sarus enroot by-the-site mpirun; do
    printf '#!/bin/busybox sh\necho "$1 ${LD_PRELOAD-unset}"\n' >"$work/bin/$name"; chmod 755 "$work/bin/$name"
  done
  starts() { PATH=$work/bin:$PATH "$@" "$work/starts" "$work/bin" "$name" 2>&1; }
  name=apptainer; functions=$(starts env | sed 's/ unset//')
  equal "functions" 13 "$(wc -l <<<"$functions")"
  all() { sed "s|\$| $1|" <<<"$functions"; }
  for name in apptainer singularity podman docker shifter sarus enroot; do
    equal "$name" "$(all unset)" "$(starts env LD_PRELOAD="$shim")"
  done
  equal "another library is kept" "$(all $other)" "$(starts env LD_PRELOAD="$other:$shim")"
  equal "PYSHM_CONTAINERS=keep" "$(all "$shim:$other")" "$(PYSHM_CONTAINERS=keep starts env LD_PRELOAD="$shim:$other")"
  name=mpirun; equal "a program that is no container runtime" "$(all "$shim")" "$(starts env LD_PRELOAD="$shim")"
  name=by-the-site; equal "a program that is no container runtime" "$(all "$shim")" "$(PYSHM_CONTAINERS=other starts env LD_PRELOAD="$shim")"
  equal "a container runtime that PYSHM_CONTAINERS names" "$(all unset)" "$(PYSHM_CONTAINERS=other:by-the-site starts env LD_PRELOAD="$shim")"
  staged
  name=apptainer; equal "staged" "$(all unset)" "$(starts "$stage/bin/pyshm-exec")"
  equal "staged, another library" "$(all $other)" "$(starts env LD_PRELOAD=$other "$stage/bin/pyshm-exec")"
  name=mpirun; contains "staged, a program that is no container runtime" "$(starts "$stage/bin/pyshm-exec")" "execve $stage/lib/libpyshm.so"
  name=apptainer; contains "staged, PYSHM_CONTAINERS=keep" "$(PYSHM_CONTAINERS=keep starts "$stage/bin/pyshm-exec")" "posix_spawnp $stage/lib/libpyshm.so"
  unstaged
}

# The job mounts /dev/shm and the prefix into the container at the same paths. The staged shim works with the
# container's glibc.
test_the_stage_serves_a_container_of_an_older_libc_that_keeps_the_shim() {
  local old=$roots/debian11 words
  mkdir -p "$work/p" "$old$work/p"
  cat >"$work/p/read.pl" <<'PL'
my $p = shift; open my $f, "<", "$p/link" or die "$!"; my @lines = <$f>; print scalar(@lines), " ", (stat "$p/docs/words")[7], " ", readlink("$p/link"), "\n";
opendir my $d, "$p" or die; print join(" ", sort readdir $d), "\n"; print -e "$p/no-such" ? "" : "$!\n"; print `cat $p/docs/words`;
PL
  staged
  words=(bwrap --bind "$old" / --dev-bind /dev /dev --proc /proc --bind "$p" "$p")
  run_bare "${words[@]}" /usr/bin/perl "$p/read.pl" "$p"
  equal "the last line bare" "status 0" "$(tail -n 1 "$work/bare")"
  PYSHM_CONTAINERS=keep same "bwrap" bash "$tools/trace.sh" "$work/trace" "$stage/bin/pyshm-exec" "${words[@]}" /usr/bin/perl "$p/read.pl" "$p"
  equal "operations on the prefix, and whether the trace has operations on /usr" "0 True" "$(python3 "$tools/count_ops.py" "$work/trace" \
    --from-exec '"/usr/bin/perl"' --under "$p" --under /usr --json | python3 -c 'import json, sys; u = json.load(sys.stdin)["under"]; print(u[sys.argv[1]], u["/usr"] > 0)' "$p")"
  contains "the log of the shim" "$(PYSHM_LOG=1 PYSHM_CONTAINERS=keep "$stage/bin/pyshm-exec" "${words[@]}" /bin/true 2>&1)" "pyshm: active ($stage)"
  contains "the C library" "$("${words[@]}" /lib/x86_64-linux-gnu/libc.so.6)" 2.31
  ( cd "$old" && rmdir -p ".$p" 2>/dev/null ); unstaged
}

test_a_container_of_musl_that_keeps_the_shim_works_without_it() {
  local words
  staged; in_root bwrap "$roots/musl"
  run_bare env LD_PRELOAD= "${words[@]}" sh /probe
  contains "the walk" "$(cat "$work/bare")" "at the end of it"
  sed -i 's/^LD_PRELOAD is .*/LD_PRELOAD is kept/; s/LD_PRELOAD is not set/LD_PRELOAD is set/' "$work/bare"
  PYSHM_CONTAINERS=keep "$stage/bin/pyshm-exec" "${words[@]}" sh /probe >"$work/ours" 2>&1; echo "status $?" >>"$work/ours"
  sed -i "s|^LD_PRELOAD is $stage/lib/libpyshm.so|LD_PRELOAD is kept|" "$work/ours"
  diff "$work/bare" "$work/ours" || fail "the output with the shim differs"
  contains "the log of the shim" "$(PYSHM_LOG=1 PYSHM_CONTAINERS=keep "$stage/bin/pyshm-exec" "${words[@]}" /bin/walks 2>&1)" "pyshm: inactive: the program's C library is not glibc"
  unstaged
}

# Programs in new namespaces with the same root file system keep the shim, and the shim answers.
test_unshare_and_nsenter_keep_the_shim() {
  local words
  staged
  for words in "unshare --mount --pid --fork" "nsenter --target $$ --uts --net"; do
    # shellcheck disable=SC2086
    run_bare $words cat "$p/docs/words"
    # shellcheck disable=SC2086
    same "$words" bash "$tools/trace.sh" "$work/trace" "$stage/bin/pyshm-exec" $words cat "$p/docs/words"
    python3 "$tools/count_ops.py" "$work/trace" --under "$p" --max 0 || fail "$words: operations on the prefix"
  done
  unstaged
}

run_tests
