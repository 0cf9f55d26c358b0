#!/bin/bash
# Processes that cannot mark what they change close the stage, and memory that runs out changes nothing: 8 processes read and write
# meanwhile, and each answer is compared with what the shared file system has at that time. ROUNDS rounds (20; by hand: ROUNDS=1000).
. "$(dirname "$0")/harness.sh"
rounds=${ROUNDS:-20}
sources=$top/tests/stress
built=$(mktemp -d /var/tmp/pyshm-closing.XXXXXX); chmod 755 "$built"
trap 'rm -rf "$built"' EXIT
gcc -O2 -g -Wall -Wextra -Wno-format-truncation -pthread -o "$built/closing" "$sources/closing.c" &&
  gcc -O2 -static -o "$built/plain" "$sources/plain.c" || { echo "failed to build the programs"; exit 1; }

# staged: makes the tree anew and stages it: $tree, $stage.
staged() {
  tree=$work/tree
  rm -rf "$work"/tree*; sh "$sources/mktree.sh" "$tree" && ln -s "$tree/w/.." "$tree/out" || fail "the tree"
  "$pyshm" bundle env "$tree" -o "$work/tree.tar.zst" -q && stage=$("$pyshm" stage -b "$work/tree.tar.zst") || fail "the stage"
  rm -f "$work/stop"; cp "$built/plain" "$work/plain"
}
# started [HOW]: starts the program in the background: $program. It runs with the shim in a stage of its own.
started() {
  timeout -k 5 120 "$stage/bin/pyshm-exec" "$built/closing" "$tree" "$work/stop" "$@" >"$work/out" 2>&1 &
  program=$!
  sleep "0.$((RANDOM % 3 + 1))"
}
# ended: ends the program, which must have found no wrong answer.
ended() {
  sleep 0.1; touch "$work/stop"; wait "$program"; local status=$?
  [ $status = 0 ] || fail "status $status in round ${round:-1} (${how:-}): $(grep -m 5 'closing.c' "$work/out"; tail -n 3 "$work/out")"
  local verified; verified=$(awk '/^verified/ { print $2 }' "$work/out"); [ "${verified:-0}" -gt 0 ] || fail "nothing was verified: $(cat "$work/out")"
  total=$((${total:-0} + verified))
}
# what_is_said: what `pyshm status` says of the stage.
what_is_said() { "$pyshm" status | awk -v stage="$stage" '/^\// { own = $1 == stage } own'; }
closed_because() { contains "the status" "$(what_is_said)" "closed, so that nothing is answered here: $1"; }
is_open() { [[ $(what_is_said) == *"passed on"* && $(what_is_said) != *closed* ]] || fail "closed: $(what_is_said)"; }

remove_stage() {
  case $1 in
    unstage) "$pyshm" unstage --force "$stage" >/dev/null ;;
    directory) rm -rf "$stage" ;;
    above) rm -rf "${stage%/*}" ;;
    files) find "$stage" -delete ;;
    by-program) "$stage/bin/pyshm-exec" rm -rf "$stage" ;;
  esac
}
test_a_stage_is_removed_while_8_processes_read_and_write() {
  local ways=(unstage directory above files by-program)
  for round in $(seq "$rounds"); do
    how=${ways[round % ${#ways[@]}]}
    staged; started; remove_stage "$how" || fail "$how"; ended
  done
  note "$rounds rounds, $total answers compared"
}

test_shared_memory_is_filled_by_another_before_during_and_after_staging() {
  [ "$(id -u)" = 0 ] || { note "needs root"; return 0; }
  mount -t tmpfs -o mode=1777,size=96m tmpfs /dev/shm || fail "a small /dev/shm"
  local filler said; export PYSHM_RESERVE=16m
  for round in $(seq "$rounds"); do
    how=after; staged; started; dd if=/dev/zero of=/dev/shm/filled bs=64k status=none 2>/dev/null; ended
    rm -f /dev/shm/filled; "$pyshm" unstage --force --all >/dev/null 2>&1 || rm -rf /dev/shm/pyshm-*
    # Beforehand there is no room; meanwhile there may be some. The job runs all the same.
    for how in before during; do
      (while [ ! -e "$work/full" ]; do dd if=/dev/zero of=/dev/shm/filled bs=1M status=none 2>/dev/null; touch "$work/was"; [ $how = during ] && rm -f /dev/shm/filled; done) & filler=$!
      while [ ! -e "$work/was" ]; do sleep 0.01; done
      said=$(PATH=$tree/bin:$PATH "$pyshm_run" -b "$work/tree.tar.zst" sh -c "cat '$tree/d9/f9'; echo x >'$tree/d9/new'; cat '$tree/d9/new'" 2>/dev/null)
      touch "$work/full"; wait $filler; rm -f "$work/full" "$work/was" /dev/shm/filled "$tree/d9/new"
      equal "a job where memory was full $how" "d9/f9 x" "$(echo $said)"
    done
    rm -rf /dev/shm/pyshm-*
  done
  umount /dev/shm; note "$rounds rounds, $total answers compared"
}

test_a_process_without_descriptors_changes_files() {
  for round in $(seq $((rounds / 4 + 1))); do staged; started descriptors; ended; done
  closed_because "a process could not find out what it changed"
}

test_a_static_program_changes_files() {
  for round in $(seq $((rounds / 4 + 1))); do staged; started static; ended; done
  closed_because "a program started that the shim does not enter"
  contains "the program's name" "$("$pyshm" status --json)" "/plain"
}

test_a_static_program_that_is_named_or_cannot_write_closes_nothing() {
  staged
  PYSHM_UNSHIMMED=other:plain "$stage/bin/pyshm-exec" sh -c "'$work/plain' remove '$work/none'; :"
  PYSHM_UNSHIMMED=keep "$stage/bin/pyshm-exec" sh -c "'$work/plain' remove '$work/none'; '$work/plain' remove '$work/none'"
  "$stage/bin/pyshm-exec" sh -c "'$work/nowhere'; chmod -x '$work/plain'; '$work/plain'" 2>/dev/null
  chmod +x "$work/plain"
  is_open
  "$stage/bin/pyshm-exec" "$work/plain" remove "$work/none"; closed_because "a program started"
  [ "$(id -u)" = 0 ] || return 0
  # A tree that is mounted read-only cannot be written by anybody.
  "$pyshm" unstage --force "$stage" >/dev/null; mount --bind "$tree" "$tree" && mount -o remount,bind,ro "$tree" || fail "the mount"
  "$pyshm" bundle env "$tree" -o "$work/ro.tar.zst" -q && stage=$("$pyshm" stage -b "$work/ro.tar.zst") || fail "the stage"
  "$stage/bin/pyshm-exec" sh -c "'$work/plain' remove '$work/none'"
  is_open
  umount "$tree"
}

# The trampoline is static and enters its own stage, by whatever name it is started.
test_a_job_within_a_job_keeps_the_stage_open() {
  local said words
  staged; export PATH=$tree/bin:$PATH
  said=$("$pyshm_run" -b "$work/tree.tar.zst" sh -c "cat '$tree/d0/f0'; '$pyshm_run' -b '$work/tree.tar.zst' sh -c 'echo inner >\"$tree/d0/f0\"'; cat '$tree/d0/f0'") || fail "the job"
  equal "what the jobs print" "d0/f0 inner" "$(echo $said)"; is_open
  for words in "'$stage/bin/pyshm-exec'" "cd '$stage/bin'; ./pyshm-exec" "cd '$stage'; exec bin/../bin/pyshm-exec --argv0 name" "env -i '$stage/bin/pyshm-exec' --"; do
    said=$("$stage/bin/pyshm-exec" sh -c "($words '$tree/bin/script' x); cat '$tree/d0/f0'") || fail "$words"
    contains "$words" "$said" "/bin/script x"; is_open
  done
  # With --env, its program runs without the shim.
  "$stage/bin/pyshm-exec" "$stage/bin/pyshm-exec" --env true; closed_because "a program started"
}

# Which program closes the stage is not a question of its name alone.
test_programs_of_the_system_close_nothing_where_their_arguments_say_so() {
  local words
  staged
  for words in "/sbin/ldconfig -p" "/usr/sbin/ldconfig --print-cache"; do
    "$stage/bin/pyshm-exec" sh -c "$words >'$work/list'; :"
  done
  is_open
  cp "$built/plain" "$work/ping"; cp "$built/plain" "$work/ldconfig"; mkdir -p "$tree/lib"
  for words in "/sbin/ldconfig -n $tree/lib" "/sbin/ldconfig -Nn $tree/lib" "/sbin/ldconfig -C$tree/cache" "/sbin/ldconfig -r $tree" \
    "/sbin/ldconfig -p -C $tree/cache" "/sbin/ldconfig -N $tree/lib" "$work/ping write $tree/d0/f0" "$work/ldconfig write $tree/d0/f0" \
    "/bin/../..$work/ping write $tree/d0/f0" "cd $work; ./ping write $tree/d0/f0"; do
    "$pyshm" unstage --force "$stage" >/dev/null; staged; mkdir -p "$tree/lib"
    cp "$built/plain" "$work/ping"; cp "$built/plain" "$work/ldconfig"
    "$stage/bin/pyshm-exec" sh -c "$words; :" 2>/dev/null
    [[ $(what_is_said) == *"closed, so"* ]] || fail "open after $words"
  done
}

# The loader lists the libraries of a program; a program without libraries runs.
test_a_static_program_in_an_environment_that_lists_libraries_changes_files() {
  local value said
  for value in 1 "" 0; do
    staged
    said=$("$stage/bin/pyshm-exec" sh -c "cat '$tree/d0/f0'; LD_TRACE_LOADED_OBJECTS=$value '$work/plain' write '$tree/d0/f0'; cat '$tree/d0/f0'")
    equal "what the shell sees" "d0/f0 plain" "$(echo $said)"
    closed_because "a program started"; "$pyshm" unstage --force "$stage" >/dev/null
  done
  staged
  said=$("$stage/bin/pyshm-exec" sh -c "export LD_TRACE_LOADED_OBJECTS=; /bin/true; '$tree/bin/script' x")
  contains "the list" "$said" "libc.so"; [[ $said != *pyshm* ]] || fail "the shim is listed: $said"
  is_open
}

test_a_program_that_its_bundle_does_not_have_changes_files() {
  local said
  staged
  cp /bin/cp "$tree/bin/later"; echo later >"$work/text"
  "$stage/bin/pyshm-exec" "$tree/bin/later" "$work/text" "$tree/d0/f0" 2>/dev/null || fail "the program"
  said=$("$stage/bin/pyshm-exec" cat "$tree/d0/f0")
  equal "what the next program sees" later "$said"
  closed_because "a program started"; contains "the program's name" "$("$pyshm" status --json)" "/bin/later"
}

# What a program without the shim inherits: a directory of the original, and a file whose offset is that of all who have it.
test_what_a_program_without_the_shim_inherits() {
  local how program bare said
  printf '%s\n' '#!/bin/sh' 'read -r line; echo "here $line"; echo x >/proc/self/fd/3/made' >"$work/podman"; chmod +x "$work/podman"
  printf '%s\n' '#!/bin/sh' "exec '$built/plain' write /proc/self/fd/3/made <&0" >"$work/by-plain"; chmod +x "$work/by-plain"
  local script='exec 3<"$1/d0" <"$1/lines"; [ -z "$4" ] || "$4" remove /nowhere; [ -z "$3" ] || rm -rf "$3"
    read -r line; echo "$line"; "$2" 3<&3; read -r line; echo "$line"'
  for program in podman by-plain; do
    for how in open closed gone; do
      staged; seq 9 >"$tree/lines"; "$pyshm" unstage --force "$stage" >/dev/null
      "$pyshm" bundle env "$tree" -o "$work/lines.tar.zst" -q && stage=$("$pyshm" stage -b "$work/lines.tar.zst") || fail "the stage"
      bare=$(sh -c "$script" sh "$tree" "$work/$program" "" "") || fail "bare"
      [ -e "$tree/d0/made" ] || fail "bare: nothing was made"; rm "$tree/d0/made"
      local removed="" closer=""; [ $how != gone ] || removed=$stage; [ $how != closed ] || closer=$work/plain
      said=$("$stage/bin/pyshm-exec" sh -c "$script" sh "$tree" "$work/$program" "$removed" "$closer")
      equal "$program, $how" "$bare" "$said"
      [ -e "$tree/d0/made" ] || fail "$program, $how: the original directory was not changed"
      [ ! -e "$stage/fs$tree/d0/made" ] || fail "$program, $how: the stage was changed"
      "$pyshm" unstage --force --all >/dev/null 2>&1; :
    done
  done
}

# In a user namespace the numbers of users are others, and the user is the same.
test_a_user_namespace_neither_loses_the_shim_nor_closes_the_stage() {
  [ "$(id -u)" = 0 ] || { note "needs root"; return 0; }
  local as=(setpriv --reuid 65533 --regid 65533 --clear-groups env HOME=/nonexistent) root said map
  root=$(mktemp -d /var/lib/pyshm-closing.XXXXXX); chmod 755 "$root" "$work"; tree=$root/tree
  sh "$sources/mktree.sh" "$tree" && cp "$built/plain" "$root/plain" || fail "the tree"
  for owner in 0 65533; do
    chown -Rh "$owner:$owner" "$tree"; rm -f "$root/b.tar.zst"
    "$pyshm" bundle env "$tree" -o "$root/b.tar.zst" -q || fail "the bundle"; chmod 644 "$root/b.tar.zst"
    for map in -U -r -c; do
      stage=$("${as[@]}" "$pyshm" stage -b "$root/b.tar.zst") || fail "the stage"
      said=$("${as[@]}" "$stage/bin/pyshm-exec" unshare $map sh -c "/bin/grep -c libpyshm /proc/self/maps; '$tree/bin/script' x")
      [[ $said =~ ^[1-9] && $said == *"/bin/script x" ]] || fail "unshare $map: the shim is lost: $said"
      said=$("${as[@]}" "$pyshm" status); [[ $said != *closed* ]] || fail "unshare $map: closed: $said"
      "${as[@]}" "$stage/bin/pyshm-exec" unshare $map "$root/plain" write "$tree/d0/f0"
      said=$("${as[@]}" "$pyshm" status)
      # Who owns the tree writes in a namespace too.
      [ $owner = 0 ] && [[ $said == *closed* ]] && fail "unshare $map: closed by who may not write: $said"
      [ $owner = 0 ] || contains "the status after unshare $map" "$said" "closed"
      rm -rf "$stage"
    done
  done
  rm -rf "$root"
}

test_a_new_stage_knows_what_was_changed_beside_a_closed_one() {
  local said both
  staged
  mkdir -p "$work/tree-more"; echo more >"$work/tree-more/file"
  "$pyshm" bundle env "$work/tree-more" -o "$work/more.tar.zst" -q || fail "the other bundle"
  "$stage/bin/pyshm-exec" sh -c "echo marked >'$tree/d1/f1'; '$work/plain' write '$tree/d0/f0'; '$work/plain' write '$tree/w/new'; '$work/plain' remove '$tree/d0/f1'"
  closed_because "a program started"
  both=$("$pyshm" stage -b "$work/tree.tar.zst" -b "$work/more.tar.zst") || fail "the new stage"
  said=$("$both/bin/pyshm-exec" sh -c "cat '$tree/d0/f0' '$tree/d1/f1' '$tree/w/new' '$work/tree-more/file'; ls '$tree/d0/f1' 2>/dev/null")
  equal "what the new stage shows" "plain marked plain more" "$(echo $said)"
  stage=$both; is_open
  # What the new bundle has is answered.
  "$tools/trace.sh" "$work/trace" "$both/bin/pyshm-exec" cat "$work/tree-more/file" >/dev/null
  ! grep -v execve "$work/trace" | grep "\"$work/tree-more/" || fail "the new bundle is not answered"
  "$pyshm" unstage --force --all >/dev/null
}

# staged_libraries: stages a tree with a library that asks for libmarker.so, which lies in the second directory of its path.
# $work/new.so is another libmarker.so.
staged_libraries() {
  local objects=$top/tests/cases/probes/objects path
  staged; mkdir -p "$tree/lib/plugins"; path=$tree/lib/first:$tree/lib/plugins
  gcc -shared -fPIC -DTEXT=old -Wl,-soname,libmarker.so -o "$tree/lib/plugins/libmarker.so" "$objects/marker.c" &&
    gcc -shared -fPIC -DTEXT=new -Wl,-soname,libmarker.so -o "$work/new.so" "$objects/marker.c" &&
    gcc -w -shared -fPIC -Wl,--enable-new-dtags,-rpath,"$path" -o "$tree/lib/libcaller.so" "$objects/caller.c" || fail "the libraries"
  "$pyshm" unstage --force "$stage" >/dev/null; "$pyshm" bundle env "$tree" -o "$work/tree.tar.zst" -q && stage=$("$pyshm" stage -b "$work/tree.tar.zst") || fail "the stage"
}
test_the_loader_finds_what_changed_beside_a_kept_stage() {
  local how said
  mkdir "$work/other"; echo other >"$work/other/file"; "$pyshm" bundle env "$work/other" -o "$work/other.tar.zst" -q || fail "the other bundle"
  for how in replaced first directory link donor; do
    staged_libraries
    case $how in
      replaced) cp "$work/new.so" "$tree/lib/plugins/n" && mv "$tree/lib/plugins/n" "$tree/lib/plugins/libmarker.so" ;;
      first) mkdir "$tree/lib/first" && cp "$work/new.so" "$tree/lib/first/libmarker.so" ;;
      directory) mv "$tree/lib/plugins" "$tree/lib/away" && mkdir "$tree/lib/plugins" && cp "$work/new.so" "$tree/lib/plugins/libmarker.so" ;;
      link) mkdir "$tree/lib/new" && cp "$work/new.so" "$tree/lib/new/libmarker.so" && ln -s new "$tree/lib/first" ;;
      # What a program changed in one stage is known to the next one, which takes the bundle from it.
      donor) "$stage/bin/pyshm-exec" sh -c "mkdir '$tree/lib/first' && cp '$work/new.so' '$tree/lib/first/libmarker.so' && mv '$tree/lib/plugins' '$tree/lib/away'" ;;
    esac || fail "$how"
    [ $how != donor ] || stage=$("$pyshm" stage -b "$work/tree.tar.zst" -b "$work/other.tar.zst") || fail "the second stage"
    [ $how = donor ] || equal "the stage" "$stage" "$("$pyshm" stage -b "$work/tree.tar.zst")"
    said=$("$stage/bin/pyshm-exec" python3 -c "
import ctypes; c = ctypes.CDLL('$tree/lib/libcaller.so'); c.load.restype = ctypes.c_void_p
f = ctypes.CDLL(None, handle=c.load(b'libmarker.so')).marker; f.restype = ctypes.c_char_p; print(f().decode())")
    equal "$how" new "$said"; is_open
  done
}
test_the_loader_finds_the_originals_when_the_stage_is_closed() {
  local how said
  for how in runpath variable; do
    staged_libraries
    cat >"$work/loads.py" <<'PY'
import ctypes, os, subprocess, sys
tree, plain, how = sys.argv[1:]
caller = ctypes.CDLL(f"{tree}/lib/libcaller.so"); caller.load.restype = ctypes.c_void_p
def found():
    if how == "runpath": return caller.load(b"libmarker.so") is not None
    try: return bool(ctypes.CDLL("libmarker.so"))
    except OSError: return False
files = open(f"{tree}/d0/f0"), os.open(f"{tree}/d0", os.O_RDONLY)
subprocess.run([plain, "remove", f"{tree}/lib/plugins/libmarker.so"])
print(found(), os.readlink(f"/proc/self/fd/{files[0].fileno()}"), os.readlink(f"/proc/self/fd/{files[1]}"))
PY
    said=$(PYTHONDONTWRITEBYTECODE=1 LD_LIBRARY_PATH=$([ $how = variable ] && echo "$tree/lib/plugins") "$stage/bin/pyshm-exec" sh -c "python3 '$work/loads.py' '$tree' '$work/plain' $how")
    equal "$how" "False $tree/d0/f0 $tree/d0" "$said"; closed_because "a program started"
    "$pyshm" unstage --force "$stage" >/dev/null; [ -e "$tree/d0/f0" ] && [ ! -e "$stage" ] || fail "what is left after $how"
  done
}

test_the_loader_finds_the_originals_when_the_marks_are_full() {
  local links
  staged; "$pyshm" unstage --force "$stage" >/dev/null; mkdir -p "$tree/many" "$tree/lib"; echo >"$tree/lib/libother.so"
  (cd "$tree/many" && seq 60000 | xargs touch); "$pyshm" bundle env "$tree" -o "$work/tree.tar.zst" -q && stage=$("$pyshm" stage -b "$work/tree.tar.zst") || fail "the stage"
  "$stage/bin/pyshm-exec" python3 -c "
import os, sys
for i in range(1, 60001): os.utime(f'{sys.argv[1]}/many/{i}', (i, i))" "$tree" || fail "the changes"
  closed_because "more paths changed"
  equal "the library" "$tree/lib/libother.so" "$(readlink "$stage/fs$tree/lib/libother.so")"
  # Who closes the stage again makes no link that is there.
  links=$(stat -c %i "$stage/fs$tree/lib/libother.so"); "$stage/bin/pyshm-exec" "$work/plain" remove "$work/none"
  equal "the link" "$links" "$(stat -c %i "$stage/fs$tree/lib/libother.so")"
}
test_the_loader_is_led_to_the_originals_once_below_a_directory_that_is_gone() {
  local made
  staged_libraries; mkdir -p "$tree/lib/a/b/c"; cp "$work/new.so" "$tree/lib/a/b/c/libdeep.so"; "$pyshm" unstage --force "$stage" >/dev/null
  "$pyshm" bundle env "$tree" -o "$work/tree.tar.zst" -q && stage=$("$pyshm" stage -b "$work/tree.tar.zst") || fail "the stage"
  strace -f -qq -e trace=symlinkat -o "$work/trace" "$stage/bin/pyshm-exec" chmod -R o-rwx "$tree/lib" || fail "chmod"
  made=$(grep -c libdeep.so "$work/trace"); equal "links" 1 "$made"
  equal "the library" "$tree/lib/a/b/c/libdeep.so" "$(readlink "$stage/fs$tree/lib/a/b/c/libdeep.so")"
}

test_a_process_that_changes_its_root_changes_files() {
  [ "$(id -u)" = 0 ] || { note "needs root"; return 0; }
  staged
  local said
  said=$("$stage/bin/pyshm-exec" python3 -ISc '
import os, sys
name = sys.argv[1] + "/d0/f0"
print(open(name).read().strip(), end=" ", flush=True)
if os.fork() == 0:
    os.chroot("/"); open(name, "w").write("other"); os._exit(0)
os.wait()
print(open(name).read())' "$tree") || fail "the program"
  equal "what the parent sees" "d0/f0 other" "$said"
  closed_because "a program started"
}

# spawned HOW NAME: a child goes where file actions send it, and starts NAME there.
spawned() {
  "$stage/bin/pyshm-exec" python3 - "$work" "$@" <<'PY'
import ctypes, os, sys
libc = ctypes.CDLL(None); work, how, name = sys.argv[1:]
actions = ctypes.create_string_buffer(1024); libc.posix_spawn_file_actions_init(actions)
os.chdir("/"); fd = os.open(work, os.O_RDONLY)
if how == "path": libc.posix_spawn_file_actions_addchdir_np(actions, work.encode())
if how == "descriptor": libc.posix_spawn_file_actions_addfchdir_np(actions, fd)
if how == "opened":
    libc.posix_spawn_file_actions_addopen(actions, 70, work.encode(), os.O_RDONLY, 0)
    libc.posix_spawn_file_actions_addfchdir_np(actions, 70)
if how == "search": os.environ["PATH"] = "."; libc.posix_spawn_file_actions_addchdir_np(actions, work.encode())
words = (ctypes.c_char_p * 4)(name.encode(), b"remove", f"{work}/none".encode(), None)
pid = ctypes.c_int()
start = libc.posix_spawnp if how == "search" else libc.posix_spawn
sys.exit(start(ctypes.byref(pid), name.encode(), actions, None, words, None) or os.waitpid(pid.value, 0)[1] & 0)
PY
}
test_a_static_program_in_the_directory_of_a_child_closes() {
  local how
  for how in path descriptor opened search; do
    staged; spawned $how plain || fail "$how"; closed_because "a program started"
    staged; cp /bin/true "$work/shimmed"; spawned $how shimmed || fail "$how"; is_open
  done
}

test_a_facility_s_tree_stays_open_for_users_who_cannot_write_it() {
  [ "$(id -u)" = 0 ] || { note "needs root"; return 0; }
  local as=(setpriv --reuid 65533 --regid 65533 --clear-groups env HOME=/nonexistent) root
  root=$(mktemp -d /var/lib/pyshm-closing.XXXXXX); chmod 755 "$root" "$work"; tree=$root/tree
  sh "$sources/mktree.sh" "$tree" && cp "$built/plain" "$root/plain"
  # A program that nobody else may read, and a file that is led to its original.
  cp "$built/plain" "$root/unread" && chmod 711 "$root/unread"; echo secret >"$tree/d0/secret"; chmod 600 "$tree/d0/secret"
  "$pyshm" bundle env "$tree" -o "$root/b.tar.zst" -q || fail "the bundle"; chmod 644 "$root/b.tar.zst"
  stage=$("${as[@]}" "$pyshm" stage -b "$root/b.tar.zst") || fail "the stage"
  equal "the time of a directory" "$(stat -c %.9Y "$tree/d0")" "$(stat -c %.9Y "$stage/fs$tree/d0")"
  "${as[@]}" "$stage/bin/pyshm-exec" "$root/plain" write "$tree/d0/f0"
  "${as[@]}" "$stage/bin/pyshm-exec" "$root/unread" write "$tree/d0/f0"
  local said; said=$("${as[@]}" "$pyshm" status); rm -rf "$stage"
  [[ $said != *closed* ]] || { rm -rf "$root"; fail "closed: $said"; }
  # One directory that everybody may write is enough.
  chmod 777 "$tree/w"; "$pyshm" bundle env "$tree" -o "$root/c.tar.zst" -q; chmod 644 "$root/c.tar.zst"
  stage=$("${as[@]}" "$pyshm" stage -b "$root/c.tar.zst") || fail "the stage"
  "${as[@]}" "$stage/bin/pyshm-exec" "$root/plain" write "$tree/w/new"
  said=$("${as[@]}" "$pyshm" status); rm -rf "$stage" "$root"
  contains "the status" "$said" "closed"
}

test_a_process_that_cannot_map_the_index_closes_the_stage() {
  staged
  python3 - "$tree/many" <<'PY' || fail "many files"
import os, sys
os.makedirs(sys.argv[1])
for i in range(60000): open(f"{sys.argv[1]}/some_long_module_name_{i}.cpython-311.pyc", "w").close()
PY
  "$pyshm" unstage --force "$stage" >/dev/null
  "$pyshm" bundle env "$tree" -o "$work/many.tar.zst" -q && stage=$("$pyshm" stage -b "$work/many.tar.zst") || fail "the stage"
  local said
  said=$("$stage/bin/pyshm-exec" bash -c "[ -e $tree/d0/f0 ] && echo there; (ulimit -v 12000; /bin/rm $tree/d0/f0) || echo failed; [ -e $tree/d0/f0 ] && echo 'still there'")
  equal "what the shell sees" "there" "$said"
  closed_because "a process could not map it"
  # Nor may a limit on the size of files end the process that closes the stage.
  rm -rf "$stage"; stage=$("$pyshm" stage -b "$work/many.tar.zst") || fail "the stage"
  said=$("$stage/bin/pyshm-exec" bash -c "(ulimit -v 12000; ulimit -f 0; /bin/rm $tree/d0/f1) || echo failed; [ -e $tree/d0/f1 ] && echo 'still there'")
  equal "what the shell sees" "" "$said"
}

test_a_process_without_proc_changes_files() {
  [ "$(id -u)" = 0 ] || { note "needs root"; return 0; }
  staged
  cat >"$work/t.py" <<'PY'
import os, sys
tree = sys.argv[1]
d = os.open(tree + "/d0", os.O_RDONLY | os.O_DIRECTORY)
os.mkdir("made", dir_fd=d); os.unlink("f0", dir_fd=d); os.rename("f1", "moved", src_dir_fd=d, dst_dir_fd=d)
os.unlink("f2", dir_fd=os.dup(d)) if len(sys.argv) < 3 else None
os.chdir(tree + "/d1"); os.unlink("f0"); os.unlink(tree + "/out/d1/f1")
for name in ["d0/made", "d0/f0", "d0/f1", "d0/moved", "d0/f3", "d1/f0", "d1/f1", "d1/f2"]: print(name, os.path.exists(tree + "/" + name))
print(sorted(os.listdir(tree + "/d0")))
PY
  local bare said
  bare=$(unshare -m sh -c "mount -t tmpfs none /proc; exec python3 '$work/t.py' '$tree' keep") || fail "bare"
  "$pyshm" unstage --force "$stage" >/dev/null; staged
  said=$("$stage/bin/pyshm-exec" unshare -m sh -c "mount -t tmpfs none /proc; exec python3 '$work/t.py' '$tree' keep") || fail "without /proc"
  equal "what the program sees" "$bare" "$said"
  [ ! -e "$stage/fs$tree/d0/made" ] && [ -e "$stage/fs$tree/d0/f0" ] || fail "the stage itself was changed"
}

run_tests
