#!/bin/bash
# Every test that docs/semantics.md and docs/limits.md name exists, and every relative link of the documents leads somewhere.
#
# A name in backquotes with `::` in it is a test's: `cases::FILE::NAME` in tests/cases/FILE.rs, `FILE::NAME` in tests/FILE.rs,
# `FILE::test_NAME` in tests/jobs/FILE.sh, `unit::NAME` beside the code in preload or src.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
wrong=0
say() { echo "$*" >&2; wrong=1; }

# is_test NAME FILE…: whether one of the Rust files has a test of this name.
is_test() { local name=$1 tests; shift; tests=$(grep -hA 3 '#\[test\]' "$@" 2>/dev/null); [[ $tests == *" fn $name("* || $tests == *$'\n'"fn $name("* ]]; }

for document in docs/semantics.md docs/limits.md; do
  names=$(grep -o '`[a-z0-9_]*::[a-z0-9_:]*`' "$document" | tr -d '`' | sort -u)
  [ -n "$names" ] || say "$document names no test"
  for name in $names; do
    file=${name%::*}; file=${file//:://} test=${name##*::}
    case $name in
      unit::*) mapfile -t sources < <(find preload src -name '*.rs'); is_test "$test" "${sources[@]}" ;;
      *::test_*) grep -q "^$test() " "tests/jobs/$file.sh" 2>/dev/null ;;
      *) is_test "$test" "tests/$file.rs" ;;
    esac || say "$document: there is no test $name"
  done
done

links=0
for document in README.md docs/*.md; do
  while read -r link; do
    case $link in http://* | https://* | '#'*) continue ;; esac
    links=$((links + 1))
    [ -e "$(dirname "$document")/${link%%#*}" ] || say "$document: $link leads nowhere"
  done < <(grep -o '](\([^)]*\))' "$document" | sed 's/^](//; s/)$//')
done
[ "$links" -gt 0 ] || say "no document has a relative link"
exit $wrong
