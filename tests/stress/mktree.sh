# mktree.sh DIRECTORY: makes the tree of the stress programs, and the directory DIRECTORY2 beside it.
# The tree has the directories d0 … d15, a link to a directory, the directory w for new files, and programs in bin. Each of
# d0 … d15 has the files f0 … f63, three links and sub/below. The text of a file is its name.
set -eu
mkdir -p "$1" "${1}2" "$1/lib" "$1/bin" "$1/w/below"
cd "$1"
for d in $(seq 0 15); do
  mkdir -p "d$d/sub"
  for f in $(seq 0 63); do echo "d$d/f$f" >"d$d/f$f"; done
  ln -s f0 "d$d/rel"; ln -s "$1/d$d/f1" "d$d/abs"; ln -s nowhere "d$d/dangling"
  echo "d$d/sub/below" >"d$d/sub/below"
done
ln -s d15 dirlink; ln -s below w/link
printf '#!/bin/sh\necho "$0 $1"\n' >bin/script; chmod 755 bin/script
printf '#!%s/bin/nowhere\n' "$1" >bin/lost; chmod 755 bin/lost
