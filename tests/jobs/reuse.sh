#!/bin/bash
# Tests that a kept stage is used again. The next step broadcasts no byte of the bundle. On every node the step sees what
# the last step wrote on any node. It also sees the changes that an installation without the shim made between the two
# steps. The tests run with 8 ranks on four virtual nodes, and on one node.
. "$(dirname "$0")/harness.sh"
cluster_up 4
job() { timeout 600 "$top/tests/cluster/run-mpi.sh" --before "$1 $pyshm_run --no-fallback --keep $bundle" --set "PYTHONPATH=$work/site" "${@:2}"; }
on() { VCLUSTER_WD=/ "$VCLUSTER" exec "$@"; }
unstage_all() { local i; for i in 1 2 3 4; do on "n$i" "$pyshm" unstage --all || fail "unstage on n$i"; left=$(on "n$i" find /dev/shm -mindepth 1 | head -3); [ -z "$left" ] || fail "n$i has $left"; done; }
opened() { grep -cE "open(at)?\(.*\"$2\"" "$1"; }
unpacked() { grep -oE '\.new-[0-9a-f]+-[0-9]+/index".*O_CREAT' "$1" | sort -u | wc -l; }

# a_package: makes a package of 300 modules in 30 directories, its bundle, and a program in which each rank records the
# modules that it finds.
a_package() {
  local d f
  for d in $(seq 30); do
    mkdir -p "$work/site/pkg/d$d"; echo "d = $d" >"$work/site/pkg/d$d/__init__.py"
    for f in $(seq 10); do echo "value = $d * 100 + $f" >"$work/site/pkg/d$d/m$f.py"; done
  done
  echo 'name = "pkg"' >"$work/site/pkg/__init__.py"
  "$pyshm" bundle env "$work/site" -o "$work/b.tar.zst" -q || fail "bundle"
  bundle="-b $work/b.tar.zst"
  cat >"$work/rank.py" <<'PY'
import hashlib, json, os, sys
from mpi4py import MPI
site, out, act = sys.argv[1], sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else ""
sys.dont_write_bytecode = True
rank = MPI.COMM_WORLD.rank
if act and rank == 5:      # on n3
    exec(act)
MPI.COMM_WORLD.Barrier()
if not act:
    seen = {}
    for top, dirs, files in os.walk(site):
        dirs.sort()
        for name in sorted(files) + dirs:
            path = os.path.join(top, name)
            data = "" if os.path.isdir(path) else hashlib.sha256(open(path, "rb").read()).hexdigest()
            seen[path] = (os.lstat(path).st_mode, os.lstat(path).st_mtime_ns, data)
    import pkg.d7.m3
    seen["value"] = pkg.d7.m3.value
    try:
        import newcomer
        seen["newcomer"] = newcomer.greeting
    except ImportError:
        pass
    seen["exists"] = [os.path.exists(os.path.join(site, p)) for p in ("pkg/d1/m1.py", "newcomer.py", "pkg/made", "pkg/made/by.py", "pkg/d2")]
    json.dump(seen, open(f"{out}/{rank}.json", "w"), sort_keys=True)
PY
}
# step NAME [ACTION]: runs the program in a step that keeps its stage; rank 5 executes ACTION. The trace is
# $work/NAME.trace.
step() {
  mkdir -p "$work/$1"
  job "$tools/trace.sh $work/$1.trace" hydra python "$work/rank.py" "$work/site" "$work/$1" "${@:2}" || fail "step $1"
}
# bare NAME: runs the program without pyshm. as_bare NAME: makes a bare run, and checks that the results of a step equal
# those of the bare run.
bare() { mkdir -p "$work/$1"; timeout 600 "$top/tests/cluster/run-mpi.sh" --set "PYTHONPATH=$work/site" hydra python "$work/rank.py" "$work/site" "$work/$1" || fail "bare $1"; }
as_bare() { bare "$1.bare"; equal "ranks of $1" 8 "$(ls "$work/$1" | wc -l)"; check "ranks of $1 see the same with pyshm and without" diff -r "$work/$1.bare" "$work/$1"; }
# ops NAME: prints how many operations the ranks of a step made on the prefix.
ops() { python3 "$tools/count_ops.py" "$work/$1.trace" --from-exec '^"[^"]*/bin/pyshm-exec"' --ignore-exec '^"/proc/self/exe"' --under "$work/site" --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["total"])'; }

test_the_second_step_reads_no_byte_of_the_bundle() {
  a_package
  step one; equal "times the first step opened the bundle" 1 "$(opened "$work/one.trace" "$work/b.tar.zst")"; equal "nodes that unpacked" 4 "$(unpacked "$work/one.trace")"
  step two; equal "times the second step opened it" 0 "$(opened "$work/two.trace" "$work/b.tar.zst")"; equal "nodes that unpacked" 0 "$(unpacked "$work/two.trace")"
  equal "operations of its ranks" 0 "$(ops two)"
  as_bare two
  unstage_all
}
test_an_installation_between_the_steps_is_seen_on_all_nodes() {
  a_package
  step one
  # Change the prefix as pip does: new modules, a module replaced by rename, a removed one, a new package, a removed
  # directory.
  echo 'greeting = "hello"' >"$work/site/newcomer.py"; mkdir "$work/site/newpkg"; echo 'x = 1' >"$work/site/newpkg/__init__.py"
  echo 'value = "new"' >"$work/site/pkg/d7/.m3"; mv "$work/site/pkg/d7/.m3" "$work/site/pkg/d7/m3.py"
  rm "$work/site/pkg/d1/m1.py"; rm -r "$work/site/pkg/d2"
  step two; equal "times the second step opened the bundle" 0 "$(opened "$work/two.trace" "$work/b.tar.zst")"
  as_bare two
  contains "the new module" "$(cat "$work/two/6.json")" '"newcomer": "hello"'
  contains "the changed one" "$(cat "$work/two/0.json")" '"value": "new"'
  # The stage still answers for some 370 unchanged paths. Each of 8 ranks uses each of these paths several times.
  local n; n=$(ops two); note "operations of 8 ranks on a package of which 6 paths changed: $n, without pyshm $(bare_ops)"
  [ "$n" -gt 0 ] && [ "$n" -lt $(( $(bare_ops) / 5 )) ] || fail "$n operations, $(bare_ops) without pyshm"
  unstage_all
}
bare_ops() {
  [ -e "$work/bare.ops" ] || { mkdir -p "$work/traced"
    timeout 600 "$top/tests/cluster/run-mpi.sh" --before "$tools/trace.sh $work/bare.trace" --set "PYTHONPATH=$work/site" hydra python "$work/rank.py" "$work/site" "$work/traced" >&2
    python3 "$tools/count_ops.py" "$work/bare.trace" --under "$work/site" --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["total"])' >"$work/bare.ops"; }
  cat "$work/bare.ops"
}
test_a_write_on_one_node_is_seen_on_all_in_the_next_step() {
  a_package
  # Rank 5 writes in place, so that no directory's time changes. Only the stage on n3, where rank 5 runs, has the mark.
  step one 'open(site + "/pkg/d7/m3.py", "w").write("value = 12345\n"); os.unlink(site + "/pkg/d1/m1.py"); os.mkdir(site + "/pkg/made"); open(site + "/pkg/made/by.py", "w").close()'
  step two
  as_bare two
  contains "the written value" "$(cat "$work/two/0.json")" '"value": 12345'
  equal "times the second step opened the bundle" 0 "$(opened "$work/two.trace" "$work/b.tar.zst")"
  unstage_all
}
test_only_a_node_without_the_stage_gets_it_and_the_marks_of_the_others() {
  a_package
  step one 'open(site + "/pkg/d7/m3.py", "w").write("value = 12345\n")'
  on n1 "$pyshm" unstage --all || fail unstage   # rank 0 runs on n1
  step two; equal "nodes that unpacked" 1 "$(unpacked "$work/two.trace")"; equal "times the bundle was opened" 1 "$(opened "$work/two.trace" "$work/b.tar.zst")"
  as_bare two
  on n4 "$pyshm" unstage --all || fail unstage
  step three; equal "nodes that unpacked" 1 "$(unpacked "$work/three.trace")"
  as_bare three
  unstage_all
}
test_a_bundle_that_was_packed_again_replaces_the_old_one() {
  a_package
  step one
  echo 'greeting = "hello"' >"$work/site/newcomer.py"
  "$pyshm" bundle env "$work/site" -o "$work/b.tar.zst" -q || fail "bundle"
  step two; equal "nodes that unpacked" 4 "$(unpacked "$work/two.trace")"
  as_bare two; equal "operations of its ranks" 0 "$(ops two)"
  local i; for i in 1 2 3 4; do equal "stages on n$i" 1 "$(on "n$i" "$pyshm" status --json | python3 -c 'import json, sys; print(len(json.load(sys.stdin)))')"; done
  unstage_all
}

# a_tar: packs the prefix with GNU tar, with times in nanoseconds.
a_tar() { tar --format=pax -C "$work/site" -czf "$work/b.tar.gz" . || fail "tar"; bundle="-b $work/b.tar.gz --prefix $work/site"; }
test_the_stage_of_a_foreign_tar_is_used_again() {
  a_package; a_tar
  step one; equal "times the first step opened the tar" 1 "$(opened "$work/one.trace" "$work/b.tar.gz")"; equal "nodes that unpacked" 4 "$(unpacked "$work/one.trace")"
  step two; equal "times the second step opened it" 0 "$(opened "$work/two.trace" "$work/b.tar.gz")"; equal "nodes that unpacked" 0 "$(unpacked "$work/two.trace")"
  equal "operations of its ranks" 0 "$(ops two)"
  as_bare two
  echo 'greeting = "hello"' >"$work/site/newcomer.py"; echo 'value = "new"' >"$work/site/pkg/d7/.m3"; mv "$work/site/pkg/d7/.m3" "$work/site/pkg/d7/m3.py"
  rm "$work/site/pkg/d1/m1.py"; rm -r "$work/site/pkg/d2"
  step three 'open(site + "/pkg/d9/m3.py", "w").write("value = 12345\n")'
  on n1 "$pyshm" unstage --all || fail unstage
  step four; equal "nodes that unpacked" 1 "$(unpacked "$work/four.trace")"
  as_bare four
  contains "the changed module" "$(cat "$work/four/0.json")" '"value": "new"'; contains "the new one" "$(cat "$work/four/6.json")" '"newcomer": "hello"'
  local n; n=$(ops four); [ "$n" -gt 0 ] && [ "$n" -lt $(( $(bare_ops) / 5 )) ] || fail "$n operations, $(bare_ops) without pyshm"
  unstage_all
}

here() { PYTHONPATH=$work/site "$pyshm_run" --no-fallback --summary $bundle "$@" "$venv/bin/python" -B -c 'import pkg.d7.m3, importlib.util; print(pkg.d7.m3.value, importlib.util.find_spec("newcomer") is not None)' 2>"$work/said"; }
test_a_kept_stage_is_used_again_on_one_node_without_mpi() {
  a_package
  equal "first" "703 False" "$(here --keep)"
  equal "second" "703 False" "$(here)"; contains "the summary" "$(cat "$work/said")" "the stage was there already on this node"
  echo 'greeting = "hello"' >"$work/site/newcomer.py"; echo 'value = 5' >"$work/site/.m"; mv "$work/site/.m" "$work/site/pkg/d7/m3.py"
  equal "after an installation" "5 True" "$(here)"; contains "the summary" "$(cat "$work/said")" "2 paths changed since they were packed"
  "$pyshm" unstage --all || fail "unstage"
  [ ! -e /dev/shm/pyshm-0 ] || fail "left: $(find /dev/shm/pyshm-0)"
}
test_a_stage_of_a_tar_belongs_to_its_prefix_and_goes_when_the_tar_is_written_again() {
  a_package; a_tar
  stages() { "$pyshm" status --json | python3 -c 'import json, sys; print(len(json.load(sys.stdin)))'; }
  equal "first" "703 False" "$(here --keep)"
  equal "second" "703 False" "$(here)"; contains "the summary" "$(cat "$work/said")" "the stage was there already on this node"
  # A tar has one stage for each prefix.
  local other same; other=$("$pyshm" stage -b "$work/b.tar.gz" --prefix "$work/other") && same=$("$pyshm" stage -b "$work/b.tar.gz" --prefix "$work/other") || fail "stage"
  equal "the stage of the other prefix" "$other" "$same"; equal "stages" 2 "$(stages)"
  check "the other prefix is what it answers for" test -e "$other/fs$work/other/pkg/d7/m3.py"
  "$pyshm" gc || fail "gc"; equal "stages that gc leaves" 2 "$(stages)"
  equal "still the first" "703 False" "$(here)"; contains "the summary" "$(cat "$work/said")" "the stage was there already on this node"
  # After the tar was written again, no stage of the old tar can be used again, neither with this prefix nor with another.
  echo 'greeting = "hello"' >"$work/site/newcomer.py"; a_tar
  equal "the new tar" "703 True" "$(here --keep)"; equal "stages" 1 "$(stages)"
  "$pyshm" unstage --unused || fail "unstage --unused"
  [ ! -e /dev/shm/pyshm-0 ] || fail "left: $(find /dev/shm/pyshm-0)"
}

run_tests
