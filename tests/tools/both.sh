# Runs a command bare and staged. Compares the outputs, exit statuses and trees of the two runs, and counts their path
# operations with strace. Sourced by job tests of real programs.
#
# The prefix is $p. A test makes this tree and then calls `reads` any number of times. After that it may call `writes`,
# which starts each run from a copy of the tree. Invariants: a test fails if the bare run makes no operation on the
# prefix, because the test would otherwise also pass if strace missed the program. All files of a tree have modification
# times of 2020. A later time shows that a program wrote the file.
export LC_ALL=C TZ=UTC GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 PYTHONPYCACHEPREFIX= PYTHONNOUSERSITE=1
# Shells must not read the start-up files or the history of the user who runs the tests.
export ZDOTDIR=/nowhere HISTFILE=
unset CDPATH MAKEFLAGS MFLAGS PERL5LIB NODE_PATH JAVA_TOOL_OPTIONS PYTHONPATH PYTHONPYCACHEPREFIX
both_python=$venv/bin/python

# settle: gives every file below $p a modification time of 2020, and calls look.
# look: reads every file and link below $p once, so that later reads do not change access times.
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

# run_as bare|staged COMMAND…: runs COMMAND once under strace in $work, outside the prefix. $OUT names a directory for
# files that are to be compared.
run_as() {
  local how=$1 start=(); shift
  [ "$how" = bare ] || start=("$stage/bin/pyshm-exec")
  rm -rf "$work/out"; mkdir "$work/out"
  ( cd "$work" && export OUT=$work/out && exec bash "$tools/trace.sh" "$work/$how.trace" "${start[@]}" "$@" ) >"$work/$how.out" 2>"$work/$how.err" </dev/null
  echo "exit status $?" >>"$work/$how.out"
  rm -rf "$work/$how.made"; mv "$work/out" "$work/$how.made"
}
# went_well WHAT: fails unless the bare run ended with $expected_status (default 0). If a script broke off half-way, its two
# outputs would be equal without proving much.
went_well() { [ "$(tail -n 1 "$work/bare.out")" = "exit status ${expected_status:-0}" ] || fail "$1: bare it ends with $(tail -n 1 "$work/bare.out"): $(tail -n 5 "$work/bare.err")"; }
operations() { python3 "$tools/count_ops.py" "$work/$1.trace" --under "$p" "${@:2}"; }
total() { operations "$1" --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["total"])'; }

# same_output WHAT: compares the outputs of the two runs and the files that they made in $OUT.
same_output() {
  local stream
  for stream in out err; do
    diff "$work/bare.$stream" "$work/staged.$stream" >"$work/diff" || fail "$1: standard $stream differs (< bare, > staged): $(head -n 30 "$work/diff")"
  done
  python3 "$tools/tree.py" "$work/bare.made" "$work/staged.made" "${tree_options[@]}" || fail "$1: what was made outside the prefix differs"
}
tree_options=()

# reads WHAT COMMAND…: runs a command that only reads; fails if the staged run makes an operation on the prefix.
reads() {
  local what=$1 bare ours; shift
  run_as bare "$@"; went_well "$what"
  # The bundle is made once for all commands that only read.
  [ -n "${stage:-}" ] || staged
  run_as staged "$@"
  same_output "$what"
  bare=$(total bare); ours=$(total staged)
  note "$what: $bare operations bare, $ours staged"
  [ "$bare" -gt 0 ] || fail "$what: strace saw no operation of the bare run on the prefix"
  [ "$ours" = 0 ] || fail "$what: operations on the prefix: $(operations staged --list 12)"
}

# writes WHAT COMMAND…: runs a command that also writes; fails if the two runs leave different trees, or if the staged
# run makes an operation on a path that it did not write.
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
  [ "$bare" -gt 0 ] || fail "$what: strace saw no operation of the bare run on the prefix"
  operations staged --unwritten "$work/seed" --list 12 --max 0 >"$work/unwritten" || fail "$what: operations on paths that the run did not write: $(cat "$work/unwritten")"
}

# reads_script WHAT ARGUMENT…, writes_script WHAT ARGUMENT…: like reads and writes, but the command is a bash script from
# standard input.
reads_script() { cat >"$work/script.sh"; reads "$1" bash "$work/script.sh" "${@:2}"; }
writes_script() { cat >"$work/script.sh"; writes "$1" bash "$work/script.sh" "${@:2}"; }
