#!/bin/bash
# Tests the forms of a preloaded launcher's command. Either one staging step stages on all nodes, or each rank starts its
# own pyshm-run, which stages. If a launcher calls another launcher, nothing is staged twice. Slurm binds tasks to
# processors and tracks them by cgroups.
. "$(dirname "$0")/harness.sh"
cluster_up 2
VCLUSTER_SLURM_SET="ProctrackType=proctrack/cgroup TaskPlugin=task/affinity SchedulerType=sched/backfill SchedulerParameters=bf_interval=1" "$VCLUSTER" slurm >/dev/null || exit 1
shim=$top/target/pyshm/lib/libpyshm.so
mkdir "$scratch/site"; echo 'answer = 42' >"$scratch/site/small.py"
"$pyshm" bundle env "$scratch/site" -o "$scratch/small.tar.zst" -q || exit 1
login() { timeout 600 "$VCLUSTER" exec n0 env PYTHONPATH="$scratch/site" "$@"; }
preloaded=(env LD_PRELOAD="$shim" PYSHM_BUNDLES="$scratch/small.tar.zst" PYSHM_CACHE="$scratch/cache")
python=$venv/bin/python

# Each rank prints its number, whether it is staged, the value that it imported, and the variables and arguments of the
# test.
cat >"$scratch/look.py" <<'PY'
import os, sys
sys.path.insert(0, sys.argv[1])
import small
stages = {line.split()[-1].split("/")[4] for line in open("/proc/self/maps") if "/dev/shm/pyshm-" in line}
rank = next((os.environ[n] for n in ("PMI_RANK", "OMPI_COMM_WORLD_RANK", "SLURM_PROCID") if n in os.environ), "none")
words = [os.environ.get("X", "-"), os.environ.get("SLURM_ARRAY_TASK_ID", "-"), *sys.argv[2:]]
os.write(1, f"rank {rank} {'staged' if len(stages) == 1 else 'bare'} {small.answer} {' '.join(words)}\n".encode())
PY
look=("$python" -B "$scratch/look.py" "$scratch/site")
staged() { local r; for r in "${@:2}"; do echo "rank $r staged 42 $1"; done; }

nodes_are_clean() {
  local i left
  for i in 0 1 2; do
    left=$(VCLUSTER_WD=/ "$VCLUSTER" exec "n$i" find /dev/shm -mindepth 1 -path '*pyshm*' | head -3)
    [ -z "$left" ] || fail "n$i has $left"
  done
}
# says EXPECTED COMMAND…: checks that the ranks print EXPECTED and nothing else. Writes the command's trace to $work/trace.
says() {
  local expected=$1; shift
  login "$tools/trace.sh" "$work/trace" "$@" >"$work/said" 2>"$work/errors" </dev/null || { cat "$work/said" "$work/errors"; fail "the job failed"; }
  equal "the output of the ranks" "$expected" "$(sort "$work/said")"
  ! grep -q pyshm "$work/errors" || fail "something was printed: $(cat "$work/errors")"
  nodes_are_clean
}
# one_step: checks that one staging step was started. Only the command of a step has the helper's option --id. no_step:
# checks that no step was started.
one_step() { equal "staging steps" 1 "$(grep -E 'execve\("[^"]*/(srun|mpiexec|mpirun.openmpi|orterun)".*"--id"' "$work/trace" | awk '{ print $1 }' | sort -u | wc -l)"; }
no_step() { ! grep -qE 'execve\(.*"[^"]*/pyshm-bcast-[a-z]*", "--root"' "$work/trace" || fail "a step was started"; }
alloc=(salloc -Q -N2 -n4 --ntasks-per-node=2)

test_srun_with_export_none_starts_one_step() {
  says "$(staged '- -' 0 1 2 3)" "${alloc[@]}" "${preloaded[@]}" srun --export=NONE "${look[@]}"; one_step
}
test_srun_with_export_of_a_variable_starts_one_step() {
  says "$(staged '1 -' 0 1 2 3)" "${alloc[@]}" "${preloaded[@]}" srun --export=ALL,X=1 "${look[@]}"; one_step
}
test_srun_below_an_sbatch_that_exports_nothing_starts_one_step() {
  says "$(staged '- -' 0 1 2 3)" "${alloc[@]}" "${preloaded[@]}" SLURM_EXPORT_ENV=NONE SLURM_LABELIO=0 srun "${look[@]}"; one_step
}
test_srun_on_fewer_nodes_than_the_allocation_starts_one_step() {
  says "$(staged '- -' 0 1)" "${alloc[@]}" "${preloaded[@]}" srun -N1 -n2 "${look[@]}"; one_step
}
test_srun_on_a_node_by_name_starts_one_step() {
  says "$(staged '- -' 0)" "${alloc[@]}" "${preloaded[@]}" srun -w n2 -N1 -n1 "${look[@]}"; one_step
}
test_steps_at_the_same_time_are_staged() {
  printf '#!/bin/bash\nfor i in 1 2 3; do srun --overlap -N2 -n2 --ntasks-per-node=1 "$@" $i & done\nwait\n' >"$work/job.sh"; chmod +x "$work/job.sh"
  says "$(for r in 0 1; do for i in 1 2 3; do staged "- - $i" $r; done; done)" "${alloc[@]}" "${preloaded[@]}" "$work/job.sh" "${look[@]}"
}
test_tasks_of_an_array_job_are_staged() {
  login sbatch -Q -N1 -n2 --array=3-4 -o "$work/said.%a" --wrap "LD_PRELOAD=$shim PYSHM_BUNDLES=$scratch/small.tar.zst srun ${look[*]}; touch $work/done.\$SLURM_ARRAY_TASK_ID" || fail "sbatch"
  local i; for i in $(seq 6000); do [ -e "$work/done.3" ] && [ -e "$work/done.4" ] && break; sleep 0.1; done
  for i in 3 4; do equal "the output of the ranks of task $i" "$(staged "- $i" 0 1)" "$(sort "$work/said.$i")"; done
  nodes_are_clean
}
test_the_step_asks_for_pmi2_where_slurm_has_no_default() {
  says "$(staged '- -' 0 1 2 3)" "${alloc[@]}" "${preloaded[@]}" srun "${look[@]}"; one_step
  grep -qE 'execve\("[^"]*/srun", \["[^"]*srun", "--mpi=pmi2", "--overlap", "--mem=0", "-N", "2", "-n", "2", "--ntasks-per-node=1", "-c", "2", "--cpu-bind=none", "[^"]*/pyshm-bcast-mpich"' "$work/trace" || fail "another step: $(grep -o 'execve("[^"]*/srun".*' "$work/trace")"
}
test_ranks_stage_where_their_mpi_has_no_helper() {
  says "$(staged '- -' 0 1 2 3)" "${alloc[@]}" "${preloaded[@]}" PYSHM_BCAST=/no/such/helper srun "${look[@]}"; no_step
}
test_heterogeneous_jobs_are_staged_by_the_ranks() {
  says "$(staged '- -' 0 1)" salloc -Q -N1 -n1 : -N1 -n1 "${preloaded[@]}" srun --het-group=0,1 "${look[@]}"; no_step
  says "$(staged '- -' 0 1)" salloc -Q -N1 -n1 : -N1 -n1 "${preloaded[@]}" srun "${look[@]}" : "${look[@]}"; no_step
}
test_a_wrapper_and_a_preloaded_launcher_stage_once() {
  says "$(staged '- -' 0 1 2 3)" "${alloc[@]}" "${preloaded[@]}" "$pyshm_run" -b "$scratch/small.tar.zst" srun "${look[@]}"; one_step
  says "$(staged '- -' 0 1 2 3)" "${alloc[@]}" "${preloaded[@]}" srun "$pyshm_run" -b "$scratch/small.tar.zst" "${look[@]}"; no_step
}
test_a_launcher_that_a_rank_calls_stages_nothing_again() {
  # The outer srun starts no Python, but pyshm stages for it, because bash calls a launcher that starts Python.
  says "$(staged '- -' 0 1)" "${alloc[@]}" "${preloaded[@]}" srun -N1 -n1 bash -c "exec \"\$@\"" bash "$venv/bin/mpiexec" -launcher fork -n 2 "${look[@]}"; one_step
}
test_a_program_that_uses_no_python_is_left_alone() {
  says "n1
n1
n2
n2" "${alloc[@]}" "${preloaded[@]}" srun hostname; no_step
  says "n1
n2" "${preloaded[@]}" srun -N2 -n2 hostname; no_step
}
# After a mistake in the site's configuration, a job prints one line and runs. A job that uses no environment prints
# nothing.
test_a_configured_file_that_cannot_be_read_is_reported_once_and_the_job_runs() {
  local what said
  echo 'bundels = []' >"$work/unknown.toml"; printf 'fallback = false\nbundles = ["%s/gone.tar.zst"]\n' "$work" >"$work/strict.toml"; echo junk >"$work/junk.tar.zst"
  for what in "PYSHM_BUNDLES=$work/gone.tar.zst" "PYSHM_BUNDLES=$work/junk.tar.zst" "PYSHM_CONFIG=$work/unknown.toml"; do
    case $what in
      *gone*) said="failed to read bundle $work/gone.tar.zst: No such file or directory" ;;
      *junk*) said="failed to use bundle $work/junk.tar.zst" ;;
      *unknown*) said="failed to read $work/unknown.toml, line 1: there is no key 'bundels' here" ;;
    esac
    for launcher in "srun --mpi=pmi2" "$venv/bin/mpiexec -launcher fork -n 4"; do
      # shellcheck disable=SC2086 # words
      login "${alloc[@]}" env -u PYSHM_BUNDLES LD_PRELOAD="$shim" "$what" $launcher "${look[@]}" >"$work/said" 2>"$work/errors" </dev/null || fail "the job failed: $(cat "$work/errors")"
      equal "$launcher, $what: the output of the ranks" "$(staged '- -' 0 1 2 3 | sed s/staged/bare/)" "$(sort "$work/said")"
      equal "$launcher, $what: lines" 1 "$(grep -c pyshm "$work/errors")"
      contains "$launcher, $what" "$(cat "$work/errors")" "pyshm-run: warning: $said"
    done
    equal "srun hostname" 4 "$(login "${alloc[@]}" env -u PYSHM_BUNDLES LD_PRELOAD="$shim" "$what" srun hostname 2>&1 | grep -cx 'n[12]')"
    equal "the message" "" "$(login "${alloc[@]}" env -u PYSHM_BUNDLES LD_PRELOAD="$shim" "$what" srun hostname 2>&1 | grep -vx 'n[12]')"
  done
  login "${alloc[@]}" env -u PYSHM_BUNDLES LD_PRELOAD="$shim" PYSHM_CONFIG="$work/strict.toml" srun "${look[@]}" >"$work/said" 2>"$work/errors" </dev/null; equal "exit status where the file says fallback = false" 66 $?
  equal "the output of the ranks" "" "$(cat "$work/said")"
  nodes_are_clean
}
test_the_installation_is_found_from_where_the_loader_finds_the_library() {
  local place
  cp -r "$top/target/pyshm" "$work/opt"; mkdir -p "$work/opt/lib/x86_64-linux-gnu" "$work/opt/lib/pyshm/lib/x86_64-linux-gnu"
  ln -s ../libpyshm.so "$work/opt/lib/x86_64-linux-gnu/libpyshm.so"; ln -s ../../../libpyshm.so "$work/opt/lib/pyshm/lib/x86_64-linux-gnu/libpyshm.so"
  for place in lib/libpyshm.so '$LIB/libpyshm.so' 'lib/pyshm/$LIB/libpyshm.so'; do
    says "$(staged '- -' 0)" salloc -Q -N1 -n1 "${preloaded[@]}" LD_PRELOAD="$work/opt/$place" srun "${look[@]}"; one_step
  done
  # A shim without the rest of the installation leaves a launcher unchanged.
  rm "$work/opt/bin/pyshm-run"
  says "$(staged '- -' 0 | sed s/staged/bare/)" salloc -Q -N1 -n1 "${preloaded[@]}" LD_PRELOAD="$work/opt/lib/libpyshm.so" srun "${look[@]}"; no_step
}
test_pyshm_disable_leaves_a_launcher_alone() {
  says "$(staged '- -' 0 1 2 3 | sed s/staged/bare/)" "${alloc[@]}" "${preloaded[@]}" PYSHM_DISABLE=1 srun "${look[@]}"; no_step
  ! grep -q '"[^"]*/pyshm-run"' "$work/trace" || fail "pyshm-run was started"
}
test_a_program_that_is_younger_than_its_bundle_runs_without_pyshm() {
  printf '#!/bin/sh\necho "$PYSHM_DISABLE $0 $1"\n' >"$scratch/site/new"; chmod +x "$scratch/site/new"
  login "${alloc[@]}" "${preloaded[@]}" srun "$scratch/site/new" word >"$work/said" 2>"$work/errors" || { cat "$work/errors"; fail "the job failed"; }
  equal "the output of the ranks" "$(for _ in 0 1 2 3; do echo "1 $scratch/site/new word"; done)" "$(cat "$work/said")"
  equal "warnings" "pyshm-run: warning: $scratch/site/new is not in its bundle: it runs without pyshm; pack the bundle again" "$(cat "$work/errors")"
  rm "$scratch/site/new"; nodes_are_clean
}
test_contexts_of_mpiexec_are_staged_by_one_step() {
  launch_words hydra root 2 2
  says "$(staged '- - a' 0 1; staged '- - b' 2; staged '- - c' 3 4)" "${preloaded[@]}" "${LAUNCH[@]}" "${look[@]}" a : -n 1 "${look[@]}" b : "${look[@]}" c; one_step
}
test_contexts_of_mpirun_are_staged_by_one_step() {
  launch_words ompi root 2 2
  says "$(staged '- - a' 0 1; staged '- - b' 2)" "${preloaded[@]}" "${LAUNCH_ENV[@]}" "${LAUNCH[@]}" "${look[@]}" a : -n 1 "${look[@]}" b; one_step
}
test_contexts_with_nodes_of_their_own_are_left_to_the_ranks() {
  launch_words ompi root 2 2
  local hand_on=(-x LD_PRELOAD -x PYSHM_BUNDLES -x PYTHONPATH -n 1)
  says "$(staged '- - a' 0; staged '- - b' 1)" "${preloaded[@]}" "${LAUNCH_ENV[@]}" mpirun.openmpi "${LAUNCH[@]:1:4}" "${hand_on[@]}" -H n1 "${look[@]}" a : "${hand_on[@]}" -H n2 "${look[@]}" b; no_step
}

run_tests
