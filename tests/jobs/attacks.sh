#!/bin/bash
# Tests jobs that find a file in /dev/shm under a name that pyshm needs, because another user attacks or by accident.
# pyshm refuses the file in one line with the path, the cause and the way out. pyshm does not use the file, does not
# remove it and does not wait for it, and the command runs. The tests have two real users: 12345 runs the jobs, 12346 is
# the attacker.
. "$(dirname "$0")/harness.sh"
bundle=$(bundle_of venv "$venv") || exit 1
as() { local uid=$1; shift; timeout 600 setpriv --reuid "$uid" --regid "$uid" --clear-groups -- env HOME=/ "$@"; }
user() { as 12345 "$@"; }
attacker() { as 12346 "$@"; }
mine=/dev/shm/pyshm-12345

# refused PATTERN [ROOT]: checks that the command runs after one line of warning with the cause and the way out, and
# does not run with --no-fallback.
refused() {
  local pattern=$1 root=${2:-/dev/shm}
  user "$pyshm_run" --root "$root" -b "$bundle" "$venv/bin/python" -c 'import numpy, sys; print(numpy.__name__, sys.prefix)' >"$work/out" 2>"$work/said"
  equal "exit status" 0 $?
  equal "the program's output" "numpy $venv" "$(cat "$work/out")"
  equal "lines of warning" 1 "$(wc -l <"$work/said")"
  contains "the warning" "$(cat "$work/said")" "pyshm-run: warning: $pattern"
  contains "the way out" "$(cat "$work/said")" "choose another place, as --root /tmp, or --root with a private directory of yours in /dev/shm"
  user "$pyshm_run" --no-fallback --root "$root" -b "$bundle" "$venv/bin/python" -c 'print("ran")' >"$work/out" 2>"$work/said"
  equal "exit status without fallback" 73 $?
  equal "the output without fallback" "" "$(cat "$work/out")"
}
# ways_out: checks that both ways out of the message work while the attacker's file exists.
ways_out() {
  equal "under a private directory" "$venv" "$(user bash -c 'mkdir -m 700 /dev/shm/private && exec "$@"' - "$pyshm_run" --no-fallback --root /dev/shm/private -b "$bundle" "$venv/bin/python" -c 'import sys; print(sys.prefix)')"
  user rmdir /dev/shm/private || fail "left: $(find /dev/shm/private)"
  mkdir -m 1777 "$work/tmp"
  equal "under another root" "$venv" "$(user "$pyshm_run" --no-fallback --root "$work/tmp" -b "$bundle" "$venv/bin/python" -c 'import sys; print(sys.prefix)')"
  [ -z "$(ls -A "$work/tmp")" ] || fail "left: $(find "$work/tmp")"
}
# tools_refuse PATTERN: checks that each command of pyshm exits with 73 and prints PATTERN.
tools_refuse() {
  local tool
  for tool in status gc "unstage --all"; do
    # shellcheck disable=SC2086
    user "$pyshm" $tool >"$work/out" 2>&1; equal "exit status of $tool" 73 $?
    contains "the output of $tool" "$(cat "$work/out")" "$1"
  done
}

test_a_directory_of_another_user_is_refused() {
  attacker mkdir -m 777 $mine || fail mkdir
  refused "failed to trust $mine: it belongs to another user"
  tools_refuse "failed to trust $mine: it belongs to another user"
  ways_out
  [ -z "$(ls -A $mine)" ] || fail "pyshm wrote into the directory"
  rmdir $mine
}
test_a_symbolic_link_to_another_directory_of_the_user_is_refused() {
  user mkdir -m 700 /dev/shm/precious; user touch /dev/shm/precious/data; attacker ln -s precious $mine || fail ln
  refused "failed to trust $mine: it is a symbolic link, not a directory"
  tools_refuse "it is a symbolic link, not a directory"
  equal "files in the link's target" data "$(ls -A /dev/shm/precious)"
  rm -r $mine /dev/shm/precious
}
test_a_dangling_symbolic_link_is_refused() {
  attacker ln -s /dev/shm/made-by-us $mine || fail ln
  refused "failed to trust $mine: it is a symbolic link, not a directory"
  [ ! -e /dev/shm/made-by-us ] || fail "the link was followed"
  rm $mine
}
test_a_plain_file_and_a_fifo_are_refused() {
  attacker touch $mine; refused "failed to trust $mine: it is a file, not a directory"; rm $mine
  attacker mkfifo $mine; refused "failed to trust $mine: it is a FIFO, not a directory"; tools_refuse "it is a FIFO"; rm $mine
}
test_a_directory_that_others_may_enter_or_change_is_refused() {
  local mode
  for mode in 0770 0707 0755; do
    user mkdir $mine; user chmod $mode $mine
    refused "failed to trust $mine: others may enter or change it (its mode is $mode, and should be 0700)"
    rmdir $mine
  done
}
test_a_root_where_others_may_exchange_names_is_refused() {
  mkdir -m 777 /dev/shm/open; refused "failed to trust /dev/shm/open: other users may write to it, and it has no sticky bit" /dev/shm/open
  mkdir -m 1777 /dev/shm/open/below; refused "failed to trust /dev/shm/open: other users may write to it, and it has no sticky bit" /dev/shm/open/below
  rmdir /dev/shm/open/below; chmod 770 /dev/shm/open; chown 12345 /dev/shm/open
  refused "failed to trust /dev/shm/open: other users may write to it" /dev/shm/open
  attacker mkdir -m 1777 /dev/shm/theirs; refused "failed to trust /dev/shm/theirs: it belongs to another user" /dev/shm/theirs
  equal "files that are left" "" "$(find /dev/shm/open /dev/shm/theirs -mindepth 1)"
  rm -r /dev/shm/open /dev/shm/theirs
}

# name_of_stage: stages, and sets $name to the name of the stage. A test then replaces the stage, or a file in it, by
# something that pyshm did not make.
name_of_stage() {
  name=$(user "$pyshm" stage -b "$bundle") || fail "stage"
  name=${name##*/}
}
# in_place PATTERN: checks that a run, `pyshm status` and `pyshm unstage` refuse the file that has the stage's name,
# with a message that contains PATTERN.
in_place() {
  refused "$1"
  user "$pyshm" status >"$work/out" 2>&1; equal "exit status of status" 0 $?
  contains "the output of status" "$(cat "$work/out")" "$1"
  user "$pyshm" gc >"$work/out" 2>&1; equal "exit status of gc" 0 $?
  user "$pyshm" unstage "$name" >"$work/out" 2>&1; equal "exit status of unstage" 73 $?
  contains "the output of unstage" "$(cat "$work/out")" "$1"
}
test_a_stage_of_another_user_is_refused() {
  name_of_stage; cp -a $mine/$name /dev/shm/copy; user "$pyshm" unstage --all
  user mkdir -m 700 $mine; mv /dev/shm/copy $mine/$name; chown -R 12346 $mine/$name
  in_place "failed to trust $mine/$name: it belongs to another user"
  [ -e $mine/$name/index ] || fail "another user's file was removed"
  # The shim refuses the stage too.
  local said; said=$(user env PYSHM_LOG=1 PYSHM_STAGE=$mine/$name LD_PRELOAD="$top/target/pyshm/lib/libpyshm.so" "$venv/bin/python" -c 'print("ran")' 2>&1)
  contains "the program" "$said" ran; contains "the shim" "$said" "inactive: the stage's directory belongs to another user"
  rm -r $mine
}
test_a_symbolic_link_with_a_stages_name_is_refused() {
  name_of_stage; mv $mine/$name /dev/shm/elsewhere; user ln -s /dev/shm/elsewhere $mine/$name
  in_place "failed to trust $mine/$name: it is a symbolic link, not a directory"
  user "$pyshm" unstage --force "$name" || fail "unstage --force"
  [ -e /dev/shm/elsewhere/index ] || fail "the target of the link was removed"
  rm -r /dev/shm/elsewhere; [ ! -e $mine ] || fail "left: $(find $mine)"
}
test_a_plain_file_with_a_stages_name_is_refused() {
  name_of_stage; user "$pyshm" unstage --all; user mkdir -m 700 $mine; user touch "$mine/$name"
  in_place "failed to trust $mine/$name: it is a file, not a directory"
  user "$pyshm" unstage --force "$name" || fail "unstage --force"; [ ! -e $mine ] || fail "left: $(find $mine)"
}
test_a_stage_that_its_group_may_write_to_is_refused() {
  name_of_stage; chmod 775 "$mine/$name"
  in_place "failed to trust $mine/$name: others may enter or change it (its mode is 0775, and should be 0700)"
  user "$pyshm" unstage --force --all || fail "unstage --force"
}
test_a_fifo_with_the_name_of_any_file_of_a_stage_is_refused() {
  local file
  for file in index state lease stage.json lib/libpyshm.so bin/pyshm-exec; do
    name_of_stage; rm "$mine/$name/$file"; user mkfifo "$mine/$name/$file"
    in_place "failed to trust $mine/$name/$file: it is a FIFO, not a file"
    user "$pyshm" unstage --force "$name" || fail "unstage --force"
  done
}
test_a_fifo_as_index_or_state_does_not_block_the_shim() {
  local file said
  for file in index state; do
    name_of_stage; rm "$mine/$name/$file"; user mkfifo "$mine/$name/$file"
    said=$(user env PYSHM_LOG=1 LD_PRELOAD="$mine/$name/lib/libpyshm.so" "$venv/bin/python" -c 'print("ran")' 2>&1); equal "exit status" 0 $?
    contains "the program" "$said" ran
    user "$pyshm" unstage --force "$name" || fail "unstage --force"
  done
}
test_a_hard_link_to_the_index_of_another_stage_is_refused() {
  mkdir -m 700 "$work/p"; touch "$work/p/f"; chmod -R a+rX "$work"
  "$pyshm" bundle env "$work/p" -o "$work/other.tar.zst" -q || fail bundle; chmod a+r "$work/other.tar.zst"
  local other; other=$(user "$pyshm" stage -b "$work/other.tar.zst") || fail "stage"
  name_of_stage; user ln -f "$other/index" "$mine/$name/index" || fail ln
  in_place "failed to trust $mine/$name/index: it has another name as well (a hard link)"
  local said; said=$(user env PYSHM_LOG=1 LD_PRELOAD="$mine/$name/lib/libpyshm.so" "$venv/bin/python" -c 'print("ran")' 2>&1)
  contains "the program" "$said" ran
  user "$pyshm" unstage --force --all || fail "unstage --force"; [ ! -e $mine ] || fail "left: $(find $mine)"
}
test_a_link_with_the_name_of_an_unfinished_stage_is_not_followed() {
  user mkdir -m 700 $mine /dev/shm/precious; user touch /dev/shm/precious/data
  user ln -s /dev/shm/precious $mine/.new-0123456789abcdef-1; user mkfifo $mine/.new-0123456789abcdef-2
  equal "the run" "$venv" "$(user "$pyshm_run" --no-fallback -b "$bundle" "$venv/bin/python" -c 'import sys; print(sys.prefix)')"
  user "$pyshm" gc >/dev/null || fail gc
  equal "files in the link's target" data "$(ls -A /dev/shm/precious)"
  rm -r $mine /dev/shm/precious
}
test_a_link_with_the_name_of_the_directory_for_programs_is_not_followed() {
  mount_over /tmp -t tmpfs -o mode=1777 tmpfs || fail mount
  user mkdir -p /dev/shm/precious/run-1 /dev/shm/precious/run-2/lib; user touch /dev/shm/precious/run-1/data
  attacker ln -s /dev/shm/precious /tmp/pyshm-12345
  equal "the run" "$venv" "$(user "$pyshm_run" --no-fallback -b "$bundle" "$venv/bin/python" -c 'import sys; print(sys.prefix)')"
  user "$pyshm" gc >/dev/null || fail gc
  equal "files in the link's target" "data run-1 run-2" "$(cd /dev/shm/precious && echo $(ls run-1; ls))"
  # `pyshm unstage` must not follow a link in a stage that belongs to another user.
  user mkdir -m 700 $mine; mkdir -p $mine/0123456789abcdef; ln -s /dev/shm/precious/run-2/lib $mine/0123456789abcdef/lib; chown -hR 12346 $mine/0123456789abcdef
  user "$pyshm" unstage --force 0123456789abcdef >/dev/null 2>&1
  [ -d /dev/shm/precious/run-2/lib ] || fail "the target of another user's link was removed"
  rm -rf $mine /dev/shm/precious; umount --lazy /tmp
}

run_tests
