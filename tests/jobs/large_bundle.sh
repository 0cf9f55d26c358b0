#!/bin/bash
# Tests that a bundle of more than 2 GiB is broadcast to two nodes without errors, and that the helper's memory does not
# grow with the bundle's size. The data does not compress. LARGE=BYTES sets the size; ROOT=DIR sets the directory for the
# stages.
. "$(dirname "$0")/harness.sh"
cluster_up 2
bundle=$(bundle_of venv "$venv") || exit 1

test_a_bundle_over_two_gibibytes_is_broadcast_with_little_memory() {
  mkdir "$scratch/prefix"; head -c "${LARGE:-2300000000}" /dev/urandom >"$scratch/prefix/data"; echo small >"$scratch/prefix/small"
  "$pyshm" bundle env "$scratch/prefix" -o "$scratch/big.tar.zst" -q || fail "bundling"
  [ "$(stat -c %s "$scratch/big.tar.zst")" -gt $((2 << 30)) ] || fail "the bundle is too small for this test"
  printf '#!/bin/sh\nexec python3 %s %s %s/target/pyshm/libexec/pyshm-bcast-mpich "$@"\n' "$tools/peak.py" "$work/peak" "$top" >"$work/helper"
  chmod +x "$work/helper"
  cat >"$work/hash.py" <<'PY'
import hashlib, os, sys
from mpi4py import MPI
with open(sys.argv[1] + "/data", "rb") as file:
    digest = hashlib.file_digest(file, "sha256").hexdigest()
where = os.readlink("/proc/self/fd/%d" % os.open(sys.argv[1] + "/data", os.O_RDONLY))
with open(f"{sys.argv[2]}/{MPI.COMM_WORLD.rank}", "w") as file:
    print(digest, file=file)
PY
  mkdir "$work/out"
  launch_words hydra root 2 2
  local begun=$SECONDS
  "${LOGIN[@]}" env PYTHONPATH="$scratch/prefix" PYSHM_BCAST="$work/helper" bash "$tools/trace.sh" "$work/trace" "$pyshm_run" --no-fallback --summary ${ROOT:+--root "$ROOT"} -b "$bundle" -b "$scratch/big.tar.zst" \
    "${LAUNCH[@]}" "$PYTHON" "$work/hash.py" "$scratch/prefix" "$work/out" || fail "the job"
  note "$(stat -c %s "$scratch/big.tar.zst") bytes of data that does not compress: the job took $((SECONDS - begun)) s"
  local expected; expected=$(sha256sum "$scratch/prefix/data" | cut -d' ' -f1)
  equal "rank 0's data" "$expected" "$(cat "$work/out/0")"
  equal "rank 1's data" "$expected" "$(cat "$work/out/1")"
  equal "times the bundle was opened" 1 "$(grep -cE "open(at)?\(.*\"$scratch/big.tar.zst\"" "$work/trace")"
  local node peak
  for node in n1 n2; do
    peak=$(cat "$work/peak.$node") || fail "no measurement on $node"
    note "peak memory of pyshm-bcast on $node: $((peak / 1000)) MB"
    [ "$peak" -lt 150000 ] || fail "pyshm-bcast used $peak kB of memory on $node, expected less than 150000"
  done
}

run_tests
