#!/bin/bash
# Tests an MPI job of 8 ranks on four virtual nodes under real launchers. The results equal those of a bare run. No rank
# makes an operation on the environment. The bundle is opened once in the whole cluster, and unpacked once on each node.
# Nothing is left on the nodes.
. "$(dirname "$0")/harness.sh"
cluster_up 4
"$VCLUSTER" slurm >/dev/null || exit 1
job() { timeout 600 "$top/tests/cluster/run-mpi.sh" "$@"; }

nodes_are_clean() {
  local i left
  for i in 0 1 2 3 4; do
    left=$(VCLUSTER_WD=/ "$VCLUSTER" exec "n$i" find /dev/shm -mindepth 1 | head -3)
    [ -z "$left" ] || fail "n$i has $left"
  done
}

# ops TRACE FROM DIR…: prints how many operations the ranks made on the DIRs. A rank's operations count from its exec FROM
# on. If the trace has too few operations in the stage, the trace does not have the ranks, and `ops` prints this instead.
ops() {
  local trace=$1 from=$2; shift 2
  local under=() dir
  for dir; do under+=(--under "$dir"); done
  local count=(python3 "$tools/count_ops.py" "$trace" --from-exec "$from" --ignore-exec '^"/proc/self/exe"' --json)
  "${count[@]}" --under /dev/shm | python3 -c 'import json, sys
seen = json.load(sys.stdin)
assert seen["processes"] >= 8 and seen["total"] > 5000, seen' || { echo "the ranks were not seen"; return; }
  "${count[@]}" "${under[@]}" | python3 -c 'import json, sys; print(json.load(sys.stdin)["total"])'
}
# opened TRACE PATH: prints how often PATH was opened. Counts only the first half of a line, because strace may write a
# call in two halves.
opened() { grep -cE "open(at)?\(.*\"$2\"" "$1"; }
# unpacked TRACE: prints in how many directories a stage was built. Each node's directory has another name, because the
# name contains a number that depends on the node and the process.
unpacked() { grep -oE '\.new-[0-9a-f]+-[0-9]+/index".*O_CREAT' "$1" | sort -u | wc -l; }

# bare_run FLAVOR [--user]: runs the job without pyshm, once for all tests, and sets $out.
bare_run() {
  out=$VCLUSTER_DIR/bare-$1${2:-}
  [ -d "$out" ] && return
  install -d -m 777 "$out"
  job ${2:+"$2"} "$1" python "$tools/app.py" "$out" >&2
}

started_from_stage='^"[^"]*/bin/pyshm-exec"'

before_the_launcher() { # FLAVOR VENV
  local flavor=$1 env=$2 bundle out
  bundle=$(bundle_of "$(basename "$env")" "$env") || fail "no bundle"
  bare_run "$flavor"
  mkdir "$work/out"
  job --before "$tools/trace.sh $work/trace $pyshm_run --no-fallback -b $bundle" "$flavor" python "$tools/app.py" "$work/out" || fail "the job failed"
  check "the results are those of the bare run" python3 "$tools/compare.py" --strict-env --size 8 "$out" "$work/out"
  equal "operations of all ranks" 0 "$(ops "$work/trace" "$started_from_stage" "$env" "$env_dir/base" "$top/target/pyshm" "$bundle")"
  equal "times the bundle was opened" 1 "$(opened "$work/trace" "$bundle")"
  equal "nodes that unpacked" 4 "$(unpacked "$work/trace")"
  nodes_are_clean
}
test_hydra_with_mpich_makes_no_operation_on_the_environment() { before_the_launcher hydra "$venv"; }
test_mpirun_of_open_mpi_makes_no_operation_on_the_environment() { before_the_launcher ompi "$venv_ompi"; }

as_a_user() { # FLAVOR VENV
  local flavor=$1 env=$2 bundle
  bundle=$(bundle_of "$(basename "$env")" "$env") || fail "no bundle"
  bare_run "$flavor" --user
  chmod 777 "$work"; install -d -m 777 "$work/out"
  job --user --before "$pyshm_run --no-fallback --summary -b $bundle" "$flavor" python "$tools/app.py" "$work/out" 2>&1 | tee "$work/said" || fail "the job failed"
  check "the results are those of the bare run" python3 "$tools/compare.py" --strict-env --size 8 "$out" "$work/out"
  contains "the summary" "$(cat "$work/said")" "broadcast to 4 nodes"
  nodes_are_clean
}
test_an_ordinary_user_runs_under_hydra() { as_a_user hydra "$venv"; }
test_an_ordinary_user_runs_under_open_mpi() { as_a_user ompi "$venv_ompi"; }

as_the_ranks_program() { # FLAVOR VENV
  local flavor=$1 env=$2 bundle under
  bundle=$(bundle_of "$(basename "$env")" "$env") || fail "no bundle"
  bare_run "$flavor"
  mkdir "$work/out"
  job --before "$tools/trace.sh $work/trace" --inside "$pyshm_run --no-fallback -b $bundle" "$flavor" python "$tools/app.py" "$work/out" || fail "the job failed"
  check "the results are those of the bare run" python3 "$tools/compare.py" --strict-env --size 8 "$out" "$work/out"
  equal "operations on environment and bundle" 0 "$(ops "$work/trace" '^"[^"]*/bin/pyshm-run"' "$env" "$env_dir/base" "$bundle")"
  # Each rank executes pyshm-run and looks for a settings file in the installation.
  equal "operations on the installation, two for each rank" 16 "$(ops "$work/trace" '^"[^"]*/bin/pyshm-run"' "$top/target/pyshm")"
  equal "times the bundle was opened: once a node" 4 "$(opened "$work/trace" "$bundle")"
  equal "nodes that unpacked" 4 "$(unpacked "$work/trace")"
  nodes_are_clean
}
test_ranks_of_hydra_stage_their_own_node() { as_the_ranks_program hydra "$venv"; }
test_ranks_of_open_mpi_stage_their_own_node() { as_the_ranks_program ompi "$venv_ompi"; }

test_without_a_bundle_the_prefixes_are_found_and_cached() {
  bare_run hydra
  mkdir "$work/out" "$work/again"
  export PYSHM_CACHE=$work/cache
  job --before "$tools/trace.sh $work/trace $pyshm_run --no-fallback" hydra python "$tools/app.py" "$work/out" || fail "the job failed"
  check "the results are those of the bare run" python3 "$tools/compare.py" --ignore environ/PYSHM --size 8 "$out" "$work/out"
  equal "operations of all ranks" 0 "$(ops "$work/trace" "$started_from_stage" "$venv" "$env_dir/base" "$top/target/pyshm" "$work/cache")"
  job --before "$pyshm_run --no-fallback -v" hydra python "$tools/app.py" "$work/again" >"$work/said" 2>&1 || fail "the second job failed"
  [[ $(cat "$work/said") != *"making the bundle"* ]] || fail "the second job packed again"
  nodes_are_clean
}

# A foreign tar has no manifest: rank 0 broadcasts the bytes, and each leader reads the members of the tar.
test_foreign_tars_are_broadcast() {
  bare_run hydra
  mkdir "$work/out"
  tar -C "$venv" -czf "$work/venv.tar.gz" . && tar -C "$env_dir" -cf - base | zstd -q >"$work/base.tar.zst" || fail "no tars"
  local tars="-b $work/venv.tar.gz --prefix $venv -b $work/base.tar.zst --prefix $env_dir/base"
  job --before "$tools/trace.sh $work/trace $pyshm_run --no-fallback $tars" hydra python "$tools/app.py" "$work/out" || fail "the job failed"
  check "the results are those of the bare run" python3 "$tools/compare.py" --strict-env --size 8 "$out" "$work/out"
  equal "operations of all ranks" 0 "$(ops "$work/trace" "$started_from_stage" "$venv" "$env_dir/base" "$top/target/pyshm" "$work/venv.tar.gz")"
  equal "nodes that unpacked" 4 "$(unpacked "$work/trace")"
  head -c 20000000 "$work/venv.tar.gz" >"$work/half.tar.gz"
  job --before "$pyshm_run --no-fallback -b $work/half.tar.gz --prefix $venv" hydra python -c pass >"$work/said" 2>&1 && fail "half a tar was staged"
  contains "the reason" "$(cat "$work/said")" "half.tar.gz: it is truncated"
  nodes_are_clean
}

# A program that prints each path of a tree with its attributes and contents.
cat >"$scratch/tree_of.py" <<'PY'
import hashlib, os, sys
import scipy.interpolate, layered
from mpi4py import MPI
site, out = os.path.dirname(layered.__file__), sys.argv[1]
with open(f"{out}/{MPI.COMM_WORLD.rank}", "w") as file:
    for directory, names, files in os.walk(site):
        names.sort()
        for name in [""] + sorted(names + files):
            path = os.path.join(directory, name)
            st = os.lstat(path)
            data = hashlib.sha256(open(path, "rb").read()).hexdigest() if name in files and not os.path.islink(path) else ""
            link = os.readlink(path) if os.path.islink(path) else ""
            print(path, oct(st.st_mode), st.st_ino, st.st_nlink, st.st_size, st.st_mtime_ns, st.st_ctime_ns, data, link, file=file)
    print(layered.answer(), file=file)
PY
test_a_layer_is_broadcast_with_its_base() {
  local bundle site=$work/site; bundle=$(bundle_of venv "$venv") || fail "no bundle"
  mkdir -p "$site/pkg/old" "$work/bare" "$work/out"
  echo 'answer = lambda: "as it was"' >"$site/layered.py"; : >"$site/pkg/__init__.py"; echo x >"$site/pkg/old/x"; echo y >"$site/pkg/y"; ln -s pkg "$site/link"
  "$pyshm" bundle env "$site" -o "$work/base.tar.zst" -q || fail "base"
  printf 'import pkg.added\nanswer = lambda: pkg.added.text\n' >"$site/layered.py"; echo 'text = "by the layer"' >"$site/pkg/added.py"
  rm -r "$site/pkg/old" "$site/link"; ln -s pkg/y "$site/pkg/old"; ln "$site/pkg/y" "$site/pkg/z"; mkdir "$site/link"; chmod 600 "$site/pkg/__init__.py"
  "$pyshm" bundle env "$site" --over "$work/base.tar.zst" -o "$work/layer.tar.zst" -q || fail "layer"
  local set=(--set PYTHONPATH="$site" --set PYTHONDONTWRITEBYTECODE=1) all="-b $bundle -b $work/base.tar.zst -b $work/layer.tar.zst"
  job "${set[@]}" hydra python "$scratch/tree_of.py" "$work/bare" || fail "the bare job"
  job "${set[@]}" --before "$tools/trace.sh $work/trace $pyshm_run --no-fallback $all" hydra python "$scratch/tree_of.py" "$work/out" || fail "the job failed"
  contains "the module of the ranks" "$(cat "$work/out/7")" "by the layer"
  diff -r "$work/bare" "$work/out" || fail "the ranks saw another tree"
  equal "operations of all ranks" 0 "$(ops "$work/trace" "$started_from_stage" "$venv" "$env_dir/base" "$site" "$work/base.tar.zst" "$work/layer.tar.zst")"
  local b; for b in base layer; do equal "times the $b was opened" 1 "$(opened "$work/trace" "$work/$b.tar.zst")"; done
  equal "nodes that unpacked" 4 "$(unpacked "$work/trace")"
  job "${set[@]}" --before "$pyshm_run --no-fallback -b $bundle -b $work/layer.tar.zst -b $work/base.tar.zst" hydra true >"$work/said" 2>&1
  equal "exit code in another order" 65 $?
  contains "the way out" "$(cat "$work/said")" "layer.tar.zst: the layer holds only what changed since base.tar.zst; name base.tar.zst right before the layer"
  nodes_are_clean
}

test_srun_stages_on_all_nodes_of_the_allocation() {
  local bundle; bundle=$(bundle_of venv "$venv") || fail "no bundle"
  bare_run srun-pmi2
  mkdir "$work/out"
  job --before "$pyshm_run --no-fallback --summary -b $bundle" srun-pmi2 python "$tools/app.py" "$work/out" >"$work/said" 2>&1 || { cat "$work/said"; fail "the job failed"; }
  check "the results are those of the bare run" python3 "$tools/compare.py" --strict-env --size 8 "$out" "$work/out"
  contains "the summary" "$(cat "$work/said")" "broadcast to 4 nodes"
  nodes_are_clean
}

test_reroute_env_leads_the_ranks_by_variables() {
  local bundle; bundle=$(bundle_of venv "$venv") || fail "no bundle"
  mkdir "$work/out"
  job --before "$tools/trace.sh $work/trace $pyshm_run --no-fallback --reroute env -b $bundle" hydra python -c \
    'import sys, numpy, mpi4py; assert sys.prefix.startswith("/dev/shm/pyshm-"), sys.prefix; assert numpy.__file__.startswith("/dev/shm/"), numpy.__file__' || fail "the job failed"
  nodes_are_clean
}

test_a_node_without_memory_runs_from_the_shared_file_system() {
  local bundle; bundle=$(bundle_of venv "$venv") || fail "no bundle"
  bare_run hydra
  mkdir "$work/out"
  VCLUSTER_WD=/ "$VCLUSTER" exec n3 mount -o remount,size=100m /dev/shm
  job --before "$pyshm_run -b $bundle" hydra python "$tools/app.py" "$work/out" >"$work/said" 2>&1 || { cat "$work/said"; fail "the job failed"; }
  job --before "$pyshm_run --no-fallback -b $bundle" hydra python "$tools/app.py" "$work/out" >"$work/strict" 2>&1; local code=$?
  VCLUSTER_WD=/ "$VCLUSTER" exec n3 mount -o remount,size=4g /dev/shm
  check "the results are those of the bare run" python3 "$tools/compare.py" --strict-env --size 8 "$out" "$work/out"
  contains "the warning" "$(cat "$work/said")" "1 of 4 nodes"
  contains "the numbers" "$(cat "$work/said")" "are needed"
  equal "one line of warning" 1 "$(grep -c 'pyshm-run:' "$work/said")"
  [ "$code" != 0 ] || fail "--no-fallback ran the job"
  nodes_are_clean
}

test_a_root_that_no_node_has_is_reported() {
  local bundle; bundle=$(bundle_of venv "$venv") || fail "no bundle"
  job --before "$pyshm_run --root /nowhere -b $bundle" hydra python -c 'print("ran")' >"$work/out" 2>"$work/said" || { cat "$work/said"; fail "the job failed"; }
  equal "ranks that ran" 8 "$(grep -o "ran" "$work/out" | wc -l)"
  contains "the warning" "$(cat "$work/said")" "/nowhere"
  job --before "$pyshm_run --no-fallback --root /nowhere -b $bundle" hydra true >"$work/said" 2>&1
  equal "exit code with --no-fallback" 66 $?
}

test_a_helper_of_another_mpi_is_refused() {
  local bundle; bundle=$(bundle_of venv "$venv") || fail "no bundle"
  export PYSHM_BCAST=$top/target/pyshm/libexec/pyshm-bcast-openmpi
  job --before "$pyshm_run --no-fallback -b $bundle" hydra true >"$work/said" 2>&1
  equal "exit code" 69 $?
  contains "the error" "$(cat "$work/said")" "PYSHM_BCAST"
  nodes_are_clean
}

test_the_staging_launch_can_be_given_by_hand() {
  local bundle; bundle=$(bundle_of venv "$venv") || fail "no bundle"
  bare_run hydra
  mkdir "$work/out"
  launch_words hydra root 4 4
  export PYSHM_BCAST_LAUNCH="${LAUNCH[*]}"
  job --before "$pyshm_run --no-fallback --summary -b $bundle" hydra python "$tools/app.py" "$work/out" >"$work/said" 2>&1 || { cat "$work/said"; fail "the job failed"; }
  check "the results are those of the bare run" python3 "$tools/compare.py" --size 8 "$out" "$work/out"
  contains "the summary" "$(cat "$work/said")" "broadcast to 4 nodes"
  nodes_are_clean
}

test_a_damaged_bundle_is_reported_once_and_the_job_runs() {
  bare_run hydra
  mkdir "$work/out"
  python3 - "$(bundle_of venv "$venv")" "$work/bad.tar.zst" <<'PY'
import sys
data = bytearray(open(sys.argv[1], "rb").read())
data[len(data) * 2 // 3] ^= 1
open(sys.argv[2], "wb").write(data)
PY
  job --before "$pyshm_run -b $work/bad.tar.zst" hydra python "$tools/app.py" "$work/out" >"$work/said" 2>&1 || { cat "$work/said"; fail "the job failed"; }
  check "the results are those of the bare run" python3 "$tools/compare.py" --size 8 "$out" "$work/out"
  equal "one line of warning" 1 "$(grep -c 'pyshm-run:' "$work/said")"
  contains "the bundle's name" "$(cat "$work/said")" "$work/bad.tar.zst"
  job --before "$pyshm_run --no-fallback -b $work/bad.tar.zst" hydra python "$tools/app.py" "$work/out"
  equal "exit code with --no-fallback" 65 $?
  nodes_are_clean
}

run_tests
