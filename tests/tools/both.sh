# Sourced by job tests of real programs: the same command bare and staged, outputs, statuses and trees compared, path
# operations counted by strace in both runs.
#
# The tree is $p. A test makes it, calls `reads` as often as it likes, then perhaps `writes`, which starts from a copy of
# the tree as it was. Invariants: a bare run that does not touch the prefix fails the test, so that nothing passes
# because a program was not seen; modification times of a tree are of 2020, so that what a program wrote can be told.
export LC_ALL=C TZ=UTC GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 PYTHONPYCACHEPREFIX= PYTHONNOUSERSITE=1
# A shell's own start-up files and histories are not what is tested.
export ZDOTDIR=/nowhere HISTFILE=
unset CDPATH MAKEFLAGS MFLAGS PERL5LIB NODE_PATH JAVA_TOOL_OPTIONS PYTHONPATH PYTHONPYCACHEPREFIX
both_python=$venv/bin/python

# Gives every file below $p a time of 2020 and reads everything once, so that times of access stand still afterwards.
settle() {
  find "$p" -exec touch -h -d '2020-02-02 02:02:02.123456789Z' {} +
  look
}
look() { find "$p" -type f -exec cat {} + >/dev/null; find "$p" -type l -exec readlink {} + >/dev/null; }

# staged: bundles and stages $p; $stage is the stage.
staged() {
  unstaged
  "$pyshm" bundle env "$p" -o "$work/b.tar.zst" -q || fail "bundle"
  stage=$("$pyshm" stage -b "$work/b.tar.zst") || fail "stage"
}
unstaged() { [ -z "${stage:-}" ] || "$pyshm" unstage --all >/dev/null || fail "unstage"; stage=; rm -f "$work/b.tar.zst"; }

# One traced run: run_as bare|staged COMMAND…; in $work, which is no part of the prefix. What it makes in out/ is compared.
run_as() {
  local how=$1 start=(); shift
  [ "$how" = bare ] || start=("$stage/bin/pyshm-exec")
  rm -rf "$work/out"; mkdir "$work/out"
  ( cd "$work" && export OUT=$work/out && exec bash "$tools/trace.sh" "$work/$how.trace" "${start[@]}" "$@" ) >"$work/$how.out" 2>"$work/$how.err" </dev/null
  echo "exit status $?" >>"$work/$how.out"
  rm -rf "$work/$how.made"; mv "$work/out" "$work/$how.made"
}
# A script that broke off half-way compares little: the last status is 0, or what $expected_status says.
went_well() { [ "$(tail -n 1 "$work/bare.out")" = "exit status ${expected_status:-0}" ] || fail "$1: bare it ends with $(tail -n 1 "$work/bare.out"): $(tail -n 5 "$work/bare.err")"; }
operations() { python3 "$tools/count_ops.py" "$work/$1.trace" --under "$p" "${@:2}"; }
total() { operations "$1" --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["total"])'; }

# same_output WHAT: what the two runs printed, and made in $work/out, is the same.
same_output() {
  local stream
  for stream in out err; do
    diff "$work/bare.$stream" "$work/staged.$stream" >"$work/diff" || fail "$1: standard $stream differs (< bare, > staged): $(head -n 30 "$work/diff")"
  done
  python3 "$tools/tree.py" "$work/bare.made" "$work/staged.made" "${tree_options[@]}" || fail "$1: what was made outside the prefix differs"
}
tree_options=()

# reads WHAT COMMAND…: a command that only reads makes no operation on the prefix.
reads() {
  local what=$1 bare ours; shift
  run_as bare "$@"; went_well "$what"
  # The bundle is made once for all commands that only read.
  [ -n "${stage:-}" ] || staged
  run_as staged "$@"
  same_output "$what"
  bare=$(total bare); ours=$(total staged)
  note "$what: $bare operations bare, $ours staged"
  [ "$bare" -gt 0 ] || fail "$what: the bare run was not seen on the prefix"
  [ "$ours" = 0 ] || fail "$what: operations on the prefix: $(operations staged --list 12)"
}

# writes WHAT COMMAND…: a command that also writes leaves the same tree, and makes operations on nothing but what it wrote.
writes() {
  local what=$1 bare ours; shift
  unstaged
  [ -e "$work/seed" ] || cp -a "$p" "$work/seed"
  rm -rf "$p" "$work/bare.tree"; cp -a "$work/seed" "$p"; look
  run_as bare "$@"; went_well "$what"
  mv "$p" "$work/bare.tree"; cp -a "$work/seed" "$p"; look
  staged
  run_as staged "$@"
  same_output "$what"
  python3 "$tools/tree.py" "$work/bare.tree" "$p" "${tree_options[@]}" || fail "$what: the trees differ"
  bare=$(total bare); ours=$(total staged)
  note "$what: $bare operations bare, $ours staged"
  [ "$bare" -gt 0 ] || fail "$what: the bare run was not seen on the prefix"
  operations staged --unwritten "$work/seed" --list 12 --max 0 >"$work/unwritten" || fail "$what: operations on what was only read: $(cat "$work/unwritten")"
}

# The same for a script of bash from standard input and its arguments: reads_script WHAT ARGUMENT….
reads_script() { cat >"$work/script.sh"; reads "$1" bash "$work/script.sh" "${@:2}"; }
writes_script() { cat >"$work/script.sh"; writes "$1" bash "$work/script.sh" "${@:2}"; }
