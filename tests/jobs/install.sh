#!/bin/bash
# Tests an installation: the files of `pyshm install`, jobs from an installation under another prefix, the modulefiles
# with Lmod and with Tcl Environment Modules, and 32-bit programs.
. "$(dirname "$0")/harness.sh"
systems=$top/target/test-modules
bash "$top/tests/env/module-systems.sh" "$systems" || exit 1
prefix=$(mktemp -d /var/tmp/pyshm-installed.XXXXXX); chmod 755 "$prefix"
trap 'rm -rf "$prefix"' EXIT
"$pyshm" install --prefix "$prefix" -q || exit 1
library=$prefix/lib/pyshm/\$LIB/libpyshm.so

# with SYSTEM SCRIPT: runs SCRIPT in a new bash with this module system, in which only the installation's modules exist.
with() {
  env -i HOME="$work" PATH=/usr/bin:/bin bash --norc -c '. "$1"; module use "$2"; eval "$3"' bash "$systems/$1.bash" "$prefix/share/modulefiles" "$2" 2>&1
}
both_systems() { local system; for system in lmod tcl; do "$@" "$system" || exit 1; done; }

test_everything_is_laid_out_below_destdir_and_names_only_the_prefix() {
  local said
  said=$(umask 077; DESTDIR=$work/package "$pyshm" install --prefix "$prefix") || fail "install"
  contains "the next commands" "$said" "module use $prefix/share/modulefiles; module load pyshm"
  equal "files" "$(cd "$prefix" && find . | sort)" "$(cd "$work/package$prefix" && find . | sort)"
  ! grep -rl "$work" "$work/package" || fail "a file names DESTDIR"
  check "the option does the same" "$pyshm" install --prefix "$prefix" --destdir "$work/option" -q
  check "both views are equal" diff -r "$work/package" "$work/option"
  equal "files that others cannot read" "" "$(find "$work/package$prefix" ! -type l ! -perm -o=r)"
  local page; for page in pyshm pyshm-run pyshm-bundle-env pyshm-install pyshm-module; do
    contains "page $page" "$(man -l "$prefix/share/man/man1/$page.1" 2>"$work/said")" "NAME"; equal "errors of man" "" "$(cat "$work/said")"
  done
}
test_an_installation_in_use_is_replaced_and_a_wrong_prefix_is_refused() {
  cp -a "$prefix" "$work/p"
  # The installation must replace a mapped file and must not write into this file. A hard link to the old file shows that
  # the old file's bytes stay.
  ln "$work/p/lib/libpyshm.so" "$work/old"; local before; before=$(stat -c '%i %Y' "$work/old")
  check "over itself" "$work/p/bin/pyshm" install --prefix "$work/p" -q
  equal "the old library" "$before" "$(stat -c '%i %Y' "$work/old")"
  [ "$(stat -c %i "$work/p/lib/libpyshm.so")" != "${before% *}" ] || fail "the library was written into"
  equal "left" "" "$(find "$work/p" -name '.*' -mindepth 1)"
  local bad; for bad in relative "$work/a b" "$work/a:b" "$work/\$LIB"; do
    "$pyshm" install --prefix "$bad" 2>"$work/said"; equal "exit status for '$bad'" 2 $?; contains "the output" "$(cat "$work/said")" "'$bad'"
  done
  touch "$work/file"; "$pyshm" install --prefix "$work/file" 2>"$work/said"; equal "exit status for a file" 73 $?
  contains "the output" "$(cat "$work/said")" "failed to write $work/file"
  cp -a "$prefix" "$work/part"; rm "$work/part/lib/libpyshm.so"
  "$work/part/bin/pyshm" install --prefix "$work/other" 2>"$work/said"; equal "exit status without the library" 69 $?
  contains "the output" "$(cat "$work/said")" "failed to find libpyshm.so: it is in none of "
  [ ! -e "$work/other" ] || fail "install wrote $work/other although the library is missing"
}
test_jobs_run_from_a_prefix_that_was_installed_with_destdir() {
  "$pyshm" install --prefix "$work/prefix" --destdir "$work/package" -q || fail "install"
  mv "$work/package$work/prefix" "$work/prefix"
  mkdir -p "$work/env/pkg"; echo 'name = "staged"' >"$work/env/pkg/__init__.py"
  local bin=$work/prefix/bin run
  check "bundle" "$bin/pyshm" bundle env "$work/env" -o "$work/b.tar.zst" -q
  export PYTHONPATH=$work/env
  run() { setpriv --reuid 12345 --regid 12345 --clear-groups "$bin/pyshm-run" --no-fallback -b "$work/b.tar.zst" "$@"; }
  equal "the job" staged "$(run /usr/bin/python3 -c 'import pkg; print(pkg.name)')"
  bash "$tools/trace.sh" "$work/trace" "$bin/pyshm-run" --no-fallback -b "$work/b.tar.zst" /usr/bin/python3 -B -c 'import pkg' || fail "the run"
  equal "operations on the prefix" 0 "$(python3 "$tools/count_ops.py" "$work/trace" --from-exec '^"[^"]*/bin/pyshm-exec"' --under "$work/env" --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["total"])')"
  # The stage's library takes the place of the library that a module preloads, and is loaded once.
  LD_PRELOAD=$work/prefix/lib/pyshm/\$LIB/libpyshm.so run /bin/bash -c 'grep -o "[^ ]*/libpyshm.so" /proc/$$/maps | sort -u' >"$work/maps" || fail "preloaded"
  equal "libraries" 1 "$(wc -l <"$work/maps")"; contains "library" "$(cat "$work/maps")" /dev/shm/pyshm-12345/
}
test_ranks_whose_launcher_has_the_modules_library_find_the_installation() {
  mkdir -p "$work/env/bin"; cp /bin/cat "$work/env/bin/cat"; echo staged >"$work/env/file"
  check "bundle" "$prefix/bin/pyshm" bundle env "$work/env" -o "$work/b.tar.zst" -q
  # Change the file without pyshm, so that the stage and the prefix differ.
  echo shared >"$work/env/file"
  local said
  said=$(cd /; PYSHM_CACHE=$work/cache PYSHM_BUNDLES=$work/b.tar.zst LD_PRELOAD=$library timeout 600 "$venv/bin/mpiexec" -n 2 "$work/env/bin/cat" "$work/env/file") || fail "mpiexec"
  equal "the files that they read" staged$'\n'staged "$said"
  said=$(LD_PRELOAD=$library "$work/env/bin/cat" "$work/env/file")
  equal "without bundles" shared "$said"
}
test_programs_of_32_bits_get_an_empty_library() {
  echo 'int main(void) { return 7; }' >"$work/a.c"
  local bits; for bits in 32 64; do gcc -m$bits "$work/a.c" -o "$work/a$bits" || fail "gcc -m$bits"; done
  LD_PRELOAD=$prefix/lib/libpyshm.so "$work/a32" 2>"$work/said"; equal "exit status" 7 $?
  contains "without \$LIB" "$(cat "$work/said")" "wrong ELF class"
  for bits in 32 64; do
    LD_DEBUG=files LD_DEBUG_OUTPUT=$work/debug$bits LD_PRELOAD=$library "$work/a$bits" 2>"$work/said"; equal "exit status" 7 $?
    equal "errors of the loader" "" "$(cat "$work/said")"
    contains "$bits bits" "$(cat "$work/debug$bits".*)" "calling init: $prefix/lib/pyshm/"
  done
  # The empty library must not make the stack of a program executable.
  cat >"$work/stack.c" <<'C'
#include <stdio.h>
#include <string.h>
int main(void) { char line[512]; FILE *maps = fopen("/proc/self/maps", "r"); while (fgets(line, sizeof line, maps)) if (strstr(line, "[stack]")) printf("%.4s\n", strchr(line, ' ') + 1); return 0; }
C
  gcc -m32 "$work/stack.c" -o "$work/stack" && equal "the stack" "rw-p" "$(LD_PRELOAD=$library "$work/stack")"
  # A 64-bit program starts a 32-bit one, which starts a 64-bit one.
  equal "a chain" "$library" "$(LD_PRELOAD=$library /bin/sh -c "$work/a32; printenv LD_PRELOAD" 2>&1)"
}
modules_load_and_unload() {
  local system=$1 said
  said=$(with "$system" 'module load pyshm && echo "$LD_PRELOAD" && type -P pyshm-run && module unload pyshm && echo "${LD_PRELOAD-unset} $PATH"')
  equal "$system" "$library"$'\n'"$prefix/bin/pyshm-run"$'\n'"unset /usr/bin:/bin" "$said"
  for other in /x/a.so "/x/a.so /x/b.so" /x/a.so:/x/b.so; do
    said=$(with "$system" "export LD_PRELOAD='$other'; module load pyshm 2>/dev/null; echo \"\$LD_PRELOAD\"; module unload pyshm 2>/dev/null; echo \"\$LD_PRELOAD\"" | grep -v '^ERROR: ld.so')
    equal "$system beside '$other'" "$library:$other"$'\n'"$other" "$said"
  done
  # The directory must be the last in PATH, because it lies on the shared file system and ranks would search it.
  equal "$system" "/usr/bin:/bin:$prefix/bin" "$(with "$system" 'module load pyshm; echo "$PATH"')"
  # MANPATH stays unset, so that man still derives the directories of manuals from PATH.
  equal "$system" "unset" "$(with "$system" 'module load pyshm; echo "${MANPATH-unset}"')"
  equal "$system" "$prefix/share/man:/m" "$(with "$system" 'export MANPATH=/m; module load pyshm; echo "$MANPATH"')"
  contains "$system" "$(with "$system" 'module help pyshm')" "PYSHM_DISABLE=1"
  contains "$system" "$(with "$system" 'module whatis pyshm')" "Starts Python jobs"
  contains "$system" "$(with "$system" 'module avail')" "pyshm/"
}
test_modules_load_and_unload() { both_systems modules_load_and_unload; }
an_environments_module() {
  local system=$1 said suffix= name other
  [ "$system" != lmod ] || suffix=.lua
  local odd="$work/a b\"c'\$HOME[exit 3]{\\"
  mkdir -p "$work/modules/science" "$work/modules/more" "$work/modules/pyshm" "$odd"
  touch "$work/base.tar.zst" "$odd/x.tar.zst" "$work/pyshm.toml"
  module() { "$prefix/bin/pyshm" module "$system" "$@"; }
  module --name science --version 1 --bundle "$work/base.tar.zst" >"$work/modules/science/1$suffix" || fail "module science"
  module --name science --version 2 --bundle "$work/base.tar.zst" --config "$work/pyshm.toml" >"$work/modules/science/2$suffix" || fail "module science 2"
  module --name more --description 'An "odd" [one] $x' -b "$odd/x.tar.zst" >"$work/modules/more/1$suffix" || fail "module more"
  module --config "$odd/x.tar.zst" >"$work/modules/pyshm/9$suffix" || fail "module pyshm"
  said=$(with "$system" "module use $work/modules; module load pyshm/9 science/1 more; "'echo "$LD_PRELOAD"; echo "$PYSHM_BUNDLES"; echo "$PYSHM_CONFIG"; module unload more science; echo "${PYSHM_BUNDLES-unset}"; echo "$LD_PRELOAD"; module unload pyshm; echo "${PYSHM_CONFIG-unset}"')
  equal "$system" "$library"$'\n'"$work/base.tar.zst:$odd/x.tar.zst"$'\n'"$odd/x.tar.zst"$'\n'unset$'\n'"$library"$'\n'unset "$said"
  contains "$system" "$(with "$system" "module use $work/modules; module whatis more")" 'An "odd" [one] $x'
  # Only one version may be loaded at the same time. The two module systems achieve this in different ways.
  said=$(with "$system" "module use $work/modules; module load science/1; module load science/2; "'echo "bundles $PYSHM_BUNDLES"')
  contains "$system" "$said" "bundles $work/base.tar.zst"
  equal "$system" 1 "$(with "$system" "module use $work/modules; module load science/1; module load science/2 2>/dev/null; "'echo "$LOADEDMODULES"' | grep -o science | wc -l)"
}
test_an_environments_module_is_loaded_beside_the_general_one() { both_systems an_environments_module; }
test_completions_are_scripts_of_their_shells() {
  check "bash" bash -n "$prefix/share/bash-completion/completions/pyshm"
  equal "bash" "stage" "$(bash -c '. "$1"; COMP_WORDS=(pyshm stag) COMP_CWORD=1; _pyshm pyshm stag pyshm; echo "${COMPREPLY[@]}"' bash "$prefix/share/bash-completion/completions/pyshm")"
  check "zsh" zsh -n "$prefix/share/zsh/site-functions/_pyshm-run"
  check "fish" fish -n "$prefix/share/fish/vendor_completions.d/pyshm.fish"
  equal "by hand" "$(cat "$prefix/share/zsh/site-functions/_pyshm-run")" "$("$pyshm" completions zsh pyshm-run)"
}

run_tests
