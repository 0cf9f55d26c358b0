#!/bin/bash
# Tests the settings: which source has precedence, the messages after a mistake, the output of `pyshm config`, and that
# ranks read no settings.
. "$(dirname "$0")/harness.sh"

prefix=$(mktemp -d /var/tmp/pyshm-scratch.XXXXXX); trap 'rm -rf "$prefix"' EXIT
mkdir -p "$prefix/tree/bin" "$prefix/other/bin"
for tree in tree other; do
  printf '#!/bin/sh\ncat "%s/bin/data"\n' "$prefix/$tree" >"$prefix/$tree/bin/$tree-tool"; chmod +x "$prefix/$tree/bin/$tree-tool"
  echo "$tree" >"$prefix/$tree/bin/data"
  "$pyshm" bundle env "$prefix/$tree" -o "$prefix/$tree.tar.zst" -q || exit 1
done
tool=$prefix/tree/bin/tree-tool
# shown KEY: prints the line of `pyshm config` for KEY, with single blanks.
shown() { "$pyshm" config | tr -s ' ' | grep -E "^(# )?$1 = "; }
# settings LINE…: writes a settings file.
settings() { printf '%s\n' "$@" >"$work/pyshm.toml"; export PYSHM_CONFIG=$work/pyshm.toml; }
# stages: prints how many stages exist.
stages() { find /dev/shm/pyshm-0 -mindepth 1 -maxdepth 1 -type d 2>/dev/null | wc -l; }

test_the_command_line_precedes_variables_and_variables_precede_the_file() {
  settings 'wait = 11' 'root = "/var/tmp"' 'keep = true' "bundles = [\"$prefix/tree.tar.zst\"]"
  equal "a setting of the file" "wait = 11 # $PYSHM_CONFIG:1" "$(shown wait)"
  equal "a setting of a variable" 'root = "/dev/shm" # PYSHM_ROOT' "$(PYSHM_ROOT=/dev/shm shown root)"
  equal "a default" 'chunk = "4MiB" # default' "$(shown chunk)"
  contains "bundles" "$("$pyshm" config)" "path = \"$prefix/tree.tar.zst\""
  contains "other bundles" "$(PYSHM_BUNDLES=$prefix/other.tar.zst:/no/such "$pyshm" config | tr -s ' ')" "\"/no/such\" }, # PYSHM_BUNDLES, it is not there"
  export PYSHM_ROOT=/dev/shm
  equal "the output" tree "$("$pyshm_run" --no-fallback "$tool")"
  equal "stages, kept by the file" 1 "$(stages)"
  "$pyshm" unstage --all || fail "unstage"
  equal "the output" tree "$("$pyshm_run" --no-fallback --no-keep "$tool")"
  equal "stages, not kept by the command line" 0 "$(stages)"
  equal "the output with a bundle of the command line" other "$("$pyshm_run" --no-fallback -b "$prefix/other.tar.zst" "$prefix/other/bin/other-tool")"
  contains "the staged bundle" "$("$pyshm" status)" "$prefix/other.tar.zst"
  "$pyshm" unstage --all || fail "unstage"
}
test_bundles_of_a_variable_are_staged_and_ranks_read_no_settings() {
  settings 'keep = true'
  export PYSHM_BUNDLES=$prefix/tree.tar.zst
  bash "$tools/trace.sh" "$work/trace" "$pyshm_run" --no-fallback "$tool" >"$work/said" || fail "the run"
  equal "the output" tree "$(cat "$work/said")"
  grep -q "openat.*$PYSHM_CONFIG" "$work/trace" || fail "no process read the settings file"
  # Count from the exec of the trampoline on.
  equal "reads by the program" 0 "$(awk '/execve\(.*bin\/pyshm-exec/ { seen[$1] = 1 } seen[$1] && /pyshm.toml/ { n++ } END { print n + 0 }' "$work/trace")"
  equal "stages" 1 "$(stages)"
  "$pyshm" unstage --all || fail "unstage"
}
test_a_mistake_in_the_file_is_reported_and_the_job_runs() {
  settings '# ours' 'wiat = 60'
  equal "the output" tree "$("$pyshm_run" -b "$prefix/tree.tar.zst" "$tool" 2>"$work/said")"
  contains "the message" "$(cat "$work/said")" "$PYSHM_CONFIG, line 2: there is no key 'wiat' here; did you mean 'wait'?"
  equal "lines" 1 "$(wc -l <"$work/said")"
  "$pyshm_run" --no-fallback -b "$prefix/tree.tar.zst" "$tool" >"$work/out" 2>&1; equal "exit status" 2 $?
  equal "stages" 0 "$(stages)"
}
test_a_mistake_does_not_stop_an_epilog() {
  "$pyshm" stage -b "$prefix/tree.tar.zst" >/dev/null || fail "stage"
  settings 'root = 5'
  for words in status gc "inspect $prefix/tree.tar.zst" "unstage --unused"; do
    # shellcheck disable=SC2086 # words
    "$pyshm" $words >"$work/out" 2>"$work/said" || fail "$words: $(cat "$work/said")"
    contains "$words" "$(cat "$work/said")" "line 1: root is 5, which is not an absolute path"
  done
  equal "stages" 0 "$(stages)"
  "$pyshm" stage -b "$prefix/tree.tar.zst" >"$work/out" 2>&1; equal "status of another command" 2 $?
}
test_config_check_finds_mistakes() {
  settings "bundles = [\"$prefix/tree.tar.zst\"]"
  equal "a good one" "" "$("$pyshm" config --check 2>&1)"
  echo 'bundles = ["/no/such.tar.zst"]' >"$work/bad.toml"
  "$pyshm" config --check "$work/bad.toml" 2>"$work/said"; equal "a missing bundle" 66 $?
  contains "the message" "$(cat "$work/said")" "/no/such.tar.zst"
  echo 'reroute = "shm"' >"$work/bad.toml"
  "$pyshm" config --check "$work/bad.toml" 2>"$work/said"; equal "a bad word" 2 $?
  contains "the message" "$(cat "$work/said")" 'reroute is "shm", which is not a known word; write one of shim, env, off'
  "$pyshm" config --check "$work/none.toml" 2>/dev/null; equal "no file" 66 $?
  PYSHM_WAIT=soon "$pyshm" config --check 2>"$work/said"; equal "a bad variable" 2 $?
  contains "the message" "$(cat "$work/said")" "PYSHM_WAIT is 'soon'"
}
test_the_shown_settings_and_the_example_are_valid_files() {
  settings 'reserve = "1GB"' "bundles = [\"$prefix/tree.tar.zst\", { path = \"$prefix/other.tar.zst\", prefix = \"$prefix/other\" }]" '[launcher.srun]' 'options = ["-A", "x y"]'
  "$pyshm" config >"$work/shown.toml" || fail "config"
  "$pyshm" config --check "$work/shown.toml" || fail "the output of config is no valid file: $(cat "$work/shown.toml")"
  equal "the output" "$("$pyshm" config --json | grep -vE '"(file|line)":')" "$(PYSHM_CONFIG=$work/shown.toml "$pyshm" config --json | python3 -c '
import json, sys
shown = json.load(sys.stdin)
for key, value in shown["settings"].items():
    if key != "reserve" and isinstance(value["from"], dict): value["from"] = "default"
print(json.dumps(shown, indent=2))' | grep -vE '"(file|line)":')"
  "$pyshm" config --example >"$work/example.toml" && "$pyshm" config --check "$work/example.toml" || fail "the example"
  equal "settings of the example" 0 "$(grep -cv '^#\|^$' "$work/example.toml")"
}
test_scripts_read_the_settings_as_json() {
  settings 'reserve = "1GB"' "[[bundles]]" "path = \"$prefix/tree.tar.zst\"" '[launcher.srun]' 'options = ["-A", "x y"]'
  "$pyshm" config --json >"$work/json" || fail "config --json"
  equal "the output" "1GB 1 True ['-A', 'x y'] None" "$(python3 -c '
import json, sys
c = json.load(open(sys.argv[1]))
r = c["settings"]["reserve"]
print(r["value"], r["from"]["line"], c["bundles"][0]["there"], c["launcher"]["srun"]["options"], c["settings"]["summary"]["value"])' "$work/json")"
}
run_tests
