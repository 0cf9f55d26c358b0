#!/bin/bash
# Tests the parts of the shim that make no system calls (index, state, decision) under AddressSanitizer; needs a nightly
# toolchain.
set -e
if ! rustup toolchain list 2>/dev/null | grep -q '^nightly'; then
  if [ -n "${CI:-}" ]; then echo "no nightly toolchain: install one with rustup" >&2; exit 1; fi
  echo "    not checked: there is no nightly toolchain; install one with rustup"; exit 0
fi
export RUSTFLAGS="-Zsanitizer=address" ASAN_OPTIONS=detect_leaks=0
target=$(rustc +nightly -vV | sed -n 's/^host: //p')
cargo +nightly test --quiet --target "$target" --target-dir target/sanitizer -p pyshm-format --features pyshm-format/build
cargo +nightly test --quiet --target "$target" --target-dir target/sanitizer -p pyshm-core --lib
