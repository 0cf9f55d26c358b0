#!/bin/bash
# Tests real programs that write under a prefix. A staged run leaves the same tree as a bare run. It makes operations on the
# shared file system only on paths that were written.
. "$(dirname "$0")/harness.sh"
. "$tools/both.sh"
# git must not sync data to disk, because syncing takes long on a busy disk.
export GIT_CONFIG_COUNT=3 GIT_CONFIG_KEY_0=core.fsync GIT_CONFIG_VALUE_0=none GIT_CONFIG_KEY_1=pack.threads GIT_CONFIG_VALUE_1=1 GIT_CONFIG_KEY_2=gc.auto GIT_CONFIG_VALUE_2=0

tree() {
  p=$work/p; mkdir -p "$p"/{bin,docs/deep/er,data,empty}
  printf 'alpha\nbeta\ngamma\n' >"$p/docs/words"; seq 1 5000 >"$p/data/numbers"; echo 'a b' >"$p/docs/a b"
  echo deep >"$p/docs/deep/er/file"; : >"$p/data/none"
  printf '#!/bin/sh\necho "tool $*"\n' >"$p/bin/tool"; chmod 755 "$p/bin/tool"; ln -s ../docs "$p/data/to-docs"
  ln -s "$p/data/numbers" "$p/absolute"; ln "$p/docs/words" "$p/data/words.linked"
  settle
}

test_shells() {
  tree
  cat >"$work/script" <<'SH'
p=$1; cd "$p"; echo new >made; echo more >>docs/words; cat made docs/words; >data/none
echo "$(<made)" >"$p/docs/$(cat docs/a\ b)"; cat >here <<HERE
here $(cat made)
HERE
cat here; ls -A . docs | sort; mkdir -p docs/deep/new/er && echo x >docs/deep/new/er/x
cd docs/deep/new && pwd && echo *; cd ../../..; [ -e made ] && [ -f docs/deep/new/er/x ] && echo there; set -C
echo clobber >made; set +C
for f in * docs/*; do echo "$f"; done; mv made docs/moved; cat docs/moved; [ -e made ] || echo gone; rm here
ls | sort; ln -s docs/moved link; cat link; ln docs/moved hard; echo through >>hard; cat docs/moved
rm -r docs/deep/new; rmdir empty; ls docs/deep; chmod 600 docs/words; stat -c '%a %s' docs/words
exec 5<>data/rw; echo rw >&5; exec 5>&-; cat data/rw; printf '#!/bin/sh\necho made now\n' >bin/made
chmod +x bin/made; PATH=$p/bin:$PATH; made; tool; rm bin/tool; tool; hash -r; echo '. "$0.inc"; echo "$0"' >bin/s
echo 'echo included' >bin/s.inc; sh bin/s; type made; cat <absolute | tail -n 1; echo 5001 >>absolute
tail -n 1 data/numbers; echo >data/to-docs/through; ls docs | sort; mkfifo pipe; (echo through a pipe >pipe &)
cat pipe; umask 077; echo private >private; stat -c %a private; touch -d 2020-05-05 docs/a\ b
[ docs/a\ b -nt docs/deep/er/file ] && echo newer; mv docs/deep data/moved; cat data/moved/er/file; ls docs/deep
echo changed >data/moved/er/file; cat data/moved/er/file; mkdir docs/deep; ls docs/deep; :
SH
  writes "bash" bash "$work/script" "$p"
  writes "zsh" zsh -fc 'cd $1; print new > made; print -l *(.) >> docs/words; cat docs/words; print -l **/*(.) | sort; zmodload zsh/files; mkdir -p x/y; mv made x/y; ls x/y; rm -rf x; print -l *; zmodload zsh/mapfile; mapfile[data/none]=filled; cat data/none; : > docs/a\ b; print -l docs/*(L0)' zsh "$p"
}

test_coreutils_sed_perl_node() {
  tree; mkdir "$work/source"; cp -a "$p/docs" "$work/source/docs"; echo changed >"$work/source/docs/words"; settle
  touch -d 2020-06-06 "$work/source/docs/words"
  writes_script "cp -a into" "$p" "$work/source" <<'SH'
cp -a "$2/docs" "$1/copied"; cp -a "$2/docs/." "$1/docs/"
cat "$1/docs/words" "$1/copied/words" "$1/data/words.linked"; cp -rl "$1/docs" "$1/linked"
cp -b "$2/docs/words" "$1/data/numbers"; cp --remove-destination "$2/docs/words" "$1/absolute"; ls -R "$1" | md5sum
install -D -m 750 "$2/docs/words" "$1/i/n/s"; cp -as "$1/docs" "$1/symlinks"; cat "$1/symlinks/words"
cp -u "$2/docs/words" "$1/docs/words"; cp -f "$1/bin/tool" "$1/bin/other"; "$1/bin/other"
SH
  writes_script "coreutils" "$p" <<'SH'
cd "$1"; truncate -s 100 data/numbers; wc -c data/numbers; sort -ro docs/words docs/words
cat docs/words data/words.linked; tee docs/teed <docs/words >/dev/null; cat docs/teed
dd if=docs/words of=data/none conv=notrunc bs=2 seek=1 status=none; od -c data/none
split -l 2 docs/words data/part.; ls data | sort; touch -a docs/words; touch made; mkdir -m 700 d; rmdir d
chown 5:5 made; chgrp -R 7 docs; chmod -R g+w docs; stat -c "%u:%g %a" made docs docs/words; ln -sfn data link
readlink link; ls link/ | sort; mktemp -p docs name.XXXX >/dev/null; rm docs/name.*; shred -u made; unlink absolute
link docs/words docs/words2; mv -T docs/deep docs/shallow; cat docs/shallow/er/file; mv docs/words docs/w
mv data d2; cat d2/none | od -c; ls d2/to-docs/ | sort; csplit -sf d2/c docs/w 2; cat d2/c0*; df . >/dev/null
fallocate -l 10 d2/none; tac docs/w >docs/tac; comm docs/w docs/tac 2>/dev/null
find . -type f -newer bin/tool | sort; find . -name "part*" -delete; find . | sort; sync -f .; :
SH
  writes_script "sed -i, awk, ed-like" "$p" <<'SH'
sed -i.bak s/alpha/omega/ "$1/docs/words"; cat "$1/docs/words" "$1/docs/words.bak"
sed -i "1d" "$1"/docs/a* "$1/data/numbers"; head -n 1 "$1/data/numbers"
awk -v o="$1/data/awk" "{ print > o; close(o); print FILENAME >> o }" "$1/docs/words"; cat "$1/data/awk"
grep -r omega "$1" | sort; diff -u "$1/docs/words.bak" "$1/docs/words" --label a --label b >"$1/patch"
cat "$1/patch"; gzip "$1/data/numbers"; zcat "$1/data/numbers.gz" | tail -n 1; gunzip "$1/data/numbers.gz"
tail -n 1 "$1/data/numbers"
SH
  cat >"$work/script.pl" <<'PL'
my $p = shift; open(my $f, '>', "$p/made") or die; print $f "made\n"; close $f; open($f, '<', "$p/made") or die;
print <$f>; open($f, '+<', "$p/docs/words") or die; seek($f, 0, 2); print $f "end\n"; seek($f, 0, 0); print <$f>;
close $f; print -s "$p/docs/words", "\n";
rename "$p/made", "$p/docs/made"; print -e "$p/made" ? "still\n" : "gone\n"; unlink "$p/docs/a b";
mkdir "$p/dir" or die; opendir(my $d, $p); print join(" ", sort readdir $d), "\n"; chmod 0600, "$p/docs/words";
printf "%o\n", (stat "$p/docs/words")[2]; utime 1600000000, 1600000000, "$p/docs/made";
print((stat "$p/docs/made")[9], "\n"); truncate "$p/data/numbers", 10; print -s "$p/data/numbers", "\n";
symlink "docs", "$p/l"; print join(" ", sort glob("$p/l/*")), "\n";
use File::Temp; my $t = File::Temp->new(DIR => "$p/data"); print $t "x"; close $t; print -s "$t", "\n"; undef $t;
use File::Path; File::Path::make_path("$p/a/b/c"); File::Path::remove_tree("$p/a", "$p/docs/deep");
print -e "$p/docs/deep/er/file" ? "still\n" : "gone\n"; use Fcntl ":flock"; open($f, '<', "$p/docs/words");
print flock($f, LOCK_SH) ? "locked\n" : "no: $!\n";
PL
  writes_script "perl" "$p" "$work/script.pl" <<'SH'
perl "$2" "$1"; perl -pi -e "s/beta/BETA/" "$1/docs/words"; cat "$1/docs/words"
SH
  cat >"$work/script.js" <<'JS'
const p = process.argv[2], fs = require("fs"), f = fs.promises, say = (...a) => console.log(...a);
fs.writeFileSync(p + "/made", "made\n"); say(fs.readFileSync(p + "/made", "utf8"), fs.statSync(p + "/made").size);
fs.appendFileSync(p + "/docs/words", "more\n"); say(fs.readFileSync(p + "/docs/words", "utf8"));
fs.mkdirSync(p + "/x/y/z", { recursive: true }); fs.renameSync(p + "/made", p + "/x/y/made");
say(fs.readdirSync(p).sort(), fs.existsSync(p + "/made")); fs.rmSync(p + "/x", { recursive: true });
fs.cpSync(p + "/docs", p + "/copied", { recursive: true }); say(fs.readdirSync(p + "/copied").sort());
fs.mkdtempSync(p + "/data/t-"); say(fs.readdirSync(p + "/data").length);
fs.rmSync(p + "/data", { recursive: true });
say(fs.existsSync(p + "/data/numbers"));
(async () => {
  await f.writeFile(p + "/later", "later");
  say(await f.readFile(p + "/later", "utf8"), (await f.stat(p + "/later")).size);
  await f.appendFile(p + "/docs/a b", "x");
  say((await f.stat(p + "/docs/a b")).size, (await f.lstat(p + "/docs/words")).size);
  await f.rename(p + "/later", p + "/docs/later"); say((await f.readdir(p + "/docs")).sort());
  await f.unlink(p + "/docs/later"); await f.mkdir(p + "/d/e", { recursive: true });
  await f.rm(p + "/docs/deep", { recursive: true }); await f.symlink("docs", p + "/l");
  say(await f.realpath(p + "/l/words"), await f.readlink(p + "/l")); await f.chmod(p + "/bin/tool", 0o700);
  say((await f.stat(p + "/bin/tool")).mode); await f.utimes(p + "/bin/tool", 1.6e9, 1.6e9);
  await f.copyFile(p + "/bin/tool", p + "/bin/other"); await f.truncate(p + "/docs/words", 3);
  say(await f.readFile(p + "/docs/words", "utf8")); const h = await f.open(p + "/docs/words", "r+");
  await h.write("XY"); await h.close(); say(await f.readFile(p + "/docs/words", "utf8"));
})();
JS
  writes "node" node "$work/script.js" "$p"
}

test_tar_and_rsync() {
  tree; cp -a "$p" "$work/other"; echo changed >"$work/other/docs/words"
  touch -d 2020-06-06 "$work/other/docs/words"; rm "$work/other/docs/a b"; mkdir "$work/other/extra"
  echo extra >"$work/other/extra/file"
  touch -d 2020-06-06 "$work/other/extra"{/file,} "$work/other" "$work/other/docs"
  tar -cf "$work/all.tar" -C "$work/other" .
  writes_script "tar extract" "$p" "$work/all.tar" <<'SH'
tar -xf "$2" -C "$1"; cat "$1/docs/words" "$1/data/words.linked" "$1/extra/file"; tar -df "$2" -C "$1" | sort
mkdir "$1/again"; tar -xpf "$2" -C "$1/again" --strip-components=2 ./docs; ls "$1/again" | sort
tar -cf "$1/inside.tar" -C "$1" docs; tar -rf "$1/inside.tar" -C "$1" bin; tar -tf "$1/inside.tar" | sort
tar --delete -f "$1/inside.tar" docs/words; tar -tf "$1/inside.tar" | wc -l
tar --keep-old-files -xf "$2" -C "$1" ./bin/tool 2>&1 | wc -l; tar --overwrite -xf "$2" -C "$1" ./data
rm "$1/inside.tar"
SH
  writes_script "rsync into" "$p" "$work/other" <<'SH'
rsync -aHi --delete "$2/" "$1/" | sort; cat "$1/docs/words"; rsync -ain --delete "$2/" "$1/" | sort
rsync -a --inplace "$2/bin/tool" "$1/docs/words"; rsync -a --backup "$2/docs/words" "$1/docs/words"
ls "$1/docs" | sort; rsync -a --link-dest="$1/docs" "$2/docs/" "$1/linked"
rsync -rlptc --append "$2/data/" "$1/data/"; rsync -a --remove-source-files "$1/extra/" "$1/moved"
ls -R "$1/extra" "$1/moved"
SH
}

test_gcc_and_make() {
  p=$work/p; mkdir -p "$p"/{include,src,lib}
  echo 'int value(void);' >"$p/include/value.h"; echo 'int value(void) { return 42; }' >"$p/src/value.c"
  printf '#include <stdio.h>\n#include "value.h"\nint main(void) { printf("%%d\\n", value()); return 0; }\n' >"$p/src/main.c"
  echo unrelated >"$p/src/unrelated.c"
  printf 'program: main.o lib/libvalue.so\n\tgcc -o $@ main.o %s/lib/libvalue.so\nlib/libvalue.so: value.o\n\tgcc -shared -o $@ $<\n%%.o: src/%%.c\n\tgcc -fPIC -Iinclude -MMD -c -o $@ $<\n-include main.d value.d\nclean:\n\trm -f *.o *.d program lib/*\n' "$p" >"$p/Makefile"
  settle
  writes_script "make" "$p" <<'SH'
cd "$1"; make && ./program && make; touch -d 2020-03-03 src/main.c; make; sed -i s/42/43/ src/value.c; sleep 0.02
make && "$1/program"; touch include/value.h; make -n; make -j2 -s; ./program; make -q; echo $?; make clean
ls | sort; ar rcs lib/libv.a Makefile; ar t lib/libv.a; make -s && ldd program | grep -c "$1/lib/libvalue.so"
strip program; ./program
SH
}

test_git() {
  p=$work/p; mkdir -p "$p/sub"
  export GIT_AUTHOR_NAME=A GIT_AUTHOR_EMAIL=a@example.org GIT_COMMITTER_NAME=A GIT_COMMITTER_EMAIL=a@example.org GIT_AUTHOR_DATE='1600000000 +0000' GIT_COMMITTER_DATE='1600000000 +0000'
  ( cd "$p" && git init -qb main . && for i in 1 2 3; do seq "$i" 300 >"file$i"; echo "$i" >"sub/$i"; git add . && git commit -qm "change $i" || exit 1; done; git branch other HEAD~1 ) || fail "the repository"
  settle; tree_options=(--volatile '(^|/)(index|FETCH_HEAD|gc.pid|[^/]*\.(rev|idx|bitmap))$')
  writes_script "git commit" "$p" <<'SH'
cd "$1"; git status --short; echo changed >>file1; echo new >new; git status --short; git add -A
git diff --cached --stat; git commit -qm "on top"; git log --oneline --stat -2; git mv file2 moved; git rm -q sub/1
git commit -qm moved; ls; git status; git stash list; echo dirty >>file3; git stash -q; git stash pop -q
git checkout -q -- file3; git tag -a v1 -m v1; git show --stat v1 | sed -n 1,3p; git rev-parse HEAD HEAD^{tree}
git fsck 2>&1 | sort
SH
  writes_script "git branches" "$p" <<'SH'
cd "$1"; git checkout -q other; ls; seq 5 >file9; git add . ; git commit -qm other; git checkout -q main
git merge -q -m merged other; git log --oneline --graph; git cherry-pick other 2>&1 | sed -n 1,1p
git reset -q --hard HEAD~1; git rebase -q other; git log --oneline; git branch -d other 2>&1 | sed -n 1,1p
git revert --no-edit HEAD; cat sub/3; git clean -fdxq; git reset -q --hard HEAD~2; ls; git reflog | wc -l
git config user.name B; git config --get user.name
SH
  writes_script "git gc" "$p" <<'SH'
cd "$1"; git gc -q; git count-objects -v | grep -v size; git log --oneline; git fsck --full
find .git/objects -type f | wc -l; git repack -adq; git prune; git pack-refs --all; cat .git/packed-refs
git show HEAD:file1 | md5sum; git status --short; git branch -a; git reflog expire --expire=now --all
git gc -q --prune=now; git log --oneline -1
SH
  writes_script "git clone and worktree" "$p" <<'SH'
cd "$1"; git clone -q . clone; git -C clone log --oneline; ls clone; git worktree add -q tree other; ls tree
git worktree list; echo x >tree/x; git -C tree add x; git -C tree commit -qm x; git log --oneline other
git worktree remove --force tree; git worktree list; git -C clone pull -q; git -C clone fetch -q origin other
git -C clone log --oneline FETCH_HEAD; echo y >clone/y; git -C clone add y; git -C clone commit -qm y
git -C clone push -q origin HEAD:pushed; git log --oneline pushed; rm -rf clone; git branch -q -D pushed
git submodule status; ls
SH
}

# wheel NAME VERSION: writes a small wheel with modules, data and a script, without build tools.
wheel() {
  "$both_python" - "$work/$1-$2-py3-none-any.whl" "$1" "$2" <<'PY'
import sys, zipfile
path, name, version = sys.argv[1:]
info = f"{name}-{version}.dist-info/"
files = {f"{name}/__init__.py": f"version = '{version}'\ndef main(): print(version, __file__)\n", f"{name}/data.txt": "data\n", **{f"{name}/m{i}/__init__.py": f"x = {i}\n" for i in range(12)},
         info + "METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", info + "WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
         info + "entry_points.txt": f"[console_scripts]\n{name} = {name}:main\n"}
with zipfile.ZipFile(path, "w") as wheel:
    for member, text in files.items(): wheel.writestr(member, text)
    wheel.writestr(info + "RECORD", "".join(f"{member},,\n" for member in files) + info + "RECORD,,\n")
PY
}

test_pip() {
  # The environment has only pip. Its base interpreter is not staged. All operations on the environment are counted.
  p=$work/p
  "$both_python" -m venv --without-pip "$p" && cp -a "$("$both_python" -c 'import pip, os; print(os.path.dirname(pip.__file__))')" "$p/lib/python3.11/site-packages/" || fail "the environment"
  "$p/bin/python" -m compileall -q "$p/lib" >/dev/null; wheel one 1; wheel one 2; wheel two 1
  # Compiled files record the times of their sources, so they are compiled after `settle` has set the times.
  settle; "$p/bin/python" -m compileall -qf "$p/lib" >/dev/null; settle
  tree_options=(--volatile '\.pyc$|(INSTALLER|RECORD|REQUESTED|direct_url.json)$')
  writes_script "pip install and uninstall" "$p" "$work" <<'SH'
pip() { "$1/bin/python" -m pip --disable-pip-version-check --no-cache-dir -q "${@:2}"; }
install() { pip "$1" install --no-index --no-deps "${@:2}"; }; install "$1" "$2/one-1-py3-none-any.whl"
"$1/bin/one"; "$1/bin/python" -c "import one.m3; print(one.version, one.m3.x)"; pip "$1" list
install "$1" "$2"/two-1-py3-none-any.whl; install "$1" --upgrade "$2/one-2-py3-none-any.whl"; "$1/bin/one"
pip "$1" uninstall -y one; "$1/bin/python" -c "import one" 2>&1 | tail -n 1
"$1/bin/python" -c "import two.m1; print(two.version)"
install "$1" --target "$1/target" "$2/one-1-py3-none-any.whl"
PYTHONPATH=$1/target "$1/bin/python" -c "import one.m1; print(one.__file__)"; ls "$1/bin" "$1/target" | sort
SH
}

test_python_tools() {
  p=$work/p; mkdir -p "$p"/{package/sub,empty}; echo 'x = 1' >"$p/package/__init__.py"
  echo 'y = 2' >"$p/package/sub/__init__.py"
  echo 'from package.sub import y; print("app", y, __file__)' >"$p/package/__main__.py"
  settle; tree_options=(--volatile '\.(pyz|zip|tar)$')     # the order of their members is that of the directory
  writes_script "compileall" "$both_python" "$p" <<'SH'
cd "$2"; "$1" -m compileall -q package; find package | sort
"$1" -c "import package.sub; print(package.__cached__, package.sub.y)"
"$1" -c "import os; os.utime(\"package/sub/__init__.py\", (1.6e9, 1.6e9))"; "$1" -m compileall package | sort
echo "z = 3" >>package/sub/__init__.py; touch -d 2020-07-07 package/sub/__init__.py
"$1" -c "import package.sub; print(package.sub.z)"; "$1" -m compileall -b -q package; rm package/__init__.py
"$1" -c "import package; print(package.__file__)"
SH
  writes_script "zipapp" "$both_python" "$p" <<'SH'
cd "$2"; "$1" -Bm zipapp package -o app.pyz -p "/usr/bin/env python3"; "$1" app.pyz
"$1" -Bm zipfile -c z.zip package empty; "$1" -Bm zipfile -l z.zip | sort; "$1" -Bm zipfile -e z.zip out.d
find out.d | sort; "$1" -Bm tarfile -c t.tar package; "$1" -Bm tarfile -l t.tar | sort; ls -l app.pyz | cut -c 1-10
SH
}

test_venv_from_the_staged_interpreter() {
  # The prefix has the interpreter itself, as a copy of the base without tests and caches.
  p=$work/p; local base; base=$("$both_python" -c 'import sys; print(sys.base_prefix)'); mkdir -p "$p"
  tar -C "$base" -c --exclude=test --exclude=__pycache__ --exclude='*.a' --exclude=site-packages --exclude=idlelib --exclude=tkinter --exclude=share . | tar -x -C "$p" || fail "the interpreter"
  settle; tree_options=(--volatile '\.pyc$')
  writes_script "venv" "$p" <<'SH'
"$1/bin/python3" -m venv --without-pip "$1/env"
"$1/env/bin/python" -c "import sys; print(sys.prefix, sys.base_prefix, sys.executable, sys.path)"
cat "$1/env/pyvenv.cfg"; . "$1/env/bin/activate"; type python
python -c "import subprocess, sys; print(subprocess.check_output([sys.executable, \"-c\", \"import sys; print(sys.prefix)\"]))"
deactivate; "$1/bin/python3" -m venv --without-pip --copies "$1/copied"
"$1/copied/bin/python" -c "import sys, json; print(sys.prefix, json.__file__)"; rm -r "$1/env"; ls "$1" | sort
SH
}

test_python_data() {
  p=$work/p; mkdir -p "$p"/{db,tree/a/b,tmp}; seq 1 3000 >"$p/tree/numbers"; echo deep >"$p/tree/a/b/deep"
  ln -s numbers "$p/tree/link"
  cat >"$p/spawned.py" <<'PY'
import os
where = __file__
def work(i):
    with open(os.path.join(os.path.dirname(where), "tmp", f"w{i}"), "w") as f: f.write(str(i))
    return i, sorted(os.listdir(os.path.join(os.path.dirname(where), "tree")))
PY
  "$both_python" - "$p" <<'PY' || fail "the tree"
import dbm.dumb, sqlite3, sys
c = sqlite3.connect(sys.argv[1] + "/db/sqlite"); c.execute("pragma synchronous = off")
c.execute("create table t (a, b)"); c.executemany("insert into t values (?, ?)", ((i, str(i)) for i in range(500)))
c.commit(); c.close()
with dbm.dumb.open(sys.argv[1] + "/db/dumb", "c") as d: d["key"] = "value"
PY
  settle; tree_options=(--volatile '\.pyc$')
  cat >"$work/sqlite.py" <<'PY'
import contextlib, sqlite3, subprocess, sys
def once(*statement):
    with contextlib.closing(sqlite3.connect(path)) as c: return c.execute(*statement).fetchone()
path = sys.argv[1] + "/db/sqlite"; reader = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
print(reader.execute("select sum(a) from t").fetchone())
writer = sqlite3.connect(path, isolation_level=None); writer.execute("pragma synchronous = off")
writer.execute("begin immediate"); writer.execute("insert into t values (1000, 'x')")
other = "import sqlite3, sys\nc = sqlite3.connect(sys.argv[1], timeout=0)\ntry: c.execute('insert into t values (1, 2)'); c.commit(); print('written')\nexcept sqlite3.OperationalError as e: print(e)\nprint(c.execute('select count(*) from t').fetchone())"
try_it = lambda: print(subprocess.run([sys.executable, "-c", other, path], capture_output=True, text=True))
try_it(); print(reader.execute("select count(*) from t").fetchone()); writer.execute("commit"); try_it()
print(reader.execute("select count(*) from t").fetchone())
writer.execute("pragma journal_mode = wal"); writer.execute("delete from t where a < 400")
print(once("select count(*) from t")); reader.close(); try_it(); writer.execute("vacuum")
writer.execute("pragma wal_checkpoint(truncate)"); writer.execute("pragma journal_mode = delete"); writer.close()
print(once("pragma integrity_check"))
PY
  writes "sqlite" "$both_python" -B "$work/sqlite.py" "$p"
  cat >"$work/data.py" <<'PY'
import concurrent.futures, dbm, fcntl, fileinput, glob, json, logging, logging.handlers, mmap, multiprocessing, os, pathlib, pickle, shelve, shutil, sys, tempfile
p = sys.argv[1]; P = pathlib.Path(p)
names = lambda d: sorted(n for n in os.listdir(p + "/" + d) if not n.startswith("pymp-"))
def main():
    with dbm.open(p + "/db/dumb", "c") as d: d["more"] = "x"; print(sorted(d.keys()))
    with shelve.open(p + "/db/shelf") as s: s["a"] = {"b": 1}
    with shelve.open(p + "/db/shelf") as s: print(dict(s)); s["a"] = 2
    with open(p + "/tree/numbers", "r+b") as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_WRITE) as m: m[0:4] = b"XYZ\n"; m.flush()
    print(open(p + "/tree/numbers").read(10), os.path.getsize(p + "/tree/link"))
    with open(p + "/tree/numbers", "rb") as f, open(p + "/tree/numbers", "ab") as g: g.write(b"end"); g.flush(); f.seek(-3, 2); print(f.read())
    shutil.copytree(p + "/tree", p + "/copy", symlinks=True)
    print(names("copy"), (P / "copy/a/b/deep").read_text()); shutil.rmtree(p + "/tree/a")
    print(names("tree"), os.path.exists(p + "/tree/a/b/deep")); shutil.move(p + "/copy/a", p + "/tree/a")
    print((P / "tree/a/b/deep").read_text(), [os.path.relpath(d, p) for d, _, _ in os.walk(p + "/tree")])
    shutil.rmtree(p + "/copy"); shutil.make_archive(p + "/archive", "tar", p + "/tree")
    shutil.unpack_archive(p + "/archive.tar", p + "/unpacked"); print(names("unpacked"))
    os.unlink(p + "/archive.tar")
    with tempfile.TemporaryDirectory(dir=p + "/tmp") as d: (pathlib.Path(d) / "x").write_text("x"); print(os.listdir(d), len(names("tmp")))
    with tempfile.NamedTemporaryFile(dir=p + "/tmp", mode="w+") as f: f.write("named"); f.flush(); print(open(f.name).read()); os.link(f.name, p + "/tmp/kept")
    with tempfile.TemporaryFile(dir=p + "/tmp") as f: f.write(b"x"); f.seek(0); print(f.read())
    with tempfile.SpooledTemporaryFile(max_size=1, dir=p + "/tmp") as f: f.write(b"xyz"); f.seek(0); print(f.read())
    tempfile.tempdir = p + "/tmp"; fd, name = tempfile.mkstemp(); os.write(fd, b"1"); os.close(fd)
    print(os.path.getsize(name)); os.replace(name, p + "/tree/replaced"); print(names("tree"))
    os.environ["TMPDIR"] = p + "/tmp"
    with open(p + "/tmp/lock", "w") as f: fcntl.flock(f, fcntl.LOCK_EX); fcntl.lockf(f, fcntl.LOCK_EX); print("locked")
    with open(p + "/spawned.py") as f: fcntl.flock(f, fcntl.LOCK_SH); print(f.readline())
    for line in fileinput.input(p + "/tree/replaced", inplace=True): print(line + "!")
    print(open(p + "/tree/replaced").read()); json.dump([1], open(p + "/j", "w"))
    pickle.dump({}, open(p + "/k", "wb")); print(json.load(open(p + "/j")), glob.glob(p + "/[jk]") != [])
    log = logging.getLogger("x")
    handler = logging.handlers.RotatingFileHandler(p + "/log", maxBytes=20, backupCount=2); log.addHandler(handler)
    [log.error("line %d", i) for i in range(9)]; handler.close()
    print(sorted(n for n in os.listdir(p) if n.startswith("log")))
    P.joinpath("t").touch(); os.utime(P / "t", (1.6e9, 1.6e9)); print(P.joinpath("t").stat().st_mtime)
    P.joinpath("t").rename(P / "u"); P.joinpath("d/e/f").mkdir(parents=True); os.removedirs(p + "/d/e/f")
    print(sorted(os.listdir(p))); fd = os.open(p + "/tree", os.O_RDONLY); os.mkdir("by-fd", dir_fd=fd)
    os.rename("by-fd", "moved", src_dir_fd=fd, dst_dir_fd=fd)
    print(sorted(os.listdir(fd)), sorted(e.name for e in os.scandir(p + "/tree")))
    os.chmod(p + "/tree/numbers", 0o640); os.chown(p + "/tree/numbers", 3, 4)
    print(oct(os.stat(p + "/tree/link").st_mode), os.stat("numbers", dir_fd=fd).st_uid)
    sys.path.insert(0, p); import spawned
    for method in ("spawn", "forkserver", "fork"):
        with multiprocessing.get_context(method).Pool(2) as pool: print(method, pool.map(spawned.work, range(3)))
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool: print(list(pool.map(spawned.work, range(2))))
    print(names("tmp"))
if __name__ == "__main__": main()
PY
  writes "python" "$both_python" -B "$work/data.py" "$p"
}

run_tests
