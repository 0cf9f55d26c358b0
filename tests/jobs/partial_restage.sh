#!/bin/bash
# Tests a job with three bundles, one of which was packed again after an earlier job kept its stage. Only the changed
# bundle is read and broadcast. The other two bundles are adopted from the old stage, even while a job uses this stage.
# No bundle is adopted from a stage that was tampered with. The tests run on one node and on four.
. "$(dirname "$0")/harness.sh"
cluster_up 4
on() { VCLUSTER_WD=/ "$VCLUSTER" exec "$@"; }
opened() { grep -cE "open(at)?\(.*\"$2\"" "$1"; }
python=$venv/bin/python

# lib PREFIX CODE [WORDS…]: compiles CODE to PREFIX/lib/libPREFIX.so, with the WORDS as options of gcc.
lib() { mkdir -p "$work/$1/lib"; echo "$2" | gcc -shared -fPIC -x c - -o "$work/$1/lib/lib$1.so" "${@:3}" || fail "gcc"; }
# three_bundles: makes three prefixes with modules and 3 MB of data each, and their bundles; prefix a refers to b by an
# absolute RPATH and a symbolic link.
three_bundles() {
  local p i
  for p in a b c; do
    mkdir -p "$work/$p/mod_$p"; head -c 3000000 /dev/urandom >"$work/$p/data"; echo "value = '$p'" >"$work/$p/mod_$p/__init__.py"
    for i in $(seq 40); do echo "value = $i" >"$work/$p/mod_$p/m$i.py"; done
    ln "$work/$p/data" "$work/$p/again"; : >"$work/$p/empty"
  done
  lib b "int b(void) { return 20; }"
  lib a "int b(void); int a(void) { return b() + 1; }" -L"$work/b/lib" -lb -Wl,-rpath,"$work/b/lib"
  ln -s "$work/b/data" "$work/a/to_b"
  for p in a b c; do pack $p; done
  export PYTHONPATH=$work/a:$work/b:$work/c
  cat >"$work/look.py" <<'PY'
import ctypes, hashlib, json, os, sys
top, out = sys.argv[1:3]
seen = {}
for prefix in "abc":
    for base, dirs, files in os.walk(f"{top}/{prefix}"):
        dirs.sort()
        for name in sorted(files) + dirs:
            path = os.path.join(base, name)
            s = os.lstat(path)
            seen[path] = [s.st_mode, s.st_size, s.st_mtime_ns, s.st_ino, s.st_nlink]
            if os.path.islink(path):
                seen[path].append(os.readlink(path))
            if os.path.isfile(path):
                with open(path, "rb") as file:
                    s = os.fstat(file.fileno())
                    seen[path] += [hashlib.sha256(file.read()).hexdigest(), s.st_nlink, s.st_ctime_ns]
    sys.path.insert(0, f"{top}/{prefix}")
import mod_a.m3, mod_b, mod_c
seen["values"] = [mod_a.m3.value, mod_b.value, mod_c.value, ctypes.CDLL(f"{top}/a/lib/liba.so").a()]
seen["exists"] = [os.path.exists(f"{top}/{p}") for p in ("a/mod_a/m41.py", "b/data", "c/none")]
json.dump(seen, open(out, "w"), sort_keys=True, indent=0)
if len(sys.argv) > 3:       # which stage the libraries came from
    print(*sorted({line.split("/fs/")[0].split()[-1] for line in open("/proc/self/maps") if "/fs/" in line and "lib/lib" in line}))
PY
}
pack() { "$pyshm" bundle env "$work/$1" -o "$work/$1.tar.zst" -q || fail "bundle $1"; }
# change_b [VALUE]: changes the library, a module and the data of b, and packs b again.
change_b() { lib b "int b(void) { return ${1:-30}; }"; echo "value = 'b${1:-}'" >"$work/b/mod_b/__init__.py"; head -c 3000000 /dev/urandom >"$work/b/data"; pack b; }
named() { echo "-b $work/a.tar.zst -b $work/b.tar.zst -b $work/c.tar.zst ${layer:-}"; }
# shellcheck disable=SC2046
stage() { "$pyshm" stage $(named) "$@"; }
# look NAME: runs the program with the three bundles staged; $work/NAME.trace is the trace of the run.
# shellcheck disable=SC2046
look() { "$tools/trace.sh" "$work/$1.trace" "$pyshm_run" --no-fallback --summary --keep $(named) "$python" -B "$work/look.py" "$work" "$work/$1.json" maps >"$work/$1.out" 2>"$work/said" || { cat "$work/said"; fail "look $1"; }; }
as_bare() { "$python" -B "$work/look.py" "$work" "$work/bare.json" || fail bare; check "the program sees the same with pyshm and without" diff "$work/bare.json" "$work/$1.json"; }
times_opened() { echo "$(opened "$work/$1.trace" "$work/a.tar.zst") $(opened "$work/$1.trace" "$work/b.tar.zst") $(opened "$work/$1.trace" "$work/c.tar.zst")"; }
used() { df --output=used -B1 /dev/shm | tail -1; }
# shape STAGE: prints a checksum of all names, attributes and contents of a stage.
shape() { (cd "$1" && find . -printf '%p %m %s %T@ %U %l\n' | sort && find . -type f -exec sha256sum {} + | sort) | sha256sum; }
unstage() { "$pyshm" unstage --all || fail unstage; [ ! -e /dev/shm/pyshm-0 ] || fail "left: $(find /dev/shm/pyshm-0 | head)"; }

test_only_the_bundle_that_changed_is_read() {
  three_bundles
  look one; equal "bundles that were opened first" "1 1 1" "$(times_opened one)"; as_bare one
  local old; old=$(cat "$work/one.out")
  change_b; look two; equal "bundles that were opened" "0 1 0" "$(times_opened two)"; as_bare two
  contains "the summary" "$(cat "$work/said")" "taken from stage ${old##*/}"
  [ ! -e "$old" ] || fail "the old stage is still there"
  [ "$(cat "$work/two.out")" != "$old" ] && [ -e "$(cat "$work/two.out")/index" ] || fail "the libraries came from '$(cat "$work/two.out")'"
  # Stage two has files that it has itself adopted from stage one. Their link counts and ctimes have changed, so pyshm
  # compares the contents.
  change_b 40; look three; equal "bundles that were opened the third time" "0 1 0" "$(times_opened three)"; as_bare three
  check "the stage equals the bundle" "$pyshm" verify --stage "$(cat "$work/three.out")" --source
  unstage
}
test_no_bundle_is_read_if_existing_stages_have_all_bundles() {
  three_bundles
  stage >/dev/null || fail stage; local both; both=$(used)
  "$tools/trace.sh" "$work/two.trace" "$pyshm" stage -b "$work/c.tar.zst" -b "$work/a.tar.zst" --json >"$work/json" || fail stage
  equal "bundles that were opened" "0 0 0" "$(times_opened two)"; contains "the output" "$(cat "$work/json")" '"bundle_bytes": 0'
  equal "stages" 2 "$("$pyshm" status --json | python3 -c 'import json, sys; print(len(json.load(sys.stdin)))')"
  # The second stage has its own shim and edited libraries, but shares each file of 3 MB with another stage.
  [ $(( $(used) - both )) -lt 2500000 ] || fail "memory grew by $(( $(used) - both ))"
  unstage
}
test_a_job_that_runs_from_the_old_stage_goes_on_and_memory_grows_by_the_changed_bundle() {
  three_bundles
  look one
  # shellcheck disable=SC2046
  "$pyshm_run" --no-fallback $(named) "$python" -B -c 'import os, sys, time
file = open(sys.argv[1] + "/a/data", "rb")
def now():
    s = os.fstat(file.fileno())
    return [tuple(s), s.st_ctime_ns, tuple(os.stat(file.name)), s.st_nlink, os.readlink(f"/proc/self/fd/{file.fileno()}")]
before = now()
open(sys.argv[1] + "/up", "w").close()
while not os.path.exists(sys.argv[1] + "/go"):
    time.sleep(0.05)
import ctypes
sys.path.insert(0, sys.argv[1] + "/a")
import mod_a.m7
print(before == now(), mod_a.m7.value, ctypes.CDLL(sys.argv[1] + "/a/lib/liba.so").a(), before[-2])' "$work" >"$work/running" 2>&1 & local job=$!
  for _ in $(seq 12000); do [ -e "$work/up" ] && break; sleep 0.05; done; [ -e "$work/up" ] || fail "the job did not start"
  local before; before=$(used)
  change_b; look two; equal "bundles that were opened" "0 1 0" "$(times_opened two)"; as_bare two
  # Memory may grow by the 3 MB of b's data, and by the files that two stages never share.
  local grown=$(( $(used) - before )); note "memory grew by $grown bytes for 3,000,000 that changed of 9,000,000"
  [ $grown -gt 3000000 ] && [ $grown -lt 5500000 ] || fail "memory grew by $grown"
  touch "$work/go"; wait $job; equal "the values that the running job saw" "True 7 21 2" "$(cat "$work/running")"
  unstage
}
test_marks_of_the_old_stage_stay_except_on_the_changed_bundle() {
  three_bundles
  # shellcheck disable=SC2046
  "$pyshm_run" --no-fallback --keep $(named) "$python" -B -c 'import sys
open(sys.argv[1] + "/a/mod_a/m3.py", "w").write("value = 12345\n")
open(sys.argv[1] + "/b/mod_b/m3.py", "w").write("value = 54321\n")' "$work" || fail run
  change_b; touch "$work/c/none"   # a change that only the comparison of directories finds
  look two; equal "bundles that were opened" "0 1 0" "$(times_opened two)"; as_bare two
  contains "the written value" "$(cat "$work/two.json")" 12345
  # The marks on the bundle that was packed again are gone. The marks on other bundles stay.
  local ops; ops() { grep -cE "open(at)?\(.*\"$work/$1\"" "$work/two.trace"; }
  [ "$(ops a/mod_a/m3.py)" -gt 0 ] || fail "the written file was not read from its prefix"
  equal "times the file of the new bundle was opened in its prefix" 0 "$(ops b/mod_b/m3.py)"
  unstage
}
test_marks_on_a_base_stay_under_a_layer_except_on_paths_of_the_layer() {
  three_bundles
  look one
  write() { # shellcheck disable=SC2046
    "$pyshm_run" --no-fallback --keep $(named) "$python" -B -c 'import sys; open(sys.argv[1], "w").write(sys.argv[2])' "$work/b/mod_b/$1" "value = $2" || fail write; }
  write m5.py 1111
  "$pyshm" bundle env "$work/b" --over "$work/b.tar.zst" -o "$work/l.tar.zst" -q || fail "layer"
  write m3.py 2222
  local layer="-b $work/l.tar.zst"; look two; equal "bundles that were opened" "0 0 0" "$(times_opened two)"; as_bare two
  local ops; ops() { grep -cE "open(at)?\(.*\"$work/b/mod_b/$1\"" "$work/two.trace"; }
  [ "$(ops m3.py)" -gt 0 ] || fail "the file that was written after the layer was packed was not read from its prefix"
  equal "times the layer's file was opened in its prefix" 0 "$(ops m5.py)"
  unstage
}
test_marks_in_every_stage_of_a_bundle_stay() {
  three_bundles
  local s first last writes='import sys; open(sys.argv[1] + "/a/mod_a/m3.py", "w").write("value = 12345\n")'
  # Two stages have bundle a; the program that writes the file uses the stage whose name sorts last.
  stage >/dev/null && "$pyshm" stage -b "$work/a.tar.zst" >/dev/null || fail stage
  for s in /dev/shm/pyshm-0/*; do first=${first:-$s} last=$s; done; [ "$first" != "$last" ] || fail "there is only one stage"
  PYSHM_LOG=1 LD_PRELOAD=$last/lib/libpyshm.so "$python" -B -c "$writes" "$work" || fail write
  change_b; look two; equal "bundles that were opened" "0 1 0" "$(times_opened two)"; as_bare two
  contains "the written value" "$(cat "$work/two.json")" 12345
  unstage
}
test_foreign_tars_are_adopted() {
  three_bundles
  local p; for p in a b c; do tar -C "$work/$p" -czf "$work/$p.tar.gz" . || fail tar; done
  tars() { "$tools/trace.sh" "$work/$1.trace" "$pyshm" stage --json $(for p in a b c; do echo "-b $work/$p.tar.gz --prefix $work/$p"; done) >"$work/json" || fail stage; echo "$(opened "$work/$1.trace" "$work/a.tar.gz") $(opened "$work/$1.trace" "$work/b.tar.gz") $(opened "$work/$1.trace" "$work/c.tar.gz")"; }
  equal "first" "1 1 1" "$(tars one)"
  local run; for run in two three; do
    echo "$run" >"$work/b/data"; tar -C "$work/b" -czf "$work/b.tar.gz" .
    equal "$run" "0 1 0" "$(tars $run)"
    for p in a b c; do check "$p is whole" diff -r --no-dereference --exclude=to_b --exclude=lib "$work/$p" /dev/shm/pyshm-0/*/fs/"$work/$p"; done
  done
  # The same tar with another prefix counts as another bundle.
  mkdir "$work/d"; "$tools/trace.sh" "$work/d.trace" "$pyshm" stage -b "$work/a.tar.gz" --prefix "$work/d" >/dev/null || fail stage
  [ "$(opened "$work/d.trace" "$work/a.tar.gz")" -gt 0 ] || fail "another prefix's files were taken"
  unstage
}

# tampered WHAT: checks that bundle a is read again and not adopted, after a test has changed the old stage. WHAT
# describes this change. Bundle c may be adopted or read.
tampered() {
  change_b "$RANDOM"; look two
  [[ $(times_opened two) == "1 1 "* ]] || fail "$1: bundles that were opened: $(times_opened two)"
  as_bare two; "$pyshm" unstage --force --all; rm -rf /dev/shm/pyshm-0
}
test_a_bundle_is_not_adopted_from_a_stage_that_was_tampered_with() {
  three_bundles
  local s f
  at() { s=$(stage) || fail stage; f=$s/fs$work/a; }
  at; truncate -s 100 "$f/data"; tampered "a file that is shorter"
  at; touch "$f/mod_a/m3.py"; tampered "another time"
  at; cp -p "$f/mod_a/m3.py" "$work/ref"; echo "value = 9" >"$f/mod_a/m3.py"; touch -r "$work/ref" "$f/mod_a/m3.py"; equal "the size" 10 "$(stat -c %s "$f/mod_a/m9.py")"; tampered "another content of the same size and time"
  at; rm "$f/mod_a/m3.py"; tampered "a file that is gone"
  at; chmod 600 "$f/mod_a/m3.py"; tampered "another mode"
  at; chown 12345 "$f/mod_a/m3.py"; tampered "another owner of a file"
  at; chown 12345 "$f/mod_a"; tampered "another owner of a directory"
  at; chown 12345 "$s"; tampered "another owner of the stage"
  at; mv "$f/mod_a" "$work/moved"; ln -s "$work/moved" "$f/mod_a"; tampered "a link in the place of a directory"; rm -r "$work/moved"
  at; cp -p "$f/mod_a/m3.py" "$work/moved"; ln -sf "$work/moved" "$f/mod_a/m3.py"; tampered "a link in the place of a file"
  at; rm "$s/orig$work/a/lib/liba.so"; tampered "a pristine file that is gone"
  at; printf X | dd of="$s/manifests/0" bs=1 seek=200 conv=notrunc status=none; tampered "a manifest that is damaged"
  at; cp "$s/manifests/2" "$s/manifests/0"; tampered "the manifest of another bundle"
  at; chown 12345 "$s/manifests/0"; tampered "another owner of the manifest"
  at; mkfifo "$work/fifo"; mv "$work/fifo" "$s/manifests/0"; tampered "a fifo as manifest"
  at; rm "$s/index"; tampered "no index"
  at; truncate -s 64 "$s/index"; tampered "an index that is shorter"
  at; printf X | dd of="$s/stage.json" bs=1 seek=3 conv=notrunc status=none; tampered "a description that is damaged"
}
test_a_file_that_can_get_no_more_links_is_copied() {
  three_bundles
  stage >/dev/null || fail stage; change_b
  # shellcheck disable=SC2046
  strace -f -o "$work/injected" -e trace=linkat -e inject=linkat:error=EMLINK:when=3..30 "$pyshm" stage --json $(named) >"$work/json" || fail stage
  grep -q INJECTED "$work/injected" || fail "no linkat failed, so the test proves nothing"
  contains "the output" "$(cat "$work/json")" '"adopted_bytes": 6'
  look two; equal "bundles that were opened" "0 0 0" "$(times_opened two)"; as_bare two
  unstage
}
# failing N TRACE: prints the words that run a command under strace. strace makes the N-th linkat of each thread fail,
# and writes TRACE.
failing() { echo "strace -f -y -q -s 4096 --signal=none -e trace=%file -e inject=linkat:error=EIO:when=$1 -o $2"; }
test_a_bundle_whose_files_cannot_be_linked_is_read() {
  three_bundles
  local s; s=$(stage) || fail stage; change_b
  LD_PRELOAD=$s/lib/libpyshm.so "$python" -B -c 'import sys; open(sys.argv[1] + "/a/mod_a/m3.py", "w").write("value = 12345\n")' "$work" || fail write
  # A link to a file of a fails, so a is read. c is adopted.
  # shellcheck disable=SC2046
  $(failing 30 "$work/two.trace") "$pyshm" stage --json $(named) >"$work/json" 2>"$work/said" || fail "stage: $(cat "$work/said")"
  equal "links that failed" 1 "$(grep -c INJECTED "$work/two.trace")"
  equal "bundles that were opened" "1 1 0" "$(times_opened two)"
  contains "the output" "$(cat "$work/json")" '"adopted_bytes": 3'; contains "the warning" "$(cat "$work/said")" "a.tar.zst was read"
  look three; equal "bundles that were opened" "0 0 0" "$(times_opened three)"; as_bare three
  # The bundle did not change, so the marks of later writes to its prefix stay.
  contains "the written value" "$(cat "$work/three.json")" 12345
  unstage
}
test_the_old_stage_is_removed_first_if_both_do_not_fit() {
  three_bundles
  mkdir "$work/small"; mount -t tmpfs -o size=22m,mode=1777 tmpfs "$work/small" || fail mount
  export PYSHM_RESERVE=1000000
  stage --root "$work/small" >/dev/null || fail stage
  head -c 13000000 /dev/urandom >"$work/b/data"; pack b
  # shellcheck disable=SC2046
  "$tools/trace.sh" "$work/two.trace" "$pyshm" stage --root "$work/small" $(named) --json >"$work/json" || fail "stage: $(df "$work/small")"
  equal "bundles that were opened" "1 1 1" "$(times_opened two)"; contains "the output" "$(cat "$work/json")" '"adopted_bytes": 0'
  local p; for p in a b c; do check "$p is whole" diff -r --no-dereference --exclude=to_b --exclude=lib "$work/$p" "$work/small"/*/*/fs/"$work/$p"; done
  "$pyshm" unstage --all --root "$work/small"; umount "$work/small"
}
test_a_killed_step_leaves_the_old_stage_unchanged_and_no_other_files() {
  three_bundles
  local old phase count pid
  old=$(stage) || fail stage; change_b; local was; was=$(shape "$old")
  for phase in adopt:1 adopt:30 adopt:70 write:1 publish:1 publish:2; do
    rm -f "$work/paused"; count=${phase#*:} phase=${phase%:*}
    # shellcheck disable=SC2046
    PYSHM_TEST_PAUSE="$phase:$count:$(hostname):$work/paused" "$pyshm" stage $(named) >/dev/null 2>&1 & pid=$!
    for _ in $(seq 12000); do [ -s "$work/paused" ] && break; sleep 0.05; done; equal "the process that paused in $phase $count" $pid "$(cat "$work/paused")"
    kill -KILL $pid; wait $pid 2>/dev/null
    "$pyshm" gc >/dev/null || fail gc
    equal "stages after $phase $count" "$old" "$(find /dev/shm/pyshm-0 -mindepth 1 -maxdepth 1)"
  done
  equal "the old stage" "$was" "$(shape "$old")"
  look two; equal "bundles that were opened" "0 1 0" "$(times_opened two)"; as_bare two
  unstage
}

# The tests below run on four nodes.
# shellcheck disable=SC2046
job() { mkdir -p "$work/$1"; timeout 600 "$top/tests/cluster/run-mpi.sh" --set "PYTHONPATH=$PYTHONPATH" --before "${2:-$tools/trace.sh $work/$1.trace} $pyshm_run --summary --keep $(named)" hydra bash -c 'exec "$1" -B "$2/look.py" "$2" "$2/$3/$PMI_RANK"' - "$python" "$work" "$1" 2>"$work/said" || { cat "$work/said"; fail "job $1"; }; }
as_bare_all() { local f; "$python" -B "$work/look.py" "$work" "$work/bare.json" || fail bare; equal "ranks" 8 "$(ls "$work/$1" | wc -l)"; for f in "$work/$1"/*; do check "rank ${f##*/} sees the same with pyshm and without" diff "$work/bare.json" "$f"; done; }
# wrote NAME PREFIX: prints on how many nodes a file of the bundle was written.
wrote() { grep -oE "\.new-[0-9a-f]+-[0-9]+/fs$work/$2/mod_$2>, \"m1.py\", [A-Z_|]*O_CREAT" "$work/$1.trace" | grep -oE '^\.new-[0-9a-f]+-[0-9]+' | sort -u | wc -l; }
unstage_all() { local i left; for i in 1 2 3 4; do on "n$i" "$pyshm" unstage --all || fail "unstage on n$i"; left=$(on "n$i" find /dev/shm -mindepth 1 | head -3); [ -z "$left" ] || fail "n$i has $left"; done; }

test_on_four_nodes_only_the_changed_bundle_is_broadcast() {
  three_bundles
  job one; equal "bundles that were opened first" "1 1 1" "$(times_opened one)"; equal "nodes that wrote a, b, c" "4 4 4" "$(wrote one a) $(wrote one b) $(wrote one c)"; as_bare_all one
  change_b; job two; equal "bundles that were opened" "0 1 0" "$(times_opened two)"; equal "nodes that wrote a, b, c" "0 4 0" "$(wrote two a) $(wrote two b) $(wrote two c)"
  as_bare_all two; contains "the summary" "$(cat "$work/said")" "on 4 of them"
  local i; for i in 1 2 3 4; do equal "stages on n$i" 1 "$(on "n$i" "$pyshm" status --json | python3 -c 'import json, sys; print(len(json.load(sys.stdin)))')"; done
  unstage_all
}
test_a_node_without_a_stage_gets_all_bundles_and_other_nodes_get_the_changed_bundle() {
  three_bundles
  local empty
  for empty in n3 n1; do   # rank 0 runs on n1
    job one; on $empty "$pyshm" unstage --all || fail unstage
    change_b "$RANDOM"; job two
    equal "bundles that were opened with $empty empty" "1 1 1" "$(times_opened two)"; equal "nodes that wrote a, b, c" "1 4 1" "$(wrote two a) $(wrote two b) $(wrote two c)"
    as_bare_all two; contains "the summary" "$(cat "$work/said")" "on 3 of them"
    rm -r "$work/one" "$work/two"
  done
  unstage_all
}
test_on_four_nodes_a_layer_is_broadcast_without_its_base() {
  three_bundles
  job one
  lib b "int b(void) { return 50; }"; echo "value = 'layer'" >"$work/b/mod_b/__init__.py"; touch "$work/b/mod_b/m2.py"; rm "$work/b/mod_b/m4.py"
  "$pyshm" bundle env "$work/b" --over "$work/b.tar.zst" -o "$work/l.tar.zst" -q || fail "layer"
  local layer="-b $work/l.tar.zst"; job two
  equal "bundles that were opened" "0 0 0, 1" "$(times_opened two), $(opened "$work/two.trace" "$work/l.tar.zst")"
  equal "nodes that wrote a, b, c" "0 0 0" "$(wrote two a) $(wrote two b) $(wrote two c)"; as_bare_all two
  # The job does not use the prefix of this bundle; pyshm stages it because it lies over a bundle that the job uses.
  echo "value = 'inner'" >"$work/a/mod_a/m3.py"; "$pyshm" bundle env "$work/a/mod_a" -o "$work/i.tar.zst" -q || fail "bundle"
  layer="$layer -b $work/i.tar.zst"; rm -r "$work/two"; job two
  equal "bundles that were opened" "0 0 0, 1" "$(times_opened two), $(opened "$work/two.trace" "$work/i.tar.zst")"; as_bare_all two
  # A node without a stage gets everything.
  on n2 "$pyshm" unstage --all || fail unstage; rm -r "$work/two"; job two
  equal "bundles that were opened" "1 1 1, 1" "$(times_opened two), $(opened "$work/two.trace" "$work/l.tar.zst")"; as_bare_all two
  unstage_all
}
test_a_bundle_whose_files_cannot_be_linked_is_broadcast() {
  three_bundles
  job one; change_b; job two "$(failing 60 "$work/two.trace")"
  equal "links that failed" 4 "$(grep -c INJECTED "$work/two.trace")"
  equal "bundles that were opened" "0 1 1" "$(times_opened two)"; equal "nodes that wrote a, b, c" "0 4 4" "$(wrote two a) $(wrote two b) $(wrote two c)"
  as_bare_all two; contains "the summary" "$(cat "$work/said")" "on 4 of them"
  case $(cat "$work/said") in *"shared file system"*) fail "a node has no stage: $(cat "$work/said")" ;; esac
  unstage_all
}
test_a_write_on_one_node_is_known_to_all_after_another_bundle_changed() {
  three_bundles
  job one
  # The program writes in place, below the prefix of a bundle that does not change. Only n2 has the mark of this write,
  # and in another stage than that of the job: the name of a stage also depends on the program, because another program
  # may use other bundles.
  # shellcheck disable=SC2046
  on n2 "$pyshm_run" --no-fallback --keep $(named) "$python" -B -c 'import sys; open(sys.argv[1] + "/a/mod_a/m3.py", "w").write("value = 12345\n")' "$work" || fail run
  change_b; job two; equal "bundles that were opened" "0 1 0" "$(times_opened two)"; as_bare_all two
  contains "the written value" "$(cat "$work/two/0")" 12345
  unstage_all
}
test_results_are_right_after_a_leader_is_killed_while_linking() {
  three_bundles
  local i left node
  for node in n1 n4; do
    job one; change_b "$RANDOM"; rm -f "$work/paused"
    export PYSHM_TEST_PAUSE="adopt:50:$node:$work/paused"; job two & local job=$!
    unset PYSHM_TEST_PAUSE
    for _ in $(seq 12000); do [ -s "$work/paused" ] && break; sleep 0.05; done; [ -s "$work/paused" ] || fail "the helper on $node ended before it linked a file"
    on $node kill -KILL "$(cat "$work/paused")" || fail kill
    wait $job || fail "the job failed"; as_bare_all two; contains "the warning" "$(cat "$work/said")" "running from the shared file system"
    for i in 1 2 3 4; do
      on "n$i" "$pyshm" gc >/dev/null || fail gc
      left=$(on "n$i" find /dev/shm -mindepth 1 -name '.new*'); [ -z "$left" ] || fail "n$i has $left"
    done
    unstage_all; rm -r "$work/one" "$work/two"
  done
}

run_tests
