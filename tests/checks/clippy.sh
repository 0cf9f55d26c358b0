#!/bin/bash
# No lint complains, with and without MPI (the feature needs an MPI library; docs/build.sh compiles that part too).
cargo clippy --workspace --all-targets --quiet -- -D warnings
