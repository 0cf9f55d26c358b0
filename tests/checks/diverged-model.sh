#!/bin/bash
# Tests the diverged set, which all processes of a node share without a lock, in every interleaving that its memory
# orders allow (loom).
set -e
RUSTFLAGS="--cfg loom" cargo test --quiet --release --target-dir target/loom -p pyshm-format --lib loom_
