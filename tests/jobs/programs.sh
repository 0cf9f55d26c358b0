#!/bin/bash
# Tests real programs that read a prefix: shells, file utilities, interpreters, compilers and git. The programs print the
# same in a staged run as in a bare run, and make no operation on the shared file system. programs_write.sh tests programs
# that write.
#
# The stage (a tmpfs) lists the entries of a directory in another order than the original. If a program prints entries in
# the order of the directory, the output of both runs is sorted.
. "$(dirname "$0")/harness.sh"
. "$tools/both.sh"

# tree: makes a tree with every kind of file that file utilities distinguish.
tree() {
  p=$work/p; mkdir -p "$p"/{bin,docs/deep/er,data,empty,.hidden}
  printf 'alpha\nbeta\ngamma delta\n' >"$p/docs/words"; seq 1 20000 >"$p/data/numbers"
  head -c 300000 /dev/zero >"$p/data/zeros"
  printf 'name with spaces\n' >"$p/docs/a b"; printf 'x' >"$p/docs/deep/er/ü"; : >"$p/empty.txt"
  printf '\177ELF junk' >"$p/data/junk"
  printf '#!/bin/sh\necho "tool $0 $*"\n' >"$p/bin/tool"; printf '#!%s/bin/tool\n' "$p" >"$p/bin/by-tool"
  chmod 755 "$p"/bin/*
  echo secret >"$p/docs/private"; chmod 600 "$p/docs/private"; chmod 2750 "$p/docs/deep"
  chown 12345:54321 "$p/data/junk"
  ln "$p/docs/words" "$p/data/words.linked"; ln -s ../docs "$p/data/to-docs"; ln -s "$p/data/numbers" "$p/absolute"
  ln -s nowhere "$p/dangling"; ln -s /etc/hostname "$p/leaves"; mkfifo "$p/fifo"; echo hidden >"$p/.hidden/.file"
  printf 'greet() { echo "hello from $BASH_SOURCE"; }\nvariable=set\n' >"$p/library.sh"
  settle
}

test_bash() {
  tree
  cat >"$work/script" <<'SH'
p=$1; cd /
. "$p/library.sh"; greet; echo "$variable"
for f in "$p"/*; do echo "$f"; done
for f in "$p"/docs/*d* "$p"/*/deep/?r/* "$p"/.h*/.[!.]*; do echo "$f"; done
shopt -s globstar nullglob dotglob extglob
printf '%s\n' "$p"/** "$p"/no-such* "$p"/!(docs|data)
for t in e f d L h p s x r w S g k O G N; do for f in docs/words docs fifo dangling absolute no-such bin/tool empty.txt docs/deep; do
  [ -$t "$p/$f" ] && echo "$t $f"; done; done
[[ $p/docs/words -ef $p/data/words.linked ]] && echo same; [[ $p/docs/words -nt $p/data/junk ]] || echo not newer
words=$(<"$p/docs/words"); echo "${#words}"; while read -r first _; do echo "[$first]"; done <"$p/docs/words"
cat <"$p/docs/a b"; mapfile -t lines <"$p/data/numbers"; echo "${#lines[@]} ${lines[19999]}"; exec 7<"$p/docs/words"
read -r -u 7 l; echo "$l"; cat <&7; exec 7<&-
cat <"$p/no-such"; echo $?; cat - "$p/docs/words" <<HERE
from a here document: $(cat "$p/docs/a b")
HERE
cat <(cat "$p/docs/words") <<<"$(head -n 2 "$p/data/numbers")"
cd "$p/docs" && pwd && echo *; cat words ../data/to-docs/words deep/er/*; cd deep/.. && pwd -P
cd ../data/to-docs && pwd && pwd -P; cd -P . && pwd; cd /; CDPATH=$p cd docs
pushd "$p/data" >/dev/null; dirs; popd >/dev/null; cd "$p/no-such"; cd "$p/docs/words"; cd /
PATH=$p/bin:$PATH; type tool; type -a tool; type no-such-tool; command -v tool; hash tool; hash -t tool
tool a "b c"; by-tool d; no-such-tool; "$p/docs/words"; "$p/bin"
compgen -f "$p/d" | sort; compgen -c to | grep -x tool; ( exec "$p/bin/tool" replaced )
( exec -a other bash -c 'echo $0'; )
trap 'echo leaving' EXIT; bash "$p/bin/tool" by bash; coproc cat "$p/docs/words" -; exec 8<&"${COPROC[0]}"; eval "exec ${COPROC[1]}>&-"; cat <&8; wait
"$p/bin/tool" in the background & wait
source no-such-library; eval ". $p/library.sh"; env -i "$p/bin/tool" without environment; test -r "$p/docs/private"
echo $?; shopt -u globstar nullglob dotglob
SH
  reads "bash script" bash "$work/script" "$p"
  cp "$work/script" "$p/script"; sed -i '1i #!/usr/bin/env bash' "$p/script"; chmod 755 "$p/script"; settle; staged
  reads "bash script under the prefix" "$p/script" "$p"
  reads "dash" dash -c 'for f in "$1"/*/*; do echo "$f"; [ -f "$f" ] && wc -c <"$f"; done; cd "$1/docs" && echo *; . "$1/library.sh"; PATH=$1/bin tool x; command -v "$1/bin/tool"; echo "$1"/no*' dash "$p"
  reads "zsh" zsh -fc 'print -l $1/**/*(.) $1/*(/) $1/**/*(@) $1/**/*(D.) $1/*(*) $1/**/*(Lk+100) $1/**/*(.oLon[1,3]) $1/no-such*(N) $1/docs/(#i)WORDS(N); setopt extendedglob; print -l $1/^d* $1/**/w*~*linked; cat < $1/docs/words; print -- $(<$1/docs/words); [[ -f $1/fifo ]] || print no; cd $1/docs; print $PWD *; zmodload zsh/stat; stat +size words; path=($1/bin $path); whence -v tool; tool z; print -- =tool ${1}/docs/deep/er(:A) $1/absolute(:A)' zsh "$p"
}

test_coreutils() {
  tree
  reads_script "ls" "$p" <<'SH'
ls -lR --time-style=full-iso "$1"; ls -laiU "$1"/docs "$1/absolute" | sort; ls -1F "$1"; ls -lZ "$1" 
ls -lt "$1/data"; ls -dl "$1" "$1/"; ls -l "$1/no-such"; ls --color=always -L "$1"
cd "$1/data" && ls -lA . .. ./to-docs/
SH
  reads_script "du" "$p" <<'SH'
du -la "$1" | sort -k 2; du -sb "$1"; du -sh "$1/data"; du -l --apparent-size "$1/docs"; du --inodes -s "$1"
du -lx --max-depth=1 "$1" | sort -k 2; du -lL "$1/data" | sort -k 2
SH
  reads_script "stat" "$p" <<'SH'
for f in "$1" "$1"/docs/words "$1"/{absolute,dangling,fifo,leaves,data/junk,docs/deep,no-such}; do stat "$f"; stat -L -c "%n %F %s %i %d %Y %a %h" "$f"; stat -f -c "%n %T %S" "$f"; done
df --output=target "$1" "$1/docs/words"; cd "$1"; stat -c %N *
SH
  reads_script "checksums" "$p" <<'SH'
cd "$1"; md5sum docs/words data/* 2>&1; sha256sum "$1"/data/[nz]*; cksum "$1/docs/a b"; sum data/zeros
md5sum "$1/docs/words" | md5sum -c; b2sum <"$1/data/numbers"
SH
  reads_script "text utilities" "$p" <<'SH'
cat "$1/docs/words" "$1/no-such" "$1/docs"; head -c 20 "$1/data/numbers"; tail -n 3 "$1/data/numbers"
tail -c +108880 "$1/data/numbers"; wc "$1"/docs/words "$1"/data/numbers; sort -rn "$1/data/numbers" | sed -n 1,2p
uniq -c "$1/docs/words"; cut -c 1-3 "$1/docs/words"; tac "$1/docs/words"; od -c "$1/data/junk"; nl "$1/docs/words"
paste "$1/docs/words" "$1/docs/a b"; join "$1/docs/words" "$1/data/words.linked"
comm "$1/docs/words" "$1/data/words.linked"; cmp "$1/data/numbers" "$1/data/zeros"; split -n 1/3 "$1/docs/words"
tr a-z A-Z <"$1/docs/words"; base64 "$1/data/junk"; fold -w 4 "$1/docs/words"; shuf -n 0 "$1/data/numbers"
tsort "$1/docs/words"; pr -t "$1/docs/words"; dd if="$1/data/zeros" bs=1k count=3 status=none | wc -c
SH
  reads_script "names" "$p" <<'SH'
cd "$1/docs"; readlink "$1/absolute" "$1/data/to-docs" "$1/docs/words"
readlink -f "$1/absolute" "$1/data/to-docs/../docs/words" "$1/dangling" "$1/no/such"; readlink -e "$1/dangling"
readlink -m "$1/no/../such"; realpath . .. ../data/to-docs "$1/leaves"
realpath --relative-to="$1/data" "$1/docs/words"; pwd -P; test -w "$1/docs/words"; echo $?
test "$1/absolute" -ef "$1/data/numbers"; echo $?; mountpoint "$1"; basename "$PWD"; dirname "$1"; pathchk "$1/docs"
namei -l "$1/absolute" | tail -n 4; mkdir -p "$1/docs/deep/er"; mkdir "$1/docs" "$1/docs/words" "$1/absolute" "$1/dangling" "$1/."; :
SH
  reads_script "cp -a from" "$p" <<'SH'
cp -a "$1" out/all; cp -rL "$1/data" out/followed; cp -p --parents "$1/docs/words" out
cp "$1/data/zeros" out/sparse --sparse=always; install -m 640 "$1/docs/words" out/installed
cp -rs "$1/docs" out/links; ln -s "$1/docs/words" out/link; cp --reflink=auto -H "$1/absolute" out/n
cp -u "$1/docs/words" out/all/docs/words; dd if="$1/data/numbers" of=out/dd status=none
SH
  reads_script "file" "$p" <<'SH'
file "$1"/* "$1"/*/*; file -b -L --mime "$1/absolute"; file -s "$1/data/junk"
SH
}

test_find_grep_sed_awk_diff() {
  tree; mkdir "$work/other"; cp -a "$p/docs" "$work/other/docs"; echo more >>"$work/other/docs/words"
  rm "$work/other/docs/a b"; cp -a "$p" "$work/same"; rm "$work/same/fifo" "$p/fifo"
  ln -sfn "$work/same/data/numbers" "$work/same/absolute"
  settle; touch -d '2021-01-01' "$p/docs/a b"
  reads_script "find" "$p" <<'SH'
cd /
for c in "" "-type f" "-type l -lname *data*" "-newer $1/docs/words" "-perm -600 -type f" "-perm /111" "-size +100k" "-empty" "-name *.txt" "-links +1" "-uid 12345" "-nouser" "-samefile $1/docs/words" "-mtime +100" "-maxdepth 1" "-mindepth 3" "-path */deep/*" "-xtype l" "-readable" "-writable" "-executable" "-type d -exec test -r {} ; -print" "-follow -type f" "-depth" "-inum 0" "-newermt 2020-12-01" "-name docs -prune -o -print" "-xdev -type d" "-regex .*/d[a-z]*" "-ls"; do echo "== $c"; set -f; find "$1" $c | tr -s " " | sort; set +f; done
find "$1" -printf "%p %y %m %s %n %i %u %g %l %T@ %d %h %f %P %k %b %D %F\n" | sort
find "$1" -type f -exec md5sum {} + | sort; find "$1" -name words -execdir pwd \; ; cd "$1"; find . -type f | sort
find docs data -print0 | sort -z | tr "\0" "\n"; find -L . | sort; find "$1/no-such"
find "$1" -type f -print0 | xargs -0 cat | md5sum --tag >/dev/null
find "$1" -type f -print0 | sort -z | xargs -0 cat | md5sum
SH
  reads_script "grep" "$p" <<'SH'
grep -r a "$1/docs" | sort; grep -rl 1 "$1" | sort; grep -c 9 "$1/data/numbers"
grep -rn --include="w*" beta "$1" | sort; cd "$1"; grep -r gamma | sort; grep -R gamma . | sort
grep -f docs/words data/words.linked; grep x no-such docs; grep -L zzz docs/*; zgrep alpha docs/words
grep -rs --exclude-dir=docs alpha . | sort
SH
  reads_script "sed" "$p" <<'SH'
sed -n 2p "$1/docs/words"; sed "r $1/docs/a b" "$1/docs/words"; sed -s -n "\$=" "$1"/docs/words "$1"/data/numbers
sed "s/a/b/w out/written" "$1/docs/words"; printf "s/alpha/omega/\n" >out/script; sed -f out/script "$1/docs/words"
sed p "$1/no-such"; :
SH
  reads_script "awk" "$p" <<'SH'
awk "{ n += \$1 } END { print n, FILENAME }" "$1/data/numbers"
awk -v f="$1/docs/words" "BEGIN { while ((getline line < f) > 0) print line; print (getline line < \"$1/no-such\"); \"cat $1/docs/words\" | getline l; print l; system(\"wc -l $1/docs/words\") }"
awk "FNR == 1 { print FILENAME, \$0 }" "$1/docs/words" "$1/data/numbers"
SH
  reads_script "diff -r" "$p" "$work" <<'SH'
diff -r "$1" "$2/same"; echo $?; diff -r "$1/docs" "$2/other/docs"; diff -rq "$1/data" "$1/docs" | sort
diff -u "$1/docs/words" "$1/docs/a b" --label x --label y; diff "$1/no-such" "$1/docs/words"
cmp "$1/docs/words" "$1/data/words.linked" && diff3 "$1/docs/words" "$2/other/docs/words" "$1/docs/words"
SH
}

test_tar_and_rsync() {
  tree
  reads_script "tar create" "$p" <<'SH'
tar --sort=name -cf out/a.tar -C "$1" .; tar --sort=name -czf out/b.tar.gz "$1" 2>/dev/null
tar -cf - -C "$1" docs data | tar -tf - | sort
cd "$1" && tar --sort=name -cf - --exclude="*.txt" --xattrs --acls . | tar -tvf - --full-time
tar --sort=name -chf - data | tar -t; tar -cf - --no-recursion -T <(find . | sort) | tar -t
tar -cf - --newer-mtime=2021-01-01 . 2>/dev/null | tar -t | sort
SH
  tar -cf "$work/all.tar" -C "$p" .; tar --sort=name -cf "$p/inside.tar" -C "$p" docs data; settle; staged
  reads_script "tar compare and extract from" "$p" "$work/all.tar" <<'SH'
tar -df "$2" -C "$1" | sort; tar -xf "$1/inside.tar" -C out; tar -tf "$1/inside.tar"
tar -dvf "$1/inside.tar" -C "$1"; tar -xOf "$1/inside.tar" docs/words
SH
  cp -a "$p" "$work/copy"; echo changed >>"$work/copy/docs/words"; rm "$work/copy/empty.txt"
  reads_script "rsync from" "$p" <<'SH'
rsync -aH "$1/" out/all; rsync -aLq "$1/data" out/followed; rsync -rlptni "$1/" out/empty | sort
rsync -a --include="*/" --include="w*" --exclude="*" "$1/" out/some; rsync --list-only -r "$1/docs/" | sort -k 5
SH
  reads_script "rsync --dry-run -c to" "$p" "$work/copy" <<'SH'
rsync -acin --delete "$2/" "$1/" | sort; rsync -ain "$2/" "$1/" | sort
rsync -aHncv "$1/" "$1/" | grep -v "bytes\|speedup"
SH
  reads_script "zip, gzip, xz, zstd" "$p" "$both_python" <<'SH'
cd "$1"
"$2" -c "import zipfile, tarfile, os; z = zipfile.ZipFile(os.environ[\"OUT\"] + \"/z.zip\", \"w\"); [z.write(n) for n in (\"docs/words\", \"data/numbers\", \"docs/deep\")]; print(z.namelist()); print(sorted(tarfile.open(\"inside.tar\").getnames()))"
gzip -kc data/numbers | gunzip | md5sum; xz -kc data/zeros | xz -dc | md5sum
zstd -qc data/zeros | zstd -dc | md5sum
SH
}

# interpreters: makes a tree with modules, programs and settings of interpreters.
interpreters() {
  p=$work/p; mkdir -p "$p"/{perl/My,node/node_modules/{dep/lib,scoped},java,ssh,empty}
  echo 'package My::Module; use strict; use My::Base; our $VERSION = 3; sub file { __FILE__ } 1;' >"$p/perl/My/Module.pm"
  echo 'package My::Base; 1;' >"$p/perl/My/Base.pm"; echo '$main::required = 1; 1;' >"$p/perl/other.pl"
  echo 'exports.name = __filename; exports.dep = require("dep"); exports.json = require("./data.json");' >"$p/node/module.js"
  echo '{"a": 1}' >"$p/node/data.json"
  echo '{"main": "lib/main.js"}' >"$p/node/node_modules/dep/package.json"
  echo 'module.exports = "dep " + __dirname;' >"$p/node/node_modules/dep/lib/main.js"
  echo 'export const esm = import.meta.url; export { default as fs } from "fs";' >"$p/node/esm.mjs"
  ln -s module.js "$p/node/link.js"; python3 "$tools/java_class.py" "$p/java"
  printf 'Host there\n  HostName 192.0.2.7\n  Include %s/ssh/more\n' "$p" >"$p/ssh/config"
  echo 'Port 2222' >"$p/ssh/more"; ssh-keygen -q -t ed25519 -N '' -C test -f "$p/ssh/key"
  settle
}

test_perl() {
  interpreters
  cat >"$work/script.pl" <<'PL'
use strict; use My::Module; use File::Find; use Cwd qw(getcwd realpath); use File::stat (); use File::Spec;
my $p = shift; print My::Module::file(), " $INC{'My/Base.pm'}\n"; require "other.pl"; do "$p/perl/other.pl";
open(my $f, '<', "$p/node/data.json") or die; print <$f>;
print join(",", map { $_ // "-" } (stat $f)[0..7, 9]), "\n";
print join(",", (lstat "$p/node/link.js")[0..7, 9]), "\n"; close $f;
print "$_\n" for sort glob("$p/*/*"), <$p/n*/*.js>; opendir(my $d, "$p/node") or die;
print join(" ", sort readdir $d), "\n"; rewinddir $d; print scalar(() = readdir $d), "\n"; closedir $d;
find({ wanted => sub { push @main::found, $File::Find::name }, no_chdir => 0 }, $p);
print "$_\n" for sort @main::found; print readlink("$p/node/link.js"), " ", realpath("$p/node/link.js"), "\n";
chdir "$p/node" or die; print getcwd(), "\n";
print -s "module.js", " ", (-e "no-such" ? 1 : 0), (-l "link.js" ? 1 : 0), (-d "../perl" ? 1 : 0), (-M _ > 0 ? 1 : 0), "\n";
print `cat data.json`; print -x $^X ? "x\n" : "";
print open(my $g, '<', "$p/no-such") ? "" : "$!\n"; print eval { require No::Such } ? "" : (split /\(/, $@)[0], "\n";
local @ARGV = ("$p/node/module.js", "data.json"); print "$ARGV $_" while <>; exec "cat", "link.js";
PL
  reads "perl" perl -I "$p/perl" "$work/script.pl" "$p"
}

test_node() {
  interpreters
  cat >"$work/script.js" <<'JS'
const p = process.argv[2], fs = require("fs"), path = require("path"), { execFileSync } = require("child_process");
const say = (...a) => console.log(...a), short = s => [s.dev, s.ino, s.mode, s.nlink, s.size, s.mtimeMs, s.isSymbolicLink()].join(" ");
const m = require(p + "/node/module"); say(m); say(require.resolve(p + "/node/link.js"), require(p + "/node/link.js").name);
try { require(p + "/node/no-such") } catch (e) { say(e.code) }
say(fs.readFileSync(p + "/node/data.json", "utf8"), fs.realpathSync(p + "/node/link.js"), fs.realpathSync.native(p + "/node/link.js"), fs.readlinkSync(p + "/node/link.js"));
say(fs.existsSync(p + "/x"), fs.readdirSync(p).sort(), short(fs.statSync(p + "/node/link.js")), short(fs.lstatSync(p + "/node/link.js")), fs.readdirSync(p, { recursive: true }).sort());
say(fs.readdirSync(p + "/node", { withFileTypes: true }).map(e => e.name + e.isDirectory() + e.isSymbolicLink()).sort());
fs.accessSync(p + "/node", fs.constants.R_OK); fs.opendirSync(p).closeSync();
const fd = fs.openSync(p + "/node/module.js"); say(short(fs.fstatSync(fd)), fs.readSync(fd, Buffer.alloc(10)));
fs.closeSync(fd);
say(execFileSync("cat", [p + "/node/data.json"]).toString()); process.chdir(p + "/node");
say(process.cwd(), fs.readFileSync("data.json", "utf8"));
fs.copyFileSync(p + "/node/module.js", process.env.OUT + "/copied.js");
fs.cpSync(p + "/node", process.env.OUT + "/tree", { recursive: true });
(async () => {
  const f = fs.promises;
  say(await f.readFile(p + "/node/data.json", "utf8"), short(await f.stat(p + "/node/link.js")), short(await f.lstat(p + "/node/link.js")), (await f.readdir(p)).sort(), await f.realpath(p + "/node/link.js"));
  await f.access(p + "/java");
  for (const call of ["stat", "readFile", "readdir", "realpath", "access"]) try { await f[call](p + "/no-such") } catch (e) { say(e.message) };
  const h = await f.open(p + "/node/module.js"); say(short(await h.stat()), (await h.readFile("utf8")).length);
  await h.close();
  say((await f.readdir(p + "/node", { withFileTypes: true })).map(e => e.name + e.isFile()).sort());
  for await (const line of require("readline").createInterface({ input: fs.createReadStream(p + "/node/module.js") })) say(line);
  say((await import(p + "/node/esm.mjs")).esm); await f.copyFile("data.json", process.env.OUT + "/data");
  await new Promise(r => fs.stat(p, (e, s) => r(say(short(s)))));
  await new Promise(r => fs.exists(p + "/y", x => r(say(x))));
  await Promise.all(Array.from({ length: 200 }, (_, i) => f.readFile(p + "/node/" + ["module.js", "data.json", "link.js"][i % 3]))).then(all => say(all.reduce((n, b) => n + b.length, 0)));
})();
JS
  reads "node" node "$work/script.js" "$p"
  reads_script "node with a program under the prefix" "$p" <<'SH'
cd "$1/node" && node link.js && node esm.mjs && node -p "require(\"dep\")"
SH
}

test_java_and_ssh() {
  interpreters
  reads_script "java" "$p/java" <<'SH'
java -Xshare:auto -XX:TieredStopAtLevel=1 -cp "$1/hello.jar" Hello; java -XX:TieredStopAtLevel=1 -jar "$1/hello.jar"
cd "$1" && java -XX:TieredStopAtLevel=1 -cp . Hello
SH
  expected_status=255 reads_script "ssh" "$p/ssh" <<'SH'
ssh -V; ssh -G -F "$1/config" there | grep -E "^(hostname|port|user) "; ssh-keygen -lf "$1/key.pub"
ssh-keygen -yf "$1/key"; ssh -F "$1/no-such" -G there
SH
}

test_gcc_and_make() {
  p=$work/p; mkdir -p "$p"/{include/sub,lib/deep,src,build}
  echo '#define GREETING "hello"' >"$p/include/greeting.h"; echo '#include "sub/inner.h"' >"$p/include/outer.h"
  echo 'int value(void);' >"$p/include/sub/inner.h"
  echo 'int deep(void) { return 40; }' | gcc -shared -fPIC -x c -o "$p/lib/deep/libdeep.so" - || fail "gcc"
  echo 'int deep(void); int value(void) { return deep() + 2; }' | gcc -shared -fPIC -x c -o "$p/lib/libvalue.so" - -L"$p/lib/deep" -ldeep -Wl,-rpath,"$p/lib/deep" || fail "gcc"
  echo 'int fixed(void) { return 5; }' | gcc -c -x c -o "$p/build/fixed.o" -
  ar rcs "$p/lib/libfixed.a" "$p/build/fixed.o"
  printf '#include <stdio.h>\n#include <greeting.h>\n#include <outer.h>\nint fixed(void);\nint main(void) { printf("%%s %%d %%d %%s\\n", GREETING, value(), fixed(), __FILE__); return 0; }\n' >"$p/src/main.c"
  printf 'program: build/main.o lib/libvalue.so\n\tcc -o $@ build/main.o -Llib -lvalue -lfixed -Wl,-rpath,%s/lib:%s/lib/deep\nbuild/%%.o: src/%%.c include/greeting.h $(wildcard include/sub/*.h)\n\tcc -Iinclude -c -o $@ $<\ninclude config.mk\n.PHONY: test\ntest: program\n\t./program\n' "$p" "$p" >"$p/Makefile"
  echo 'CONFIG = 1' >"$p/config.mk"
  make -s -C "$p" || fail "make"
  settle; touch -d 2020-02-03 "$p/build/main.o"; touch -d 2020-02-04 "$p/program"
  reads_script "gcc" "$p" <<'SH'
f=(-I"$1/include" -L"$1/lib" -Wl,-rpath,"$1/lib" -Wl,-rpath-link,"$1/lib/deep")
gcc "${f[@]}" -o out/program "$1/src/main.c" -lvalue -lfixed
gcc -isystem "$1/include" -M "$1/src/main.c" | tr -s " \\\\\n" "\n" | grep "$1"
gcc -I"$1/include" -E "$1/src/main.c" | grep "$1"
cd "$1/src" && gcc -c -I../include -iquote ../no-such -o "$OLDPWD/out/main.o" main.c
C_INCLUDE_PATH=$1/include LIBRARY_PATH=$1/lib gcc -S -o - main.c | grep -c hello
gcc -print-file-name="$1/lib/libvalue.so"; gcc -B"$1/lib" -print-search-dirs | grep -c "$1"
gcc -c "$1/src/no-such.c" -o /dev/null; nm -D "$1/lib/libvalue.so" | grep " T"; ar t "$1/lib/libfixed.a"
readelf -d "$1/lib/libvalue.so" | grep -i path; "$1/program"; objdump -d "$1/build/fixed.o" | tail -n 3
size "$1/program" | tail -n 1 | cut -f 1-4; strings "$1/program" | grep hello
SH
  # A program outside the prefix, whose libraries lie in the prefix. The loader reads these libraries before the shim runs.
  equal "a program linked to the prefix" "hello 42 5 $p/src/main.c" "$("$stage/bin/pyshm-exec" "$work/staged.made/program")"
  reads_script "make, nothing to be done" "$p" <<'SH'
make -C "$1"; make -C "$1" -q; echo $?; make -C "$1" test; make -C "$1" -n -W src/main.c
cd "$1" && make -rR -d program | grep -c "No need"; make -f "$1/Makefile" -n -B program; make no-such
make -p -n program | grep -c "^build"; :
SH
}

test_git() {
  p=$work/p; mkdir -p "$p/sub"
  export GIT_AUTHOR_NAME=A GIT_AUTHOR_EMAIL=a@example.org GIT_COMMITTER_NAME=A GIT_COMMITTER_EMAIL=a@example.org GIT_AUTHOR_DATE='1600000000 +0000' GIT_COMMITTER_DATE='1600000000 +0000'
  ( cd "$p" && git init -qb main . && for i in 1 2 3 4; do seq "$i" 300 >"file$i"; echo "$i" >"sub/$i"; git add . && git commit -qm "change $i" && git tag "v$i" || exit 1; done; git gc -q; echo 5 >sub/5; git add . && git commit -qm "change 5"; git branch other HEAD~2; echo '*.o' >.gitignore ) || fail "the repository"
  settle; git -C "$p" update-index -q --refresh; look
  reads_script "git" "$p" <<'SH'
export GIT_OPTIONAL_LOCKS=0; cd "$1"; git status; git status --porcelain --ignored
git log --stat --oneline --all --graph; git show HEAD:sub/3 v2 --stat; git diff HEAD~3 --stat; git diff
git blame -s sub/5; git ls-files -s; git cat-file -p HEAD^{tree}; git rev-parse --show-toplevel --git-dir HEAD
git branch -avv; git tag -n; git describe --tags; git grep -n 299; git fsck --full 2>&1 | sort
git rev-list --objects --all | wc -l; git count-objects
git for-each-ref; git check-ignore -v x.o; git config --list --local; git -C sub log -1 --format=%H
git archive HEAD | tar -t; git verify-pack -v .git/objects/pack/*.idx | tail -n 2; git reflog | sed -n 1,2p
git merge-base main other; git stash list; git bundle create - HEAD 2>/dev/null | wc -l; git shortlog -sn HEAD
cd sub && git ls-files ..; git rev-parse --show-cdup
SH
  reads_script "git clone from" "$p" <<'SH'
git clone -q --no-hardlinks "$1" out/clone && git -C out/clone log --oneline && rm out/clone/.git/index
git clone -q --no-local --bare "$1" out/bare; git ls-remote "$1"; git -C out/bare fetch -q "$1" main
git clone -q --shared "$1" out/shared && git -C out/shared status && rm out/shared/.git/index
SH
}

test_python() {
  p=$work/p; mkdir -p "$p"/{package/sub,data/a/b,db}; seq 1 50000 >"$p/data/numbers"
  head -c 100000 /dev/zero >"$p/data/a/zeros"; echo deep >"$p/data/a/b/deep"; ln -s a/b "$p/data/link"
  echo 'from . import sub; where = __file__' >"$p/package/__init__.py"
  echo 'name = __name__' >"$p/package/sub/__init__.py"
  echo 'print("run as", __name__, __file__)' >"$p/package/__main__.py"; echo text >"$p/package/resource.txt"
  "$both_python" - "$p" <<'PY' || fail "the tree"
import dbm.dumb, shelve, sqlite3, sys, zipapp, zipfile, compileall, py_compile
p = sys.argv[1]
with sqlite3.connect(p + "/db/sqlite") as c: c.execute("pragma synchronous = off"); c.execute("create table t (a, b)"); c.executemany("insert into t values (?, ?)", ((i, str(i)) for i in range(2000)))
c.close()
with dbm.dumb.open(p + "/db/dumb", "c") as d: d["key"] = "value"
with shelve.open(p + "/db/shelf") as s: s["list"] = [1, 2]
zipapp.create_archive(p + "/package", p + "/app.pyz")
compileall.compile_dir(p + "/package", quiet=1, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
PY
  settle
  cat >"$work/script.py" <<'PY'
import contextlib, dbm, filecmp, fileinput, fnmatch, glob, hashlib, importlib.resources, linecache, mmap, os, pathlib, shelve, shutil, sqlite3, sys, tempfile, zipfile
p, out = sys.argv[1], os.environ["OUT"]; P = pathlib.Path(p)
short = lambda s: (s.st_dev, s.st_ino, s.st_mode, s.st_nlink, s.st_size, s.st_mtime_ns, s.st_ctime_ns)
sys.path.insert(0, p); import package
print(package.where, package.sub.name, importlib.resources.files(package).joinpath("resource.txt").read_text(), package.__spec__.cached)
for top, dirs, files in os.walk(p): dirs.sort(); print(top, dirs, sorted(files))
print([sorted(x) if isinstance(x, list) else x for row in os.fwalk(p, follow_symlinks=True) for x in row[:3]] and "fwalk", sorted(glob.glob(p + "/**", recursive=True)), sorted(glob.glob("*/n*", root_dir=p)), sorted(map(str, P.rglob("*"))), sorted(map(str, P.glob("d*/a/*"))))
print(sorted((e.name, e.is_dir(), e.is_symlink(), e.inode(), short(e.stat())) for e in os.scandir(p + "/data")), short(P.stat()), short(os.lstat(p + "/data/link")), os.path.realpath(p + "/data/link/deep"), (P / "data/link").resolve(), os.readlink(p + "/data/link"), (P / "no").exists())
with open(p + "/data/numbers", "rb") as f:
    with mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as m: print(len(m), m[100:110], m.find(b"49999"), hashlib.file_digest(f, "md5").hexdigest())
    with mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_COPY) as m: m[0:3] = b"xyz"; print(m[:6], f.name, os.fstat(f.fileno()).st_ino == os.stat(f.name).st_ino)
    try: mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_WRITE)
    except PermissionError as e: print(e)
with contextlib.closing(sqlite3.connect(f"file:{p}/db/sqlite?mode=ro&immutable=1", uri=True)) as c: print(c.execute("select sum(a), count(b) from t").fetchone())
with dbm.open(p + "/db/dumb", "r") as d: print(d["key"])
with shelve.open(p + "/db/shelf", "r") as s: print(s["list"])
shutil.copytree(p + "/data", out + "/tree", symlinks=True); shutil.copy2(p + "/app.pyz", out)
print(sorted(zipfile.ZipFile(p + "/app.pyz").namelist()), filecmp.cmp(p + "/data/numbers", out + "/tree/numbers", shallow=False), shutil.disk_usage(p).total > 0, linecache.getline(p + "/package/__init__.py", 1))
os.chdir(p)
print(os.getcwd(), open("data/a/b/deep").read(), os.listdir("data/link"), Path := pathlib.Path("data").resolve())
fd = os.open(p, os.O_RDONLY)
print(sorted(os.listdir(fd)), os.stat("data", dir_fd=fd).st_ino, os.access("db", os.W_OK, dir_fd=fd), os.readlink("data/link", dir_fd=fd))
os.fchdir(fd); print(os.getcwd(), os.path.samefile(".", p))
for name, call in (("open", open), ("listdir", os.listdir), ("stat", os.stat), ("readlink", os.readlink)):
    for what in ("no-such", "data/numbers/x", "data/numbers/", ""):
        try: call(p + "/" + what) and print(name, what, "ok")
        except OSError as e: print(name, what, e)
print(os.getxattr(p, "user.none") if False else os.listxattr(p + "/data"), os.pathconf(p, "PC_NAME_MAX"), os.statvfs(p).f_bsize, os.sendfile(os.open(out + "/sent", os.O_WRONLY | os.O_CREAT), os.open(p + "/data/numbers", os.O_RDONLY), 0, 1000))
PY
  reads "python" "$both_python" -B "$work/script.py" "$p"
  reads_script "python programs under the prefix" "$both_python" "$p" <<'SH'
cd "$2"; "$1" -B app.pyz; "$1" -B package; "$1" -Bm package
PYTHONPATH=$2 "$1" -Bc "import package; print(package.__file__, package.__cached__)"; "$1" -Bm zipfile -l app.pyz
"$1" -Bm tokenize package/__init__.py | tail -n 3
sqlite3 -readonly "file:$2/db/sqlite?immutable=1" "select count(*) from t"
SH
}

run_tests
