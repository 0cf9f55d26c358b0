#!/bin/bash
# Tests with loom the diverged set, which all processes of a node share without a lock. loom tries every interleaving that
# the memory orders of the code allow.
set -e
RUSTFLAGS="--cfg loom" cargo test --quiet --release --target-dir target/loom -p pyshm-format --lib loom_
