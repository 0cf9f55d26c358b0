#!/bin/bash
# Tests bundles that lie over other bundles. In the stage of such a stack a program sees the same tree as on the shared
# file system, and makes no operation on the shared file system. `pyshm status` names the bundle of each path. pyshm
# refuses a layer without the layer's base.
. "$(dirname "$0")/harness.sh"
. "$tools/both.sh"

# The options that name the bundles of the stack.
bundles=()
staged() { stage=$("$pyshm" stage "${bundles[@]}" 2>"$work/stage.said") || fail "stage: $(cat "$work/stage.said")"; }
base() { "$pyshm" bundle env "$p" -o "$work/$1.tar.zst" -q "${@:2}" || fail "bundle $1"; }
# layer NAME OVER…: packs $p as a layer over these bundles.
layer() {
  local name=$1 over=() below; shift
  for below; do over+=(--over "$work/$below.tar.zst"); done
  "$pyshm" bundle env "$p" "${over[@]}" -o "$work/$name.tar.zst" -q || fail "layer $name"
}
stacked() { local name; stage=; "$pyshm" unstage --all >/dev/null || fail "unstage"; bundles=(); for name; do bundles+=(-b "$work/$name.tar.zst"); done; }
refused() { # WHAT PART-OF-THE-REASON BUNDLE…
  local what=$1 why=$2; shift 2
  stacked "$@"
  "$pyshm" stage "${bundles[@]}" >"$work/said" 2>&1; equal "exit code: $what" 65 $?
  contains "$what" "$(cat "$work/said")" "$why"
  [ ! -e "/dev/shm/pyshm-$(id -u)" ] || fail "$what: left in /dev/shm: $(find /dev/shm -mindepth 1 | head)"
}
# same_tree WHAT: checks that a program sees the same attributes and contents in the stage as in the tree.
same_tree() {
  reads "$1: attributes" bash -c 'find "$1" -printf "%P %y %m %n %i %U:%G %s %T@ %C@ %l\n" | sort' find "$p"
  contents "$1: contents"
  reads "$1: listings" ls -AlR --time-style=full-iso "$p"
}
# contents WHAT: compares the tree with an empty tree by tree.py, bare and staged. For each path tree.py prints the
# attributes and a checksum of the contents.
contents() { mkdir -p "$work/nothing"; expected_status=1 reads "$1" python3 "$tools/tree.py" "$p" "$work/nothing"; }
# brought WHAT BUNDLE PATH…: checks that each PATH comes from BUNDLE.
brought() {
  local what=$1 bundle=$2 path; shift 2
  for path; do
    equal "$what: $path" "$work/$bundle.tar.zst" "$("$pyshm" status --paths "$p/$path" | awk -F'\t' -v path="  $p/$path" '$1 == path { print $2 }' | sort -u)"
  done
}

library() { # NUMBER
  printf 'int number(void) { return %s; }\n' "$1" >"$work/number.c"
  gcc -shared -fPIC -o "$work/libnumber.so" "$work/number.c" -Wl,-soname,libnumber.so || fail "gcc"
  # Replace the library by a new file, as installers do.
  rm -f "$p/lib/libnumber.so"; cp "$work/libnumber.so" "$p/lib/libnumber.so"
}
make_tree() {
  p=$work/env; mkdir -p "$p"/{bin,lib/sub,gone/deep,to_link,plain/more}
  for i in $(seq 0 40); do echo "x = $i" >"$p/lib/sub/$i.py"; done
  echo "a = 1" >"$p/lib/a.py"; ln "$p/lib/a.py" "$p/lib/same.py"; echo "b = 1" >"$p/lib/b.py"
  echo one >"$p/h1"; ln "$p/h1" "$p/h2"; ln "$p/h1" "$p/lib/h3"
  ln -s "$p/lib/a.py" "$p/absolute"; ln -s lib "$p/lib64"; ln -s lib/b.py "$p/to_file"
  echo x >"$p/to_link/x"; echo y >"$p/to_link/y"; echo f >"$p/to_directory"; echo g >"$p/gone.py"; echo d >"$p/gone/deep/d"
  : >"$p/empty"; echo full >"$p/plain/full"; printf '#!/bin/sh\necho tool one\n' >"$p/bin/tool"; chmod 755 "$p/bin/tool"
  library 1
  printf '#include <stdio.h>\nint number(void);\nint main(void) { printf("number %%d\\n", number()); }\n' >"$work/main.c"
  gcc -o "$p/bin/program" "$work/main.c" -L"$p/lib" -lnumber -Wl,-rpath,"$p/lib" || fail "gcc"
  settle
}
change_one() {
  echo "b = 2222" >"$p/lib/b.py"; touch -d 2020-03-03 "$p/lib/sub/1.py"; chmod 600 "$p/lib/sub/2.py"; : >"$p/lib/sub/3.py"
  echo new >"$p/lib/new.py"; mkdir "$p/lib/fresh"; echo f >"$p/lib/fresh/f"
  rm -r "$p/gone.py" "$p/gone" "$p/to_link" "$p/to_directory" "$p/to_file"
  ln -s lib/sub "$p/to_link"; mkdir "$p/to_directory"; echo in >"$p/to_directory/in"; echo file >"$p/to_file"
  # Of the names that are hard links, the first is removed, one is added, and one becomes a separate file.
  rm "$p/lib/a.py"; ln "$p/lib/b.py" "$p/aaa"; rm "$p/h1"; echo another >"$p/h1"
  echo "no longer empty" >"$p/empty"; : >"$p/plain/full"
  library 2; look
}
change_two() {
  echo newer >"$p/lib/new.py"; echo back >"$p/gone.py"; rm "$p/lib/sub/5.py" "$p/to_link"; mkdir "$p/to_link"; echo z >"$p/to_link/z"
  mv "$p/bin/tool" "$p/bin/renamed"; ln "$p/lib/same.py" "$p/lib/a.py"; chmod 750 "$p/plain"; rm -r "$p/to_directory"; ln -s nowhere "$p/to_directory"
  rm "$p/h2"; library 3; look
}

test_a_stack_of_three_bundles_shows_the_real_tree() {
  make_tree; base base
  change_one; layer one base
  stacked base one
  same_tree "two bundles"
  reads "a library that was replaced" "$p/bin/program"
  contains "the program's answer" "$(cat "$work/staged.out")" "number 2"
  change_two; layer two base one
  stacked base one two
  same_tree "three bundles"
  reads "a library that was replaced twice" "$p/bin/program"
  contains "the program's answer" "$(cat "$work/staged.out")" "number 3"
  brought "the first" base bin/program lib/sub/7.py plain/more
  brought "the second" one lib/sub/1.py lib/sub/2.py lib/fresh lib/fresh/f to_file empty
  brought "the third" two lib/new.py gone.py to_link to_link/z to_directory bin/renamed lib/libnumber.so plain lib/a.py
  [ -z "$("$pyshm" status --paths "$p/gone" "$p/bin/tool" | grep -P '\t')" ] || fail "a removed path has a bundle"
  "$pyshm" status --paths "$p/lib/new.py" --json | python3 -c 'import json, sys
paths = json.load(sys.stdin)[0]["paths"]
assert len(paths) == 1 and paths[0]["bundle"].endswith("/two.tar.zst"), paths' || fail "status --json"
  check "bundles, stage and tree are equal" "$pyshm" verify "${bundles[@]}" --stage --source -q
  contains "a layer" "$("$pyshm" inspect "$work/two.tar.zst")" "a layer over base.tar.zst and one.tar.zst"
  # The layer has only the changes. For a touched file the layer has only the attributes.
  [ "$(stat -c %s "$work/one.tar.zst")" -lt "$(stat -c %s "$work/base.tar.zst")" ] || fail "the layer is no smaller than its base"
  equal "the part of the touched file in the layer" attributes "$("$pyshm" inspect "$work/one.tar.zst" --entries --json | python3 -c 'import json, sys
print({e["path"]: e["kind"] for e in json.load(sys.stdin)["entries"]}[sys.argv[1]])' "$p/lib/sub/1.py")"
  # One command stages the same stack and runs a program.
  unstaged
  PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$p/lib bash "$tools/trace.sh" "$work/trace" "$pyshm_run" --no-fallback "${bundles[@]}" "$both_python" -c 'import b; print(open(b.__file__).read())' >"$work/said" || fail "pyshm-run"
  contains "the module of the layer" "$(cat "$work/said")" "b = 2222"
  python3 "$tools/count_ops.py" "$work/trace" --from-exec '^"[^"]*/bin/pyshm-exec"' --under "$p" --max 0 || fail "operations on the prefix"
}

test_a_layer_is_refused_over_other_bundles_than_its_own() {
  make_tree; base base; change_one; layer one base; change_two; layer two base one
  refused "a layer alone" "one.tar.zst: the layer holds only what changed since base.tar.zst; name base.tar.zst right before the layer" one
  refused "a layer before its base" "name base.tar.zst right before the layer" one base
  refused "a layer without the layer below it" "name base.tar.zst and one.tar.zst right before the layer" base two
  refused "layers in another order" "name base.tar.zst and one.tar.zst right before the layer" base two one
  base other
  refused "a layer over another bundle of the same tree" "right before the layer" other one
  "$pyshm" bundle env "$work" --over "$work/base.tar.zst" -o "$work/no.tar.zst" >"$work/said" 2>&1; equal "exit code for another tree" 2 $?
  contains "the reason" "$(cat "$work/said")" "the bundles that --over names have only"
  "$pyshm" verify -b "$work/one.tar.zst" >"$work/said" 2>&1; equal "exit code of verify" 2 $?
  contains "verify" "$(cat "$work/said")" "name base.tar.zst right before the layer"
}

test_a_whole_bundle_replaces_what_lies_at_and_below_its_prefix() {
  make_tree; base outer
  # The prefix of the second bundle lies inside the prefix of the first bundle.
  change_one
  local all=$p; p=$all/lib; base inner; p=$all
  stacked outer inner
  staged
  p=$all/lib; same_tree "the inner bundle"; p=$all
  brought "the inner bundle" inner lib lib/new.py lib/h3
  brought "paths outside the inner bundle" outer h1 gone.py bin/tool
  contains "a hard link that only the outer bundle has" "$("$stage/bin/pyshm-exec" cat "$p/h2")" one
  # The prefix of the first bundle lies inside the prefix of the second bundle.
  base again; stacked inner again
  same_tree "the outer bundle"
  contains "the output" "$(cat "$work/stage.said")" "it replaces all that $work/inner.tar.zst brings"
  # Two of the bundles have the same prefix.
  change_two; base last; stacked outer inner last
  same_tree "the same prefix"
  [ -z "$(find "$stage/fs" -name h2)" ] || fail "a replaced file is still in the stage"
  check "the stage equals the bundles" "$pyshm" verify "${bundles[@]}" --stage -q
  # The inner prefix lies in a directory that the outer bundle does not have.
  mkdir -p "$p/late/inner"; echo x >"$p/late/inner/x"
  p=$all/late/inner; base stray; p=$all
  refused "a prefix in an unknown directory" "lies in a directory that the earlier bundle of $p does not have" outer stray
}

test_an_overlay_adds_and_wins_path_by_path() {
  make_tree; rm "$p/absolute"; base base --mode overlay
  change_one; layer one base
  stacked base one
  same_tree "a layer over an overlay"
  echo unknown >"$p/later"
  equal "a file that no bundle knows" unknown "$("$stage/bin/pyshm-exec" cat "$p/later")"
  # A whole bundle in the mode overlay lies over the first one. Paths that the overlay does not have stay.
  rm "$p/later" "$p/lib/sub/9.py"; echo "b = 3" >"$p/lib/b.py"; look; base over --mode overlay
  stacked base over; staged
  brought "paths of the later bundle" over lib/b.py lib/sub/10.py
  brought "paths that only the first bundle has" base lib/sub/9.py
}

test_links_between_prefixes_and_into_them_hold_in_a_stack() {
  make_tree
  mkdir "$p/v1"; echo v >"$p/v1/v"; ln -s v1 "$p/current"; ln -s "$p" "$work/alias"; settle
  base base
  echo w >"$p/v1/v"; echo new >"$p/v1/new"; look
  # The program uses the prefix by a link inside the prefix and by a link outside.
  "$pyshm" bundle env "$p/current" --over "$work/base.tar.zst" -o "$work/inner.tar.zst" -q || fail "a layer of a link's target"
  stacked base inner
  same_tree "a layer of a part"
  reads "through the link" cat "$p/current/v" "$p/current/new"
  echo z >"$p/lib/z"; look
  "$pyshm" bundle env "$work/alias" --over "$work/base.tar.zst" --over "$work/inner.tar.zst" -o "$work/alias.tar.zst" -q || fail "a layer by another name"
  stacked base inner alias
  same_tree "a layer by another name"
  reads "by the other name" cat "$work/alias/lib/z" "$work/alias/current/new"
  python3 "$tools/count_ops.py" "$work/staged.trace" --under "$work/alias" --max 0 || fail "operations by the other name"
}

test_a_layer_of_a_container_image_is_laid_over_a_tar() {
  make_tree
  tar -C "$p" --format=posix -czf "$work/base.tar.gz" .
  change_one
  mkdir "$work/up"
  ( cd "$p" && tar --format=posix -cf "$work/layer.tar" --no-recursion . lib/b.py aaa lib/sub lib/sub/1.py lib/sub/2.py lib/sub/3.py lib/new.py lib/fresh lib/fresh/f lib \
      to_link to_directory to_directory/in to_file h1 h2 lib/h3 empty plain plain/full lib/libnumber.so lib/same.py ) || fail "tar"
  # Members `.wh.NAME` remove NAME; the opaque member of to_directory hides only the files that lay there before.
  ( cd "$work/up" && mkdir lib to_directory && : >.wh.gone.py && : >.wh.gone && : >lib/.wh.a.py && : >to_directory/.wh..wh..opq && : >.wh..wh.plnk &&
      tar --format=posix -rf "$work/layer.tar" --no-recursion .wh.gone.py .wh.gone lib/.wh.a.py to_directory/.wh..wh..opq .wh..wh.plnk ) || fail "whiteouts"
  touch -h -d '2020-02-02 02:02:02.123456789Z' "$p/lib/a.py" 2>/dev/null
  unstaged; bundles=(-b "$work/base.tar.gz" --prefix "$p" -b "$work/layer.tar" --prefix "$p" --layer)
  contents "a layer of a tar"
  reads "the library" "$p/bin/program"
  equal "the bundle of a file" "$work/layer.tar" "$("$pyshm" status --paths "$p/lib/b.py" | awk -F'\t' 'NF > 1 { print $2 }')"
  equal "the bundle of another file" "$work/base.tar.gz" "$("$pyshm" status --paths "$p/lib/sub/7.py" | awk -F'\t' 'NF > 1 { print $2 }')"
  check "stage and bundles are equal" "$pyshm" verify "${bundles[@]}" --stage -q
  unstaged
  "$pyshm" stage -b "$work/base.tar.gz" --prefix "$p" -b "$work/layer.tar" --prefix "$p" >"$work/said" 2>&1; equal "exit code without --layer" 65 $?
  contains "the way out" "$(cat "$work/said")" "and add --layer after the layer"
  "$pyshm" stage -b "$work/layer.tar" --prefix "$p" --layer >"$work/said" 2>&1; equal "exit code without a base" 65 $?
  contains "the reason" "$(cat "$work/said")" "name the bundle that the layer changes"
  # The layer empties a directory and puts a new file into it. The directory above has no member in the layer.
  unstaged; rm -r "$work/up"; mkdir -p "$work/up/lib/sub"; echo only >"$work/up/lib/sub/only"; : >"$work/up/lib/sub/.wh..wh..opq"
  ( cd "$work/up" && tar -cf "$work/opaque.tar" lib/sub/only lib/sub/.wh..wh..opq ) || fail "tar"
  stage=$("$pyshm" stage -b "$work/base.tar.gz" --prefix "$p" -b "$work/opaque.tar" --prefix "$p" --layer) || fail "stage"
  equal "the emptied directory" only "$("$stage/bin/pyshm-exec" ls "$p/lib/sub")"
  equal "the time" "$(tar -tzvf "$work/base.tar.gz" --full-time ./lib/sub/ 2>/dev/null | awk 'NR == 1 { print $4, substr($5, 1, 8) }')" "$("$stage/bin/pyshm-exec" stat -c %y "$p/lib/sub" | cut -c 1-19)"
}

test_changes_of_the_tree_after_a_stack_was_staged_are_found() {
  make_tree; base base; change_one; layer one base
  stacked base one; staged
  changed() { "$pyshm" stage "${bundles[@]}" --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["changed"])'; }
  equal "paths that changed" 0 "$(changed)"
  echo later >"$p/lib/later.py"; rm "$p/lib/sub/8.py"
  [ "$(changed)" -ge 2 ] || fail "changes were not seen"
  equal "a file that was made later" later "$("$stage/bin/pyshm-exec" cat "$p/lib/later.py")"
  "$stage/bin/pyshm-exec" test -e "$p/lib/sub/8.py" && fail "a file that was removed later is there"
  return 0
}

# stage_of BUNDLE…: stages the bundles, and keeps the stages that exist already.
# times_opened BUNDLE…: prints how often the last stage_of opened each bundle.
stage_of() {
  local name; bundles=(); for name; do bundles+=(-b "$work/$name.tar.zst"); done
  stage=$("$tools/trace.sh" "$work/stage.trace" "$pyshm" stage "${bundles[@]}" 2>"$work/stage.said") || fail "stage $*: $(cat "$work/stage.said")"
}
times_opened() { local name; for name; do grep -cE "open(at)?\(.*\"$work/$name.tar.zst\"" "$work/stage.trace"; done | paste -sd' '; }
# files_of STAGE: prints, for each file of a stage, the attributes that would show a change of the file.
files_of() { ( cd "$1" && find fs orig -type f -printf '%p %i %m %s %T@ %A@\n' | sort ); }

test_a_layer_is_read_without_its_base_if_a_stage_has_the_base() {
  local first second same
  make_tree; base base; stacked base; staged; first=$stage; files_of "$first" >"$work/first.files"
  same() { [ "$first/fs$p/$1" -ef "$stage/fs$p/$1" ]; }
  change_one; layer one base; stage_of base one
  equal "times that base and layer were opened" "0 1" "$(times_opened base one)"
  same_tree "a layer over an adopted base"
  check "bundles, stage and tree are equal" "$pyshm" verify "${bundles[@]}" --stage --source -q
  same lib/sub/7.py || fail "an unchanged file is not shared"
  # This file has the layer's attributes and the base's data.
  same lib/sub/1.py && fail "a touched file is still the old stage's"
  check "the data" cmp "$first/fs$p/lib/sub/1.py" "$stage/fs$p/lib/sub/1.py"
  files_of "$first" | diff "$work/first.files" - || fail "the stage from which the base was adopted changed"
  change_two; layer two base one; second=$stage; files_of "$second" >"$work/second.files"; stage_of base one two
  equal "times that base and layers were opened" "0 1 1" "$(times_opened base one two)"
  same_tree "two layers over an adopted base"
  files_of "$first" | diff "$work/first.files" - || fail "the first stage changed"
  # The remaining stage has a stack. pyshm adopts no bundle from a stage in which another bundle lies over this bundle.
  "$pyshm" unstage "${first##*/}" >/dev/null || fail unstage
  stage_of base; equal "times that the base was opened" 1 "$(times_opened base)"
  files_of "$second" | diff "$work/second.files" - || fail "the second stage changed"
  check "the stage equals its bundle" "$pyshm" verify "${bundles[@]}" --stage -q
}

test_a_bundle_that_lies_over_another_is_read_although_a_stage_has_it() {
  local all
  make_tree; base outer; change_one; all=$p; p=$all/lib; base inner; p=$all
  stacked inner; staged; stage_of outer inner
  equal "times that the bundles were opened" "1 1" "$(times_opened outer inner)"
  p=$all/lib; same_tree "the inner bundle"; p=$all
  brought "the inner bundle" inner lib lib/new.py
  brought "paths outside the inner bundle" outer h1 gone.py
  # If one stage has the outer bundle and another the inner one, only one of the bundles is adopted.
  stacked outer; staged; stage_of inner; stage_of outer inner
  equal "times that the bundles were opened" "0 1" "$(times_opened outer inner)"
  equal "messages" "" "$(cat "$work/stage.said")"
  check "stage and bundles are equal" "$pyshm" verify "${bundles[@]}" --stage -q
}

run_tests
