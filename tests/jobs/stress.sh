#!/bin/bash
# Tests the shim under stress for about STRESS_SECONDS altogether (default 60): threads and forks, signals, vfork,
# constructors, other allocators, writers, loading, exceptions, shells. tests/stress/stress.sh runs the tests for
# longer.
#
# Each program compares every answer of the shim with the kernel's. A test fails if an answer is wrong, if a process
# crashes or misses its deadline, or if the program made no call. It also fails if the stage answered fewer operations than
# the program expects, because then the shim was not active.
. "$(dirname "$0")/harness.sh"
seconds=${STRESS_SECONDS:-60}
sources=$top/tests/stress
built=$(mktemp -d /var/tmp/pyshm-stress.XXXXXX)
trap 'rm -rf "$built"' EXIT

flags=(-O2 -g -Wall -Wextra -Wno-format-truncation -pthread)
build() {
  local name number size
  for name in forks signals vforks loads writers shells cancel runtime; do gcc "${flags[@]}" -o "$built/$name" "$sources/$name.c" || return 1; done
  for name in early first; do gcc "${flags[@]}" -shared -fPIC -o "$built/lib$name.so" "$sources/$name.c" || return 1; done
  gcc "${flags[@]}" -DPROGRAM -o "$built/early" "$sources/early.c" &&
    gcc "${flags[@]}" -DPROGRAM -o "$built/early-linked" "$sources/early.c" -Wl,--no-as-needed "$built/libearly.so" &&
    g++ "${flags[@]}" -o "$built/unwind" "$sources/unwind.cc" &&
    gcc -O2 -DSIZE=65536 -shared -fPIC -o "$built/libbig.so" "$sources/tls.c" && gcc -O2 -o "$built/tls" "$sources/tls.c" "$built/libbig.so" || return 1
}
build || { echo "failed to build the stress programs"; exit 1; }

# staged COMMAND…: makes the tree $tree with the libraries of the programs, runs COMMAND to add files, and stages the
# tree in $stage.
staged() {
  tree=$work/tree
  sh "$sources/mktree.sh" "$tree" || fail "the tree"
  local number size
  for number in 1 2 3 4 5 6 7 8; do gcc -O2 -shared -fPIC -DNUMBER=$number -DPREFIX="\"$tree\"" -o "$tree/lib/libnumber$number.so" "$sources/number.c" || fail "a library"; done
  cp /bin/true "$tree/bin/true"
  "$@" || fail "failed to add files to the tree"
  "$pyshm" bundle env "$tree" -o "$work/tree.tar.zst" -q && stage=$("$pyshm" stage -b "$work/tree.tar.zst") || fail "the stage"
}
answered() { "$pyshm" status | awk '/ operations answered here/ { sub(/.*; /, ""); sum += $1 } END { print sum + 0 }'; }

# share PERCENT: prints this part of STRESS_SECONDS, in whole seconds, at least 1.
share() { local s=$((seconds * $1 / 100)); echo $((s > 0 ? s : 1)); }
# bare COMMAND…: runs a program without the shim, to show that the program expects the right answers. The program may change
# the tree.
bare() { STRESS_BARE=1 timeout -k 5 60 "$@" >"$work/bare" 2>&1 || fail "without the shim: $* ($?): $(cat "$work/bare")"; }
# run DEADLINE COMMAND…: runs a program with the shim, and compares its count of calls with the stage's count.
run() {
  local deadline=$1 before after status; shift
  before=$(answered)
  timeout -k 5 "$deadline" "$@" >"$work/out" 2>&1; status=$?
  [ $status != 124 ] && [ $status != 137 ] || fail "$* hung: $(tail -n 5 "$work/out")"
  [ $status = 0 ] || fail "$*: status $status: $(tail -n 5 "$work/out")"
  after=$(answered)
  [[ $(tail -n 1 "$work/out") =~ ^calls\ ([0-9]+)\ answered\ ([0-9]+)$ ]] || fail "$* said: $(tail -n 3 "$work/out")"
  local calls=${BASH_REMATCH[1]} least=${BASH_REMATCH[2]}
  [ "$calls" -gt 0 ] || fail "$* made no call"
  [ $((after - before)) -ge "$least" ] || fail "$*: the stage answered $((after - before)) of $least"
  total=$((${total:-0} + calls))
}
# said: prints the last program's figures and the number of calls.
said() { note "$(head -n -1 "$work/out" | tr '\n' ';') $total calls verified"; }

test_threads_read_while_the_main_thread_forks() {
  staged true; local time; time=$(share 12)
  bare "$built/forks" "$tree" 0 5
  run $((time * 3 + 60)) "$stage/bin/pyshm-exec" "$built/forks" "$tree" "$time" $((10000 * seconds / 600)); said
}

test_a_signal_handler_reads_inside_any_interrupted_hook() {
  staged true; local time which; time=$(share 8)
  bare "$built/signals" "$tree" 0 28672 0 12
  # The stack has 28 KB, and 32 KB with the signal frame of AVX-512. Calls that read no link and no descriptor need 8 KB.
  run $((time + 60)) "$stage/bin/pyshm-exec" "$built/signals" "$tree" "$time" 28672 0 12; said
  run 60 "$stage/bin/pyshm-exec" "$built/signals" "$tree" 1 4816 0 1
  # The handler writes a file, so that paths diverge and the shim must look up marks. Starting a program takes most stack.
  run 60 "$stage/bin/pyshm-exec" "$built/signals" "$tree" 0 28672 0 1 write
  run 60 "$stage/bin/pyshm-exec" "$built/signals" "$tree" 0 36864 0 1 exec
  for which in '0 1' '1 2' '4 12' '0 1 write' '0 1 exec'; do
    # shellcheck disable=SC2086
    note "bytes of stack of a handler, bare and with the shim ($which): $(STRESS_BARE=1 "$built/signals" "$tree" 0 0 $which | head -n 1) $("$stage/bin/pyshm-exec" "$built/signals" "$tree" 0 0 $which | head -n 1)"
  done
}

test_vfork_children_that_fail_leave_their_parent_alone() {
  staged true; local time; time=$(share 8)
  bare "$built/vforks" "$tree" 0
  run $((time + 60)) "$stage/bin/pyshm-exec" "$built/vforks" "$tree" "$time"; said
}

test_constructors_that_run_before_the_shims_get_right_answers() {
  staged true; local end how shim=$stage/lib/libpyshm.so lib=$built/libearly.so
  export STRESS_TREE=$tree
  for how in alone threads dlopen system; do bare env STRESS_HOW=$how "$built/early-linked" "$tree"; done
  end=$((SECONDS + $(share 3)))
  while :; do
    for how in alone threads dlopen system; do
      run 30 env STRESS_HOW=$how "LD_PRELOAD=$shim $lib" "$built/early" "$tree"
      run 30 env STRESS_HOW=$how "LD_PRELOAD=$lib $shim" "$built/early" "$tree"
      run 30 env STRESS_HOW=$how "$stage/bin/pyshm-exec" "$built/early-linked" "$tree"
      run 30 env STRESS_HOW=$how "LD_PRELOAD=$lib" "$stage/bin/pyshm-exec" "$built/early" "$tree"
    done
    [ $SECONDS -lt $end ] || break
  done
  said
}

test_a_write_before_the_shim_has_found_its_stage_is_seen() {
  staged true; local i
  export STRESS_TREE=$tree
  for i in 1 2 3; do
    # strace delays the first open of the thread that looks for the stage.
    run 30 strace -f -qq -o /dev/null -e trace=openat -P "$stage" -e inject=openat:delay_exit=100000 -E STRESS_FILE=$i \
      -E "LD_PRELOAD=$stage/lib/libpyshm.so $built/libfirst.so" "$built/early" "$tree"
  done
  said
}

test_other_allocators_work_before_and_behind_the_shim() {
  local bundle lib name time python=$venv/bin/python
  bundle=$(bundle_of venv "$venv") || fail "the bundle"
  staged true; local tree_stage=$stage; time=$(share 2)
  stage=$("$pyshm" stage -b "$bundle") || fail "the stage of $venv"
  cat >"$work/allocate.py" <<'PY'
import hashlib, json, subprocess, sys, threading
import numpy, numpy.fft, numpy.linalg
def work(i, out):
    a = numpy.arange(10000.0).reshape(100, 100) + i
    out[i] = hashlib.sha256(json.dumps(numpy.linalg.qr(a @ a.T)[1].round(3).tolist()).encode()).hexdigest()
out = {}
threads = [threading.Thread(target=work, args=(i, out)) for i in range(4)]
for t in threads: t.start()
for t in threads: t.join()
print(numpy.__file__, sys.executable, sys.prefix, len(set(out.values())))
print(subprocess.run([sys.executable, "-c", "import numpy; print(numpy.__file__)"], capture_output=True, text=True).stdout)
maps = open("/proc/self/maps").read()
print("allocator", "jemalloc" in maps, "tcmalloc" in maps)
print("calls 1000 answered %d" % (1000 if "/lib/libpyshm.so" in maps else 0))
PY
  for name in libjemalloc.so.2 libtcmalloc_minimal.so.4; do
    lib=$(ldconfig -p | awk -v n=$name '$1 == n { print $NF; exit }'); [ -n "$lib" ] || fail "no $name"
    bare env LD_PRELOAD="$lib" "$python" "$work/allocate.py"; head -n -1 "$work/bare" >"$work/expected"
    contains "the allocator" "$(cat "$work/expected")" True
    # First the allocator is behind the shim in LD_PRELOAD, once with the trampoline and once by hand. Then the allocator is
    # in front of the shim.
    run 120 env LD_PRELOAD="$lib" "$stage/bin/pyshm-exec" "$python" "$work/allocate.py"; equal "$name behind" "$(cat "$work/expected")" "$(head -n -1 "$work/out")"
    run 120 env LD_PRELOAD="$stage/lib/libpyshm.so:$lib" "$python" "$work/allocate.py"; equal "$name behind, by hand" "$(cat "$work/expected")" "$(head -n -1 "$work/out")"
    run 120 env LD_PRELOAD="$lib:$stage/lib/libpyshm.so" "$python" "$work/allocate.py"; equal "$name before" "$(cat "$work/expected")" "$(head -n -1 "$work/out")"
    for how in "$lib $tree_stage/lib/libpyshm.so" "$tree_stage/lib/libpyshm.so $lib"; do
      run $((time * 3 + 60)) env LD_PRELOAD="$how" "$built/forks" "$tree" "$time" 10
      run $((time * 3 + 60)) env LD_PRELOAD="$how" "$built/loads" "$tree" 1
      run $((time * 3 + 60)) env LD_PRELOAD="$how" "$built/shells" "$tree" 1
    done
  done
  note "$total calls verified"
}

# Ten files with 5,500 names each.
linked_files() {
  mkdir "$tree/linked" && python3 - "$tree/linked" <<'PY'
import os, sys
for number in range(10):
    first = f"{sys.argv[1]}/{number}.0"
    open(first, "w").close()
    for name in range(1, 5500):
        os.link(first, f"{sys.argv[1]}/{number}.{name}")
PY
}
test_all_processes_see_the_writes_of_each() {
  staged linked_files; local time; time=$(share 14)
  sh "$sources/mktree.sh" "$work/bare-tree"; bare "$built/writers" "$work/bare-tree" 0 -
  run $((time + 120)) "$stage/bin/pyshm-exec" "$built/writers" "$tree" "$time" "$stage/state"; said
  contains "the set" "$(cat "$work/out")" "the set is full"
}

test_libraries_are_loaded_and_unloaded_among_threads_and_forks() {
  staged true; local time; time=$(share 8)
  bare "$built/loads" "$tree" 0
  run $((time * 2 + 60)) "$stage/bin/pyshm-exec" "$built/loads" "$tree" "$time"; said
}

unwinding() {
  g++ "${flags[@]}" -shared -fPIC -o "$tree/lib/libthrows.so" "$sources/throws.cc" && cp "$tree/lib/libthrows.so" "$tree/lib/libthrows2.so" &&
    g++ "${flags[@]}" -shared -fPIC -o "$tree/lib/libextension.so" "$sources/throws.cc" -Wl,--disable-new-dtags,-rpath,"$tree/lib" &&
    cp "$(gcc -print-file-name=libgcc_s.so.1)" "$tree/lib/libgcc_s.so.1" || return 1
  local size; for size in 256 512 1024 2048; do gcc -O2 -DSIZE=$size -shared -fPIC -o "$tree/lib/libtls$size.so" "$sources/tls.c" || return 1; done
}
same_as_bare() { bare "$@"; run 60 "$stage/bin/pyshm-exec" "$@"; equal "$*" "$(cat "$work/bare")" "$(cat "$work/out")"; }
test_exceptions_and_thread_local_storage_are_as_without_the_shim() {
  staged unwinding; local size
  same_as_bare "$built/unwind" "$tree"
  same_as_bare "$built/runtime" "$tree"
  # Only the runtime library beside the extension must be loaded.
  contains "the runtime library" "$(cat "$work/out")" "runtime $tree/lib/libgcc_s.so.1"
  contains "the runtime library" "$(cat "$work/out")" "others 0"
  for size in 256 512 1024 2048; do same_as_bare "$built/tls" "$tree/lib/libtls$size.so"; done
  contains "64 KB linked" "$(cat "$work/out")" "linked 1"
  said
}

test_threads_are_cancelled_inside_hooks() {
  staged true
  bare "$built/cancel" "$tree" 100
  run 120 "$stage/bin/pyshm-exec" "$built/cancel" "$tree" $((seconds * 10)); said
}

test_shells_started_by_many_threads_all_have_the_shim() {
  staged true; local time; time=$(share 8)
  sh "$sources/mktree.sh" "$work/bare-tree"; bare "$built/shells" "$work/bare-tree" 0
  run $((time * 2 + 60)) "$stage/bin/pyshm-exec" "$built/shells" "$tree" "$time"; said
}

run_tests
