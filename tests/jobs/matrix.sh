#!/bin/bash
# Tests every combination of a launcher, a way to use pyshm, and a program (one in C, one with mpi4py). The results are
# right, and the table in docs/launchers.md has the number of operations on bundled files. MATRIX=print prints the table
# with the numbers of this run.
. "$(dirname "$0")/harness.sh"
. "$top/tests/cluster/slurmd_trace.sh"
LAUNCHERS=(hydra srun-pmi2 ompi srun-pmix ompi5)
FORMS=(before inside preloaded module)
cluster_traced 2
venv_ompi5=$env_dir/venv-ompi5
# Use real paths, because a search path that leads through a symbolic link is not below a prefix.
for env in venv venv_ompi venv_ompi5; do declare "$env=$(readlink -f "${!env}")"; done
[ -x "$venv_ompi5/bin/mpirun" ] || { echo "matrix.sh: there is no $venv_ompi5/bin/mpirun; make it with tests/env/make-env.sh DIR --open-mpi-5" >&2; exit 1; }
bash "$top/tests/env/module-systems.sh" "$top/target/test-modules" || exit 1
"$pyshm" install --prefix "$scratch/installed" -q || exit 1
cells=$scratch/cells; mkdir "$cells"
export PYSHM_CACHE=$scratch/cache

env_of() { case $1 in hydra | srun-pmi2) echo "$venv" ;; ompi | srun-pmix) echo "$venv_ompi" ;; ompi5) echo "$venv_ompi5" ;; esac; }
compiler_of() { case $1 in hydra | srun-pmi2) echo "$venv/bin/mpicc" ;; ompi | srun-pmix) echo mpicc.openmpi ;; ompi5) echo "$venv_ompi5/bin/mpicc" ;; esac; }
# For each MPI, make the prefix of a C program with a library and a data file, the bundle of the prefix, and a module
# that names the bundles.
for launcher in hydra ompi ompi5; do
  env=$(env_of $launcher) app=$scratch/app-$(basename "$(env_of $launcher)") compiler=$(compiler_of $launcher)
  mkdir -p "$app"/{bin,lib,share}; echo 4711 >"$app/share/data"
  "$compiler" -DPART -shared -fPIC -o "$app/lib/libpart.so" "$top/tests/probes/rank.c" &&
    "$compiler" -o "$app/bin/rank" "$top/tests/probes/rank.c" -L"$app/lib" -lpart -Wl,-rpath,"$app/lib" &&
    "$pyshm" bundle env "$app" -o "$app.tar.zst" -q && bundle=$(bundle_of "$(basename "$env")" "$env") || exit 1
  mkdir -p "$scratch/modules/$(basename "$env")"
  "$scratch/installed/bin/pyshm" module lmod --name "$(basename "$env")" --bundle "$bundle" --bundle "$app.tar.zst" >"$scratch/modules/$(basename "$env")/1.lua" || exit 1
done
cat >"$scratch/rank.py" <<'PY'
import os, sys
from mpi4py import MPI
import mpi4py
world = MPI.COMM_WORLD
total = sum(world.allgather(world.rank + 1))
with open(f"{sys.argv[1]}/{world.rank}", "w") as file:
    print(world.rank, world.size, total, MPI.Get_library_version().split(",")[0], mpi4py.__file__, sys.prefix, sys.executable, file=file)
PY

# job FORM PROGRAM OUT [COMMAND…]: runs PROGRAM with the launcher of launch_words, with the words of COMMAND before it.
job() {
  local form=$1 program=$2 out=$3 env app bundles words; shift 3
  env=$(env_of "$launcher") app=$scratch/app-$(basename "$(env_of "$launcher")")
  bundles="$top/target/test-bundles/$(basename "$env").tar.zst $app.tar.zst"
  words="$pyshm_run --no-summary $(printf -- '-b %s ' $bundles)"
  mkdir -p "$out"
  {
    echo '#!/bin/bash'; echo "export ${LAUNCH_ENV[*]:-MATRIX=}"
    case $form in
      preloaded) echo "export LD_PRELOAD=$top/target/pyshm/lib/libpyshm.so PYSHM_BUNDLES=${bundles// /:}" ;;
      # Remove Lmod's tables from the environment, for the reason in preloaded.sh.
      module) echo ". $top/target/test-modules/lmod.bash; module use $scratch/installed/share/modulefiles $scratch/modules; module load pyshm $(basename "$env") || exit; unset \${!_ModuleTable@}" ;;
    esac
    [ "$form" = before ] && echo -n "$words"
    echo -n "${LAUNCH[*]} "
    [ "$form" = inside ] && echo -n "$words"
    case $program in c) echo "$app/bin/rank $out $app/share/data" ;; python) echo "$PYTHON -B $scratch/rank.py $out" ;; esac
  } >"$work/job.sh"
  "${LOGIN[@]}" timeout 600 "${ALLOC[@]}" "$@" bash "$work/job.sh" </dev/null >"$work/said" 2>&1
}

# cells_of LAUNCHER: tests all combinations of one launcher.
cells_of() {
  local form program from number warning i left bundled
  launcher=$1; launch_words "$launcher" root 4 2
  for program in c python; do
    mkdir -p "$work/t"
    job bare $program "$work/$program-bare" || { cat "$work/said"; fail "the bare job"; }
    equal "bare ranks" 4 "$(ls "$work/$program-bare" | wc -l)"
    for form in "${FORMS[@]}"; do
      rm -rf "$work/t" "$work/out"; mkdir "$work/t"
      from='^"[^"]*/bin/pyshm-exec"'; [ $form != inside ] || from='^"[^"]*/bin/pyshm-run"'
      if [ ${#ALLOC[@]} -gt 0 ]; then mark; job $form $program "$work/$program-bare.new"; else job $form $program "$work/$program-bare.new" "$tools/trace.sh" "$work/t/n0"; fi ||
        { cat "$work/said"; fail "$launcher, $form, $program: the job failed"; }
      [ ${#ALLOC[@]} = 0 ] || collect
      diff -r "$work/$program-bare" "$work/$program-bare.new" || { cat "$work/said"; fail "$launcher, $form, $program: other results than bare"; }
      rm -r "$work/$program-bare.new"
      warning=$(grep -m1 'pyshm-run: warning' "$work/said")
      if [ -n "$warning" ]; then number=refused; note "$launcher, $form, $program: $warning"
      else
        [ "$(ops "$from" /dev/shm)" -gt 40 ] || fail "$launcher, $form, $program: the ranks were not seen in a stage"
        bundled=("$(env_of "$launcher")" "$env_dir/base" "$scratch/app-$(basename "$(env_of "$launcher")")" "$scratch/app-$(basename "$(env_of "$launcher")").tar.zst")
        number=$(ops "$from" "${bundled[@]}")
        [ "$number" = 0 ] || number=$(ANY_PROCESSOR=1 ops "$from" "${bundled[@]}")
      fi
      echo "$number" >"$cells/$launcher-$program-$form"
      for i in n1 n2; do left=$(VCLUSTER_WD=/ "$VCLUSTER" exec $i find /dev/shm -mindepth 1 -path '*pyshm*' | head -3); [ -z "$left" ] || fail "$launcher, $form, $program: $i has $left"; done
    done
  done
}
test_hydra_has_the_results_and_operations_of_the_table() { cells_of hydra; }
test_mpirun_of_open_mpi_4_has_the_results_and_operations_of_the_table() { cells_of ompi; }
test_mpirun_of_open_mpi_5_has_the_results_and_operations_of_the_table() { cells_of ompi5; }
test_srun_with_pmi2_has_the_results_and_operations_of_the_table() { cells_of srun-pmi2; }
test_srun_with_pmix_has_the_results_and_operations_of_the_table() { cells_of srun-pmix; }

# Each node loads the helper and its MPI once, for any number of ranks. Most of the operations are names that the loader
# tries in the RPATH that MPI's compiler sets.
test_srun_loads_the_helper_and_its_mpi_once_on_each_node() {
  local i helper=$top/target/pyshm/libexec/pyshm-bcast-mpich n
  launcher=srun-pmi2; launch_words srun-pmi2 root 8 2; mkdir "$work/t"
  mark; job before c "$work/out" || { cat "$work/said"; fail "the job failed"; }; collect
  for i in n1 n2; do
    equal "times $i started it" 1 "$(grep -c "execve(\"$helper\"" "$work/t/$i")"
    python3 "$tools/count_ops.py" "$work/t/$i" --cwd / --from-exec "^\"$helper\"" --ignore-exec '/bin/pyshm-exec"' --under "$venv" --under "$top/target/pyshm" --any-processor --json >"$work/$i.json" || fail "counting"
    n=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["total"])' "$work/$i.json")
    note "operations on $i to load the helper: $n"
    [ "$n" -gt 2 ] && [ "$n" -le 90 ] || fail "$n operations on $i"
    equal "times $i loaded libmpi" 1 "$(python3 "$tools/stracelog.py" "$work/t/$i" | grep -cE "openat\(.*\"$(readlink -f "$venv")/lib/libmpi.so.12\".* = [0-9]")"
  done
}

name_of() { case $1 in hydra) echo "\`mpiexec\` of MPICH (Hydra)" ;; ompi) echo "\`mpirun\` of Open MPI 4.1" ;; ompi5) echo "\`mpirun\` of Open MPI 5.0" ;; srun-*) echo "\`srun --mpi=${1#srun-}\`" ;; esac; }
# The number of libraries of pyshm-run depends on the C library, so the table has an upper bound for small numbers.
shown() { if [ "$1" -gt 0 ] && [ "$1" -le 40 ]; then echo "at most 40"; else echo "$1"; fi; }
table() {
  local launcher program form
  echo '| launcher | program | `pyshm-run LAUNCHER …` | `LAUNCHER … pyshm-run` | preloaded | by the module |'
  echo '| --- | --- | --- | --- | --- | --- |'
  for launcher in "${LAUNCHERS[@]}"; do
    for program in c python; do
      echo -n "| $(name_of "$launcher") | $([ $program = c ] && echo C || echo mpi4py) |"
      for form in "${FORMS[@]}"; do echo -n " $(shown "$(cat "$cells/$launcher-$program-$form")") |"; done; echo
    done
  done
}
test_the_table_in_the_documentation_is_what_was_found() {
  [ "${MATRIX:-}" != print ] || table >&3
  diff <(sed -n '/^| launcher/,/^$/p' "$top/docs/launchers.md" | grep '^|') <(table) || fail "docs/launchers.md shows another table"
}

run_tests
