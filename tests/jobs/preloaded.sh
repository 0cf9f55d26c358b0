#!/bin/bash
# Tests the preloaded launchers of MPICH (Hydra), of Open MPI and of a real Slurm, whose slurmds run under strace. No rank
# makes an operation on the environment, a bundle is opened once in the whole cluster, and the results are those of a bare
# job. Some tests run jobs of the same size with `pyshm-run` on the command line.
. "$(dirname "$0")/harness.sh"
. "$top/tests/cluster/slurmd_trace.sh"
cluster_traced 4
shim=$top/target/pyshm/lib/libpyshm.so
bundle=$(bundle_of venv "$venv") || exit 1
bundle_ompi=$(bundle_of venv-ompi "$venv_ompi") || exit 1
export PYSHM_CACHE=$scratch/cache
# The form `module` needs an installation, and a module for each bundle.
bash "$top/tests/env/module-systems.sh" "$top/target/test-modules" && "$pyshm" install --prefix "$scratch/installed" -q || exit 1
for mpi in pmi2 pmix; do
  named=$bundle; [ $mpi = pmi2 ] || named=$bundle_ompi
  mkdir -p "$scratch/modules/$mpi"; "$scratch/installed/bin/pyshm" module lmod --name $mpi --bundle "$named" >"$scratch/modules/$mpi/1.lua" || exit 1
done
login() { timeout 600 "$VCLUSTER" exec n0 "$@"; }
# The first command of a user opens each configured bundle and caches the names of the bundle's prefixes. Run such a
# command before counting.
login salloc -Q -N1 env LD_PRELOAD="$shim" PYSHM_BUNDLES="$bundle:$bundle_ompi" srun true || exit 1

# Each rank writes its results, arguments and environment to OUT/rank-N.json.
cat >"$scratch/tell.py" <<'PY'
import json, os, sys
import mpi4py
from mpi4py import MPI
world = MPI.COMM_WORLD
numbers = world.allgather((world.rank + 1) / 7)
environ = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LD_LIBRARY_PATH", "SLURM_JOB_NUM_NODES", "KEPT")}
with open(f"{sys.argv[1]}/rank-{world.rank}.json", "w") as file:
    json.dump({"numbers": numbers, "size": world.size, "argv": sys.argv[2:], "orig": [w for w in sys.orig_argv if w != sys.argv[1]],
               "executable": sys.executable, "prefix": sys.prefix, "mpi4py": mpi4py.__file__, "environ": environ,
               "node": os.uname().nodename, "preload": os.environ.get("LD_PRELOAD", "")}, file)
PY

opened() { cat "$work"/t/* | grep -cE "open(at)?\(.*\"$1\""; }
helpers() { cat "$work"/t/* | grep -cE 'execve\("[^"]*/pyshm-bcast-[a-z]*".*"--id"'; }
from_stage='^"[^"]*/bin/pyshm-exec"'
nodes_are_clean() {
  local i left
  for i in 0 1 2 3 4; do
    left=$(VCLUSTER_WD=/ "$VCLUSTER" exec "n$i" find /dev/shm -mindepth 1 -path '*pyshm*' | head -3)
    [ -z "$left" ] || fail "n$i has $left"
  done
}
# ranks_made_nothing RANKS VENV BUNDLE: checks that no rank made an operation on the environment, and that the
# bundle was opened once.
ranks_made_nothing() {
  no_ops "operations of all ranks" "$from_stage" "$2" "$env_dir/base" "$top/target/pyshm" "$scratch/installed" "$3"
  [ "$(ops "$from_stage" /dev/shm)" -gt $((40 * $1)) ] || fail "the ranks were not seen"
  equal "times the bundle was opened in the whole cluster" 1 "$(opened "$3")"
}

# in_job sbatch|salloc FILE: runs FILE as a job of 16 tasks on four nodes. With salloc the launcher is not a descendant of a
# slurmd, so the launcher runs under its own strace.
in_job() {
  local size=(-N4 -n16 --ntasks-per-node=4)
  chmod +x "$2"
  if [ "$1" = salloc ]; then login "$tools/trace.sh" "$work/salloc" salloc -Q "${size[@]}" "$2"; return; fi
  login sbatch -Q "${size[@]}" -o "$work/said" --wrap "$2; echo \$? >'$work/code.new'; mv '$work/code.new' '$work/code'" || return 1
  local i; for i in $(seq 6000); do [ -e "$work/code" ] && break; sleep 0.1; done
  cat "$work/said"; return "$(cat "$work/code")"
}

# as_a_job FORM sbatch|salloc pmi2|pmix PROGRAM: runs a job script without pyshm and with it. In the forms `preloaded`
# and `module` a line before the script loads the library; in the forms `before` and `inside` pyshm-run stands before
# the launcher or before the ranks' program.
as_a_job() {
  local python=$venv/bin/python named=$bundle env=$venv setup= before= inside=
  if [ "$3" = pmix ]; then python=$venv_ompi/bin/python named=$bundle_ompi env=$venv_ompi; fi
  case $1 in
    preloaded) setup="export LD_PRELOAD=$shim PYSHM_BUNDLES=$named" ;;
    # MPICH's UCX sends 4 KiB of its heap by PMI, but Slurm reads only 1 KiB of a request. The length of a request depends
    # on the content of the heap and not on pyshm. Programs copy their environment into the heap, and Lmod's tables in the
    # environment have made a request too long. So remove the tables.
    module) setup=". $top/target/test-modules/lmod.bash; module use $scratch/installed/share/modulefiles $scratch/modules; module load pyshm $3 || exit; unset \${!_ModuleTable@}" ;;
    before) before="$pyshm_run --no-summary -b $named" ;;
    inside) inside="$pyshm_run --no-summary -b $named" ;;
  esac
  launch_words "srun-$3" root 16 4
  mkdir "$work/bare" "$work/out"
  cat >"$work/job.sh" <<SH
#!/bin/bash
export ${LAUNCH_ENV[*]:-KEPT=1} KEPT=yes
$setup
env -u LD_PRELOAD -u PYSHM_BUNDLES srun -N4 -n16 --ntasks-per-node=4 --mpi=$3 $python $4 $work/bare || exit
$before srun -N4 -n16 --ntasks-per-node=4 --mpi=$3 $inside $python $4 $work/out
SH
  mark
  in_job "$2" "$work/job.sh" >"$work/printed" 2>&1 || { cat "$work/printed"; fail "the job failed"; }
  collect
  [ ! -e "$work/salloc" ] || mv "$work/salloc" "$work/t/n0"
  check "the results are those of the bare run" python3 "$tools/compare.py" --size 16 "$work/bare" "$work/out"
  ! grep -q pyshm "$work/printed" || fail "something was printed: $(cat "$work/printed")"
  if [ "$1" = inside ]; then
    no_ops "operations of all ranks" '^"[^"]*/bin/pyshm-run"' "$env" "$env_dir/base" "$named"
    [ "$(ops '^"[^"]*/bin/pyshm-run"' /dev/shm)" -gt $((40 * 16)) ] || fail "the ranks were not seen"
    equal "times the bundle was opened: once a node" 4 "$(opened "$named")"
  else
    ranks_made_nothing 16 "$env" "$named"
    equal "helpers that were started" 4 "$(helpers)"
  fi
  nodes_are_clean
}
test_srun_pmi2_in_sbatch_runs_an_unchanged_script() { as_a_job preloaded sbatch pmi2 "$tools/app.py"; }
test_srun_pmix_in_salloc_runs_an_unchanged_script() { as_a_job preloaded salloc pmix "$tools/app.py"; }
test_srun_pmi2_in_salloc_makes_no_operation_on_the_environment() { as_a_job preloaded salloc pmi2 "$scratch/tell.py"; }
test_srun_pmix_in_sbatch_makes_no_operation_on_the_environment() { as_a_job preloaded sbatch pmix "$scratch/tell.py"; }
test_srun_pmi2_with_the_module_runs_an_unchanged_script() { as_a_job module sbatch pmi2 "$tools/app.py"; }
test_srun_pmix_with_the_module_makes_no_operation_on_the_environment() { as_a_job module salloc pmix "$scratch/tell.py"; }
test_pyshm_run_before_srun_pmi2_makes_no_operation_on_the_environment() { as_a_job before salloc pmi2 "$scratch/tell.py"; }
test_pyshm_run_before_srun_pmix_makes_no_operation_on_the_environment() { as_a_job before sbatch pmix "$scratch/tell.py"; }
test_srun_pmi2_of_pyshm_run_makes_no_operation_on_the_environment() { as_a_job inside sbatch pmi2 "$scratch/tell.py"; }
test_srun_pmix_of_pyshm_run_makes_no_operation_on_the_environment() { as_a_job inside salloc pmix "$scratch/tell.py"; }

by_ssh() { # FLAVOR VENV BUNDLE
  launch_words "$1" root 8 4
  mkdir "$work/bare" "$work/out" "$work/t"
  login env "${LAUNCH_ENV[@]}" "${LAUNCH[@]}" "$PYTHON" "$scratch/tell.py" "$work/bare" </dev/null || fail "the bare job"
  login env "${LAUNCH_ENV[@]}" LD_PRELOAD="$shim" PYSHM_BUNDLES="$3" "$tools/trace.sh" "$work/t/n0" "${LAUNCH[@]}" "$PYTHON" "$scratch/tell.py" "$work/out" </dev/null >"$work/printed" 2>&1 || { cat "$work/printed"; fail "the job failed"; }
  check "the results are those of the bare run" python3 "$tools/compare.py" --size 8 "$work/bare" "$work/out"
  ! grep -q pyshm "$work/printed" || fail "something was printed: $(cat "$work/printed")"
  ranks_made_nothing 8 "$2" "$3"
  nodes_are_clean
}
test_mpiexec_of_hydra_makes_no_operation_on_the_environment() { by_ssh hydra "$venv" "$bundle"; }
test_mpirun_of_open_mpi_makes_no_operation_on_the_environment() { by_ssh ompi "$venv_ompi" "$bundle_ompi"; }

test_hydra_within_slurm_stages_once() {
  mkdir "$work/bare" "$work/out"
  cat >"$work/job.sh" <<SH
#!/bin/bash
run() { timeout 600 $venv/bin/mpiexec -launcher slurm -rmk slurm -n 8 -ppn 2 $venv/bin/python $scratch/tell.py "\$1"; }
run $work/bare || exit
export LD_PRELOAD=$shim PYSHM_BUNDLES=$bundle
run $work/out
SH
  mark; in_job sbatch "$work/job.sh" >"$work/printed" 2>&1 || { cat "$work/printed"; fail "the job failed"; }; collect
  check "the results are those of the bare run" python3 "$tools/compare.py" --size 8 "$work/bare" "$work/out"
  ranks_made_nothing 8 "$venv" "$bundle"
  equal "helpers that were started, none by the srun that mpiexec calls" 4 "$(helpers)"
  nodes_are_clean
}

# by_ranks RANKS COMMAND…: checks a job in which the ranks stage: pyshm-run takes the place of each rank's Python after at
# most 6 operations on the environment.
by_ranks() {
  local ranks=$1 all; shift
  mark; login "$tools/trace.sh" "$work/n0" "$@" >"$work/printed" 2>&1 || { cat "$work/printed"; fail "the job failed"; }; collect
  check "the results are those of the bare run" python3 "$tools/compare.py" --size "$ranks" "$work/bare" "$work/out"
  ! grep -q pyshm "$work/printed" || fail "something was printed: $(cat "$work/printed")"
  all=$(ANY_PROCESSOR=1 ops '^"[^"]*/bin/python' "$venv" "$env_dir/base")
  note "operations of $ranks ranks on the environment: $all"
  [ "$all" -gt 0 ] && [ "$all" -le $((6 * ranks)) ] || fail "$all operations of $ranks ranks"
  [ "$(opened "$bundle")" -le 4 ] || fail "the bundle was opened $(opened "$bundle") times by four nodes"
  ! grep -q pyshm-bcast "$work"/t/* || fail "a step was started"
  nodes_are_clean
}
test_srun_multi_prog_is_staged_by_the_ranks() {
  mkdir "$work/bare" "$work/out"
  local out; for out in bare out; do echo "* $venv/bin/python $scratch/tell.py $work/$out" >"$work/$out.conf"; done
  login salloc -Q -N4 -n8 --ntasks-per-node=2 srun --mpi=pmi2 --multi-prog "$work/bare.conf" || fail "the bare job"
  by_ranks 8 salloc -Q -N4 -n8 --ntasks-per-node=2 env LD_PRELOAD="$shim" PYSHM_BUNDLES="$bundle" srun --mpi=pmi2 --multi-prog "$work/out.conf"
}
test_srun_outside_an_allocation_is_staged_by_the_ranks() {
  mkdir "$work/bare" "$work/out"
  local srun=(srun -N4 -n8 --ntasks-per-node=2 --mpi=pmi2 "$venv/bin/python" "$scratch/tell.py")
  login "${srun[@]}" "$work/bare" || fail "the bare job"
  by_ranks 8 env LD_PRELOAD="$shim" PYSHM_BUNDLES="$bundle" "${srun[@]}" "$work/out"
}

test_without_bundles_the_launcher_runs_as_it_was_called() {
  local call='execve\("[^"]*/srun", \["srun", "-N2", "-n", "2", "a b", "--", "c"\]'
  printf '#!/bin/sh\necho "$SLURM_STEP_ID $1 $2"\n' >"$work/a b"; chmod +x "$work/a b"
  login salloc -Q -N4 env PATH="$work:$PATH" LD_PRELOAD="$shim" "$tools/trace.sh" "$work/trace" srun -N2 -n 2 "a b" -- c >"$work/said" 2>&1 || { cat "$work/said"; fail "srun failed"; }
  equal "step and arguments of the ranks" "0 -- c" "$(sort -u "$work/said")"
  # The user executes the launcher. pyshm-run takes the launcher's place, and then executes the launcher again in the same
  # process.
  python3 "$tools/stracelog.py" "$work/trace" >"$work/calls"
  equal "calls with the same words" 2 "$(grep -cE "$call.* = 0" "$work/calls")"
  equal "processes that executed it" 1 "$(grep -E "$call.* = 0" "$work/calls" | awk '{ print $1 }' | sort -u | wc -l)"
}

# like_bare NAME COMMAND…: checks that a step has the same output and exit status bare and preloaded.
like_bare() {
  local name=$1 bare preloaded; shift
  bare=$(printf 'line\nmore\n' | login salloc -Q -N2 "$@" 2>&1; echo "status $?")
  preloaded=$(printf 'line\nmore\n' | login salloc -Q -N2 env LD_PRELOAD="$shim" PYSHM_BUNDLES="$bundle" "$@" 2>&1; echo "status $?")
  # Ignore times and the numbers of jobs and steps.
  equal "$name" "$(sed 's/[0-9.:T-]\{3,\}/N/g; s/Step.*\.[0-9]*/STEP/' <<<"$bare" | sort)" "$(sed 's/[0-9.:T-]\{3,\}/N/g; s/Step.*\.[0-9]*/STEP/' <<<"$preloaded" | sort)"
}
test_exit_status_streams_and_messages_are_the_launchers() {
  local python=$venv/bin/python
  like_bare "an exit code" srun -N2 -n2 "$python" -c 'import sys; sys.exit(7)'
  like_bare "standard input" srun -n1 "$python" -c 'import sys; print(sys.stdin.read().upper())'
  like_bare "a rank that a signal ends" srun -n1 "$python" -c 'import os; os.kill(os.getpid(), 9)'
  like_bare "a program that does not exist" srun -n1 no-such-program
  like_bare "an option that does not exist" srun --no-such-option true
  nodes_are_clean
}

cat >"$scratch/handler.py" <<'PY'
import os, signal, sys, time
got = []
signal.signal(signal.SIGUSR1, lambda *_: got.append(1))
open(f"{sys.argv[1]}/ready.{os.environ['SLURM_PROCID']}", "w").close()
until = time.monotonic() + 60
while not os.path.exists(sys.argv[1] + "/stop") and time.monotonic() < until:
    time.sleep(0.05)
print(len(got), flush=True)
PY
test_a_signal_to_the_launcher_reaches_each_rank_once() {
  cat >"$work/job.sh" <<SH
#!/bin/bash
srun -N2 -n2 $venv/bin/python $scratch/handler.py $work & launcher=\$!
for i in \$(seq 6000); do [ -e $work/ready.0 ] && [ -e $work/ready.1 ] && break; sleep 0.1; done
kill -USR1 \$launcher
sleep 1; touch $work/stop
wait \$launcher
SH
  chmod +x "$work/job.sh"
  local bare; bare=$(login salloc -Q -N2 "$work/job.sh" 2>/dev/null); rm "$work"/ready.* "$work/stop"
  equal "signals that ranks of a bare job got" "1 1" "$(echo $bare)"
  equal "signals that ranks got" "$bare" "$(login salloc -Q -N2 env LD_PRELOAD="$shim" PYSHM_BUNDLES="$bundle" "$work/job.sh" 2>/dev/null)"
  nodes_are_clean
}

test_a_stage_that_cannot_be_made_is_reported_in_one_line() {
  # Only the data of the bundle is damaged, not its manifest, so pyshm chooses the bundle.
  cp "$bundle" "$work/bad.tar.zst"; chmod u+w "$work/bad.tar.zst"
  head -c 4096 /dev/zero | dd of="$work/bad.tar.zst" bs=4096 seek=$(($(stat -c %s "$bundle") / 4096 * 2 / 3)) conv=notrunc status=none || fail "dd"
  login salloc -Q -N2 env LD_PRELOAD="$shim" PYSHM_BUNDLES="$work/bad.tar.zst" srun -N2 -n2 "$venv/bin/python" -c 'print("ran")' >"$work/out" 2>"$work/said" || { cat "$work/said"; fail "the job failed"; }
  equal "ranks that ran" 2 "$(grep -c ran "$work/out")"
  equal "lines of warning" 1 "$(grep -c 'pyshm-run: warning: .*bad.tar.zst' "$work/said")"
  equal "lines" 1 "$(wc -l <"$work/said")"
  nodes_are_clean
}

run_tests
