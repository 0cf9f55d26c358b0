#!/bin/bash
# Tests the diverged set with loom. All processes of a node share this set without a lock. loom tries every interleaving
# that the memory orders of the code allow.
set -e
RUSTFLAGS="--cfg loom" cargo test --quiet --release --target-dir target/loom -p pyshm-format --lib loom_
