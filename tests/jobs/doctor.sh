#!/bin/bash
# Tests `pyshm doctor`. It finds faults of a session, a launcher, a bundle or a node, and prints the cause and advice.
# If there is no fault, it reports that nothing is wrong. It leaves no files.
. "$(dirname "$0")/harness.sh"
cluster_up 2

# asked [NAME=VALUE…] WORDS…: runs `pyshm doctor --json WORDS…` with these variables. Writes the findings to $work/found
# and returns the exit status, which must equal the member `failed` of the findings.
asked() {
  local assigned=() status failed
  while [[ ${1:-} == *=* && $1 != -* ]]; do assigned+=("$1"); shift; done
  env "${assigned[@]}" "${doctor:-$pyshm}" doctor --json "$@" >"$work/found" 2>"$work/said"; status=$?
  failed=$(python3 -c 'import json, sys; print(int(json.load(open(sys.argv[1]))["failed"]))' "$work/found") || fail "no JSON: $(cat "$work/said")"
  equal "exit status" "$failed" $status
  return $status
}
# found LEVEL WHAT PATTERN [NODE]: checks that doctor has a finding of LEVEL about WHAT, with PATTERN in its cause. The
# finding must have advice, unless LEVEL is ok.
found() {
  python3 - "$work/found" "$@" <<'PY' || fail "no $1 '$2' with '$3' ${4:-} in: $(cat "$work/found")"
import json, sys
file, level, what, pattern, *node = sys.argv[1:]
said = json.load(open(file))
lists = [n["findings"] for n in said["nodes"] if n["node"] in node] if node else [said["session"]] + [n["findings"] for n in said["nodes"]]
hits = [f for l in lists for f in l if f["level"] == level and what in f["what"] and pattern in f["cause"]]
sys.exit(not (hits and all(bool(f["advice"]) == (level != "ok") for f in hits)))
PY
}
make_bundle() {
  mkdir -p "$work/env"; echo 1 >"$work/env/a"
  "$pyshm" bundle env "$work/env" -o "$work/b.tar.zst" -q || fail "bundle"
}

test_doctor_reports_that_nothing_is_wrong_and_leaves_no_files() {
  make_bundle
  mkdir "$work/tmp"
  asked TMPDIR="$work/tmp" LD_PRELOAD="$top/target/pyshm/lib/libpyshm.so" PATH="$venv/bin:$PATH" -b "$work/b.tar.zst" || fail "something failed: $(cat "$work/found")"
  local what; for what in installation settings LD_PRELOAD "$venv/bin/mpiexec" "$work/b.tar.zst" bundles kernel "C library" root room pyshm-bcast-mpich "test rank"; do found ok "$what" ""; done
  equal "files that are left" "" "$(find /dev/shm "$work/tmp" -mindepth 1)"
  # Without --json doctor prints the findings as text, with advice below each fault.
  "$pyshm" doctor >"$work/text" || fail "as text"
  contains "the text" "$(cat "$work/text")" "ok       test rank: a program is answered from a stage"
  equal "advice" "$(grep -c '^note\|^warning\|^FAILURE' "$work/text")" "$(grep -c '^   -> ' "$work/text")"
}
test_a_wrong_session_is_found() {
  asked PYSHM_WAIT=soon PYSHM_DISABLE=1 LD_PRELOAD=/no/libpyshm.so:/no/other.so && fail "nothing failed"
  found failure settings "PYSHM_WAIT is 'soon'"
  found failure PYSHM_DISABLE "no program uses a stage"
  found failure LD_PRELOAD "/no/libpyshm.so"
  found warning LD_PRELOAD "/no/other.so"
  found failure "test rank" "PYSHM_DISABLE is set"
  asked || fail "something failed: $(cat "$work/found")"; found note LD_PRELOAD "only what pyshm-run starts"
  cp -a "$top/target/pyshm" "$work/p"; rm "$work/p/libexec/pyshm-exec"
  printf '#!/bin/sh\necho "error while loading shared libraries: libmpi.so.12" >&2; exit 127\n' >"$work/p/libexec/pyshm-bcast-mpich"
  doctor=$work/p/bin/pyshm asked && fail "nothing failed"
  found failure installation "failed to find pyshm-exec"
  found warning pyshm-bcast-mpich libmpi.so.12
  found failure "test rank" "failed to find pyshm-exec"
  printf 'root = "/dev/shm"\nkep = true\n' >"$work/pyshm.toml"
  asked PYSHM_CONFIG="$work/pyshm.toml" && fail "nothing failed"; found failure settings "$work/pyshm.toml, line 2"
  "$pyshm" doctor --nonsense 2>/dev/null; equal "exit status of a wrong command line" 2 $?
}
test_a_wrong_bundle_is_found() {
  make_bundle
  asked PYSHM_BUNDLES="$work/b.tar.zst:/no/such.tar.zst" && fail "nothing failed"
  found ok "$work/b.tar.zst" "2 paths"; found failure /no/such.tar.zst "No such file"; found ok bundles "as they were packed"
  echo "bundles = [\"$work/b.tar.zst\"]" >"$work/pyshm.toml"
  asked PYSHM_CONFIG="$work/pyshm.toml" || fail "by a file"; found ok settings "$work/pyshm.toml"; found ok "$work/b.tar.zst" "2 paths"
  echo 2 >"$work/env/new"
  asked -b "$work/b.tar.zst" || fail "a changed prefix is no failure"; found warning bundles "$work/env is not as it was packed"
  # The bundle and a layer over it together equal the prefix.
  "$pyshm" bundle env "$work/env" --over "$work/b.tar.zst" -o "$work/l.tar.zst" -q || fail "layer"
  asked -b "$work/b.tar.zst" -b "$work/l.tar.zst" || fail "with the layer"; found ok bundles "as they were packed"
  asked -b "$work/l.tar.zst" && fail "a layer alone did not fail"; found failure "$work/l.tar.zst" ""
  truncate -s -1 "$work/b.tar.zst"
  asked -b "$work/b.tar.zst" && fail "nothing failed"; found failure "$work/b.tar.zst" "truncated"
}
test_a_wrong_root_is_found() {
  trap 'umount "$work/root" 2>/dev/null' EXIT
  make_bundle
  local root=$work/root; mkdir "$root"
  asked --root "$root/none" && fail "nothing failed"; found failure root "$root/none"
  chmod 777 "$root"; asked --root "$root" && fail "nothing failed"; found failure root "no sticky bit"; chmod 755 "$root"
  asked --root "$root" || fail "a disk failed"; found note root "not a file system in memory"
  mount -t tmpfs -o noexec,size=40m tmpfs "$root" || fail "mount"
  asked PYSHM_RESERVE=1M --root "$root" || fail "noexec failed: $(grep -B2 \"failure\" "$work/found")"; found warning root "mounted noexec"; found warning room "free"; found ok "test rank" ""
  asked --root "$root" && fail "doctor ignored the default reserve of memory"; found failure room "free but"
  equal "files that are left" "" "$(find "$root" -mindepth 1)"
  umount "$root"
}
test_a_launcher_that_cannot_be_preloaded_is_found() {
  mkdir "$work/bin"
  printf '#include <stdio.h>\nint main(void) { puts("mpirun (Open MPI) 4.1.4"); return 0; }\n' >"$work/a.c"
  gcc -static "$work/a.c" -o "$work/bin/mpirun" || fail "gcc"
  asked PATH="$work/bin:/usr/bin:/bin" || fail "something failed"; found warning "$work/bin/mpirun" "statically linked"
  gcc "$work/a.c" -o "$work/bin/mpirun" || fail "gcc"
  asked PATH="$work/bin:/usr/bin:/bin" || fail "something failed"
  grep -q "LD_PRELOAD does not reach" "$work/found" && fail "doctor reports that a dynamic launcher cannot be preloaded"
  chmod u+s "$work/bin/mpirun"
  asked PATH="$work/bin:/usr/bin:/bin" || fail "something failed"; found warning "$work/bin/mpirun" "setuid"
  # Now the launcher is a script with a static interpreter. Doctor must run the launcher to find that it does not load
  # the library.
  printf '#!%s\n' "$work/bin/static" >"$work/bin/mpirun"; chmod 755 "$work/bin/mpirun"; gcc -static "$work/a.c" -o "$work/bin/static"
  asked PATH="$work/bin:/usr/bin:/bin" || fail "something failed"; found warning "$work/bin/mpirun" "did not load it"
  asked -- /no/such/mpiexec -n 2 && fail "nothing failed"; found failure launcher "/no/such/mpiexec"
}
test_every_node_of_a_job_is_examined_and_named() {
  launch_words hydra root 2 2
  doctor() { "${LOGIN[@]}" timeout 600 "$pyshm" doctor --json "$@" </dev/null >"$work/found" 2>"$work/said"; }
  doctor -- "${LAUNCH[@]}"; equal "exit status" 0 $?
  for n in n1 n2; do found ok "test rank" "" $n; found ok root /dev/shm $n; done
  VCLUSTER_WD=/ "$VCLUSTER" exec n2 mount -o remount,noexec /dev/shm || fail "remount"
  VCLUSTER_WD=/ "$VCLUSTER" exec n1 mount -t tmpfs -o size=1m tmpfs /dev/shm || fail "mount"
  doctor -- "${LAUNCH[@]}"; equal "exit status" 1 $?
  found failure room "free but" n1; found warning root "mounted noexec" n2; found ok "test rank" "" n2
  "${LOGIN[@]}" timeout 600 "$pyshm" doctor -- "${LAUNCH[@]}" </dev/null >"$work/text"; equal "exit status" 1 $?
  contains "the text" "$(cat "$work/text")" "root (n2): /dev/shm is mounted noexec"
  contains "the text" "$(cat "$work/text")" "kernel (2 of 2 nodes, as n"
  VCLUSTER_WD=/ "$VCLUSTER" exec n1 umount /dev/shm; VCLUSTER_WD=/ "$VCLUSTER" exec n2 mount -o remount,exec /dev/shm
}
test_without_a_launcher_all_nodes_of_an_allocation_are_examined() {
  "$VCLUSTER" slurm || fail "slurm"
  launch_words srun-pmi2 user 2 2
  "${LOGIN[@]}" timeout 600 "${ALLOC[@]}" "$pyshm" doctor --json </dev/null >"$work/found" 2>"$work/said"; equal "exit status" 0 $?
  for n in n1 n2; do found ok "test rank" "" $n; equal "left on $n" "" "$(VCLUSTER_WD=/ "$VCLUSTER" exec $n find /dev/shm -mindepth 1)"; done
  # Doctor reports the number of nodes that do not answer.
  printf '#!/bin/sh\n[ "$1" = --version ] && exec mpirun.openmpi --version\nexit 3\n' >"$work/mpirun"; chmod 755 "$work/mpirun"
  "${LOGIN[@]}" timeout 600 "$pyshm" doctor --json -- "$work/mpirun" --host n1,n2 -n 2 </dev/null >"$work/found" 2>"$work/said"; equal "exit status" 1 $?
  found failure mpirun "0 of 2 nodes have answered"
}

run_tests
