#!/bin/bash
# Runs clippy without MPI and with it; any warning is an error.
set -e
cargo clippy --workspace --all-targets --quiet -- -D warnings
MPICC=$(bash tests/env/mpich-bin.sh target/test-env)/mpicc cargo clippy --quiet --target-dir target/mpich -p pyshm --features mpi --bin pyshm-bcast -- -D warnings
