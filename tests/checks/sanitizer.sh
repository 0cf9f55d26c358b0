#!/bin/bash
# The pure code of the shim (index, state, routing decision) under AddressSanitizer. It takes a nightly toolchain.
set -e
if ! rustup toolchain list 2>/dev/null | grep -q '^nightly'; then
  if [ -n "${CI:-}" ]; then echo "no nightly toolchain: install one with rustup" >&2; exit 1; fi
  echo "    no nightly toolchain: not checked here"; exit 0
fi
export RUSTFLAGS="-Zsanitizer=address" ASAN_OPTIONS=detect_leaks=0
target=$(rustc +nightly -vV | sed -n 's/^host: //p')
cargo +nightly test --quiet --target "$target" --target-dir target/sanitizer -p pyshm-format --features pyshm-format/build
cargo +nightly test --quiet --target "$target" --target-dir target/sanitizer -p pyshm-core --lib
