#!/bin/bash
# Tests the end of jobs under a real Slurm. A job ends by scancel, by its time limit, or because a slurmd or a whole node
# was killed. It ends during staging or during the run, in every form of a job. In one test a job of another user runs at
# the same time on the same nodes. Other tests of this file count how often each signal reaches the application.
. "$(dirname "$0")/harness.sh"
# The forms are `pyshm-run srun PROGRAM`, `srun pyshm-run PROGRAM`, and srun with the library preloaded.
FORMS=(before inside preloaded)
cluster_up $((2 + 8 * ${#FORMS[@]}))

# The epilog is the line of README.md. The epilog does nothing unless $scratch/epilog exists.
line=$(sed -n 's|^\(setpriv .* \)/opt/pyshm/bin/\(pyshm unstage .*\) \|\| true$|\1\2|p' "$top/README.md"); [ -n "$line" ] || { echo "README.md has no epilog"; exit 1; }
cat >"$scratch/epilog.sh" <<SH
#!/bin/bash
[ -e "$scratch/epilog" ] || exit 0
export PATH=$top/target/pyshm/bin:/usr/bin:/bin
$line || echo "\$(hostname): epilog of \$SLURM_JOB_ID: \$?" >>"$scratch/epilog.failed"
echo "\$(hostname) \$SLURM_JOB_ID" >>"$scratch/epilog.log"
SH
chmod 755 "$scratch/epilog.sh"; chmod 777 "$scratch"
VCLUSTER_SLURM_SET="ProctrackType=proctrack/cgroup Epilog=$scratch/epilog.sh SlurmdTimeout=8" "$VCLUSTER" slurm || exit 1

mkdir -p "$scratch/site/pkg"; echo 'name = "pkg"' >"$scratch/site/pkg/__init__.py"
for i in $(seq 60); do echo "value = $i" >"$scratch/site/pkg/m$i.py"; done
head -c 6000000 /dev/urandom >"$scratch/site/pkg/data"
"$pyshm" bundle env "$scratch/site" -o "$scratch/b.tar.zst" -q && chmod -R a+rX "$scratch/site" "$scratch/b.tar.zst" || exit 1

# Each rank records its node and the stages that it saw, and waits; at the end it records the signals that its handlers
# got. After SIGTERM a rank ends its wait, as a program that writes a checkpoint does; with `deaf` the rank waits on.
cat >"$scratch/rank.py" <<'PY'
import glob, os, signal, sys, time
out, seconds = sys.argv[1], float(sys.argv[2])
rank = os.environ["SLURM_PROCID"]
got = []
deaf = sys.argv[3:] == ["deaf"]
for name in ["TERM"] if deaf else sys.argv[3:]:
    signal.signal(getattr(signal, "SIG" + name), lambda *_, name=name: got.append(name))
import pkg.m7
with open(f"{out}/began.{rank}", "w") as file:
    print(os.uname().nodename, glob.glob("/dev/shm/pyshm-*/*/fs"), file=file)
end = time.time() + seconds
while time.time() < end and not os.path.exists(f"{out}/stop") and ("TERM" not in got or deaf):
    time.sleep(0.02)
if "TERM" in got:
    time.sleep(1)       # by now the stage is gone
import pkg.m8
with open(f"{out}/ended.{rank}", "w") as file:
    print(pkg.m7.value + pkg.m8.value, len(open(pkg.__path__[0] + "/data", "rb").read()), *sorted(got), file=file)
PY

on() { VCLUSTER_WD=/ "$VCLUSTER" exec "$@"; }
as() { VCLUSTER_WD=/ "$VCLUSTER" exec-as "$@"; }
# until_true SECONDS WHAT COMMAND…: repeats COMMAND until it succeeds; fails after SECONDS.
until_true() { local end=$((SECONDS + $1)) what=$2; shift 2; until "$@"; do [ $SECONDS -lt $end ] || fail "after the time limit still not true: $what"; sleep 0.1; done; }
# submit USER NAME FORM NODES SCRIPT-OPTION… -- ARGUMENTS OF rank.py: submits a job of two ranks on each of the two
# NODES, and prints the job's number. With HELD=1 the job's staging stops when the second node writes its first frame.
submit() {
  local user=$1 name=$2 form=$3 nodes=$4 words command options=(); shift 4
  while [ "$1" != -- ]; do options+=("$1"); shift; done; shift
  mkdir -p "$work/$name"; chmod 777 "$work" "$work/$name"; cp "$scratch/b.tar.zst" "$work/$name.tar.zst"
  words="$pyshm_run --no-fallback -b $work/$name.tar.zst"
  command="srun --mpi=pmi2 -N2 -n4 --ntasks-per-node=2"
  case $form in
    bare) command="$command" ;;
    before) command="$words $command" ;;
    inside) command="$command $words" ;;
    preloaded) command="env LD_PRELOAD=$top/target/pyshm/lib/libpyshm.so PYSHM_BUNDLES=$work/$name.tar.zst $command" ;;
  esac
  { echo '#!/bin/bash'
    echo 'trap : USR1 USR2'
    echo "export PYTHONPATH=$scratch/site PYTHONDONTWRITEBYTECODE=1"
    [ -z "${HELD:-}" ] || echo "export PYSHM_TEST_PAUSE=write:1:${nodes#*,}:$work/$name/paused"
    command="$command $venv/bin/python -S $scratch/rank.py $work/$name $*"
    # With GROUP the command gets its own process group, as on a terminal, for Ctrl-C.
    [ -z "${GROUP:-}" ] && echo "${EXEC:-} $command" || echo "set -m; $command & echo \$! >$work/$name/group; wait"
  } >"$work/$name.sh"
  as "$user" n0 sbatch --parsable --chdir=/ -w "$nodes" -N2 -n4 --ntasks-per-node=2 --no-requeue -o "$work/$name/said" "${options[@]}" "$work/$name.sh"
}
began() { [ "$(find "$work/$1" -name 'began.*' | wc -l)" = 4 ]; }
paused() { [ -s "$work/$1/paused" ]; }
# in_phase NAME staging|run: waits until the job is in this phase.
in_phase() {
  local i
  for i in $(seq 6000); do case $2 in staging) paused "$1" ;; run | deaf) began "$1" ;; esac && return; sleep 0.1; done
  fail "$1 did not reach the phase $2 in ten minutes: $(cat "$work/$1/said"; on n0 squeue)"
}
is_gone() { [ -z "$(on n0 squeue -h -j "$1" 2>/dev/null)" ]; }
idle() { [ "$(on n0 sinfo -h -n "$1" -o '%T %D')" = "idle $2" ]; }
left() { local i; for i; do on "$i" find /dev/shm -mindepth 1 -path '*pyshm*' | sed "s/^/$i: /" | head -3; done; }
none_left() { [ -z "$(left "$@")" ]; }
# clean WHAT NODE…: waits until nothing is left on the nodes; fails after five minutes.
clean() { local what=$1 i; shift; for i in $(seq 3000); do none_left "$@" && return; sleep 0.1; done; fail "$what: $(left "$@")"; }
# has_stage WHAT NODE…: waits until each node has files of a stage, because in the form `inside` each node stages at its
# own time.
has_stage() {
  local what=$1 node i; shift
  for node; do
    for i in $(seq 3000); do [ -z "$(left "$node")" ] || continue 2; sleep 0.1; done
    fail "$what: there was no stage to be left on $node"
  done
}
# not_started NAME NODE: checks that no rank ran on NODE. It says nothing about the other node, on which ranks may have run
# in the form `inside`.
not_started() { ! grep -q "^$2 " "$work/$1"/began.* 2>/dev/null || fail "ranks of $1 were started on $2"; }

test_after_scancel_nothing_is_left_even_without_an_epilog() {
  local form phase name id begun
  for phase in staging run; do
    for form in "${FORMS[@]}"; do
      name=$form-$phase
      id=$(HELD=$([ $phase = run ] || echo 1) submit pyuser "$name" "$form" n1,n2 -- 300) || fail "sbatch"
      in_phase "$name" $phase
      has_stage "$name" n1 n2
      as pyuser n0 scancel "$id"; until_true 600 "the end of $name" is_gone "$id"
      [ $phase = run ] || not_started "$name" n2
      clean "$name" n1 n2
    done
  done
}

test_a_signal_reaches_each_rank_as_often_as_without_pyshm() {
  local form exec name ids=() names=() id
  for form in bare "${FORMS[@]}"; do
    for exec in "" exec; do
      name=$form-$exec
      id=$(EXEC=$exec submit pyuser "$name" "$form" n1,n2 -- 300 USR1 USR2) || fail "sbatch"
      ids+=("$id"); names+=("$name")
    done
  done
  for name in "${names[@]}"; do in_phase "$name" run; done
  # Send the second USR1 later, because the kernel merges two equal signals that are pending for a process.
  for id in "${ids[@]}"; do as pyuser n0 scancel -s USR1 "$id"; done
  # srun passes USR2 on through the controller, so USR2 may arrive after the next signal, which slurmd sends.
  for id in "${ids[@]}"; do as pyuser n0 scancel --batch -s USR2 "$id"; done
  for id in "${ids[@]}"; do as pyuser n0 scancel --full -s USR1 "$id"; done
  # Wait one second, so that a signal that is delivered twice has arrived twice.
  sleep 1; for name in "${names[@]}"; do touch "$work/$name/stop"; done
  for id in "${ids[@]}"; do until_true 600 "the end of job $id" is_gone "$id"; done
  equal "bare" "15 6000000 USR1 USR1" "$(cat "$work/bare-/ended.3")"
  equal "bare, without a shell" "15 6000000 USR1 USR1 USR2" "$(cat "$work/bare-exec/ended.0")"
  for form in "${FORMS[@]}"; do
    for exec in "" exec; do
      diff <(cat "$work/bare-$exec"/ended.*) <(cat "$work/$form-$exec"/ended.*) || fail "$form $exec: other signals than bare: $(cat "$work/$form-$exec/said")"
    done
  done
  clean "the jobs" n1 n2
}

# At a first Ctrl-C srun prints the state of its tasks, and at a second one within a second it ends the tasks. So srun must
# not get the signal twice.
test_ctrl_c_reaches_srun_once() {
  local form id
  for form in bare "${FORMS[@]}"; do
    id=$(GROUP=1 submit pyuser "$form" "$form" n1,n2 -- 300 INT) || fail "sbatch"
    in_phase "$form" run
    on n1 kill -INT -- "-$(cat "$work/$form/group")"
    until_true 600 "srun's message about a second Ctrl-C" grep -q "one more within 1 sec to abort" "$work/$form/said"
    sleep 0.5; touch "$work/$form/stop"; until_true 600 "the end of $form" is_gone "$id"
    equal "$form: results" "$(for i in 0 1 2 3; do echo "15 6000000"; done)" "$(cat "$work/$form"/ended.*)"
  done
}

test_a_job_of_another_user_is_neither_seen_nor_disturbed() {
  local form mine other uid name
  touch "$scratch/epilog"
  for form in "${FORMS[@]}"; do
    mine=$(submit pyuser "mine-$form" "$form" n1,n2 -- 300) && other=$(submit pyother "other-$form" "$form" n1,n2 -- 300) || fail "sbatch"
    in_phase "mine-$form" run; in_phase "other-$form" run
    for uid in 12345 12346; do
      for i in n1 n2; do equal "owner and mode on $i" "$uid 700" "$(on $i stat -c '%u %a' /dev/shm/pyshm-$uid)"; done
      name=mine; [ $uid = 12345 ] || name=other
      equal "$name-$form: stages that the ranks see" "/dev/shm/pyshm-$uid/" "$(grep -ohE '/dev/shm/pyshm-[0-9]+/' "$work/$name-$form"/began.* | sort -u)"
    done
    as pyother n2 ls /dev/shm/pyshm-12345 2>/dev/null && fail "another user looks into the stage"
    as pyuser n0 scancel "$mine"; until_true 600 "the end of mine-$form" is_gone "$mine"
    until_true 600 "the epilogs" epilogs_ran "$mine" 2
    until_true 600 "mine-$form to be gone" nothing_of 12345
    [ -n "$(left n1)" ] && [ -n "$(left n2)" ] || fail "$form: the end of one user's job removed the other user's stage"
    touch "$work/other-$form/stop"; until_true 600 "the end of other-$form" is_gone "$other"
    equal "other-$form: results" "$(for i in 0 1 2 3; do echo "15 6000000"; done)" "$(cat "$work/other-$form"/ended.*)"
    clean "$form" n1 n2
  done
  rm "$scratch/epilog"; [ ! -e "$scratch/epilog.failed" ] || fail "$(cat "$scratch/epilog.failed")"
}
nothing_of() { [ -z "$(on n1 find /dev/shm -path "*pyshm-$1*"; on n2 find /dev/shm -path "*pyshm-$1*")" ]; }
epilogs_ran() { [ "$(grep -c " $1\$" "$scratch/epilog.log" 2>/dev/null)" = "$2" ]; }

# At the time limit a job has some seconds to write a checkpoint; then Slurm kills its processes and runs the epilog.
test_after_the_time_limit_the_epilog_leaves_nothing() {
  local form phase name id ids=() names=()
  touch "$scratch/epilog"
  for form in bare "${FORMS[@]}"; do
    for phase in staging run deaf; do
      name=$form-$phase
      [ $name != bare-staging ] || continue
      case $phase in
        staging) id=$(HELD=1 submit pyuser "$name" "$form" n1,n2 -- 300) ;;
        run) id=$(submit pyuser "$name" "$form" n1,n2 -- 300 TERM) ;;
        deaf) id=$(submit pyuser "$name" "$form" n1,n2 -- 300 deaf) ;;
      esac || fail "sbatch"
      ids+=("$id"); names+=("$name")
    done
  done
  for name in "${names[@]}"; do in_phase "$name" "${name#*-}"; done
  # A time limit is a number of minutes. So set the end of the job instead. slurmctld checks the end every half minute.
  for id in "${ids[@]}"; do on n0 scontrol update "JobId=$id" "EndTime=$(date -d '2 seconds' +%FT%T)" || fail "scontrol"; done
  for id in "${ids[@]}"; do until_true 600 "the end of job $id" is_gone "$id"; until_true 600 "the epilogs of $id" epilogs_ran "$id" 2; done
  for name in "${names[@]}"; do
    grep -q "DUE TO TIME LIMIT" "$work/$name/said" || fail "$name did not end by its time limit: $(cat "$work/$name/said")"
    case $name in
      # Slurm's daemon and srun both send SIGTERM; the kernel merges two pending signals.
      *-run) equal "$name: results, with a checkpoint at the end" "$(for i in 0 1 2 3; do echo "15 6000000 TERM"; done)" "$(sed 's/ TERM TERM$/ TERM/' "$work/$name"/ended.*)" ;;
      *-staging) not_started "$name" n2 ;;
    esac
  done
  clean "the jobs" n1 n2
  rm "$scratch/epilog"; [ ! -e "$scratch/epilog.failed" ] || fail "$(cat "$scratch/epilog.failed")"
}

# If a node has no slurmd when the job ends, Slurm ends the job on this node as soon as slurmd runs again. If a node was
# killed, Slurm ends the job on the other nodes. Then `pyshm gc` or the next staging removes the files that are left in the
# memory of the killed node.
kill_slurmd() { on "$1" bash -c 'kill -KILL "$(cat /run/slurmd.pid)"'; }
# kill_node NODE: kills all processes of a node except the one that holds its namespaces, so that /dev/shm keeps its
# files.
kill_node() {
  on "$1" bash -c 'here=$(readlink /proc/self/ns/mnt); all=()
    for p in /proc/[0-9]*; do [ "$(readlink "$p/ns/mnt")" != "$here" ] || [ "${p#/proc/}" = $$ ] || [ "${p#/proc/}" = "$0" ] || all+=("${p#/proc/}"); done
    kill -KILL "${all[@]}" 2>/dev/null; true' "$(cat "$VCLUSTER_DIR/state/$1.pid")"
}
test_leftovers_of_a_killed_slurmd_or_node_are_removed_later() {
  local kind phase form first=3 name id ids=() names=() nodes=() i
  touch "$scratch/epilog"
  for kind in slurmd node; do
    for phase in staging run; do
      for form in "${FORMS[@]}"; do
        name=$kind-$phase-$form
        id=$(HELD=$([ $phase = run ] || echo 1) submit pyuser "$name" "$form" "n$first,n$((first + 1))" -- 300) || fail "sbatch"
        ids+=("$id"); names+=("$name"); nodes+=("n$first" "n$((first + 1))"); first=$((first + 2))
      done
    done
  done
  for name in "${names[@]}"; do phase=${name#*-}; in_phase "$name" "${phase%-*}"; done
  for i in "${!names[@]}"; do has_stage "${names[i]}" "${nodes[2 * i + 1]}"; "kill_${names[i]%%-*}" "${nodes[2 * i + 1]}"; done
  for i in "${!names[@]}"; do
    [[ ${names[i]} != slurmd-* ]] || { as pyuser n0 scancel "${ids[i]}"; on "${nodes[2 * i + 1]}" slurmd -N "${nodes[2 * i + 1]}" || fail "slurmd"; }
  done
  for i in "${!names[@]}"; do
    until_true 600 "the end of ${names[i]}" is_gone "${ids[i]}"
    [[ ${names[i]} != slurmd-* ]] || { until_true 600 "the epilogs of ${names[i]}" epilogs_ran "${ids[i]}" 2; continue; }
    [ -n "$(left "${nodes[2 * i + 1]}")" ] || fail "${names[i]}: nothing was left to be removed"
    on "${nodes[2 * i + 1]}" slurmd -N "${nodes[2 * i + 1]}" || fail "slurmd"
  done
  for i in "${nodes[@]}"; do until_true 600 "$i" idle "$i" 1; done
  for i in "${!names[@]}"; do
    clean "${names[i]}, the node that lived" "${nodes[2 * i]}"
    [[ ${names[i]} = slurmd-* ]] || as pyuser "${nodes[2 * i + 1]}" "$pyshm" gc >/dev/null || fail "gc"
    clean "${names[i]}, the killed node" "${nodes[2 * i + 1]}"
  done
  rm "$scratch/epilog"; [ ! -e "$scratch/epilog.failed" ] || fail "$(cat "$scratch/epilog.failed")"
}

run_tests
