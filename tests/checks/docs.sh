#!/bin/bash
# Checks the names in the documents. Every test that docs/semantics.md or docs/limits.md names must exist. Every relative link
# of a document must lead to a file and a heading. Every file that a document names must exist.
#
# A name in backquotes that contains `::` names a test: `cases::FILE::NAME` in tests/cases/FILE.rs, `FILE::NAME` in
# tests/FILE.rs, `FILE::test_NAME` in tests/jobs/FILE.sh, `unit::NAME` beside the code in preload or src. A name that
# begins with a directory of this repository names a file, unless the name contains a placeholder: FILE, NAME or LAUNCHER.
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

documents=(README.md docs/*.md bench/README.md)

# headings DOCUMENT: prints the anchors of the document's headings.
headings() { sed -n 's/^##* //p' "$1" | tr 'A-Z ' 'a-z-' | sed 's/[^a-z0-9_-]//g'; }

links=0 files=0
for document in "${documents[@]}"; do
  while read -r link; do
    case $link in http://* | https://*) continue ;; esac
    links=$((links + 1)) target=$document
    [[ $link == '#'* ]] || target=$(dirname "$document")/${link%%#*}
    [ -e "$target" ] || { say "$document: $link leads nowhere"; continue; }
    [[ $link != *#* ]] || headings "$target" | grep -qxF -e "${link#*#}" || say "$document: $target has no heading for $link"
  done < <(grep -o '](\([^)]*\))' "$document" | sed 's/^](//; s/)$//')
  while read -r path; do
    case $path in *FILE* | *NAME* | *LAUNCHER*) continue ;; esac
    files=$((files + 1))
    compgen -G "$path" >/dev/null || say "$document names $path, which does not exist"
  done < <(grep -oE '\b(src|preload|tests|bench|docs|\.ci)/[A-Za-z0-9_.*/+-]*' "$document" | sed 's/[./]*$//' | sort -u)
done
[ "$links" -gt 0 ] || say "no document has a relative link"
[ "$files" -gt 0 ] || say "no document names a file"
exit $wrong
