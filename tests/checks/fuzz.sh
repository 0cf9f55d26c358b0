#!/bin/bash
# Fuzzes the parsers of untrusted input: manifest, index, foreign tars, the environment. No input may make them panic,
# read out of bounds or take unlimited memory. Each target of tests/fuzz runs for FUZZ_SECONDS (default 15). The script
# needs a nightly toolchain, but not cargo-fuzz, because it passes cargo-fuzz's flags itself. Inputs that fail are kept in
# target/fuzz/found.
set -e
if ! rustup toolchain list 2>/dev/null | grep -q '^nightly'; then
  if [ -n "${CI:-}" ]; then echo "no nightly toolchain: install one with rustup" >&2; exit 1; fi
  echo "    not fuzzed: there is no nightly toolchain; install one with rustup"; exit 0
fi
target=$(rustc +nightly -vV | sed -n 's/^host: //p')
flags="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
flags="$flags -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
RUSTFLAGS="$flags -Zsanitizer=address -Ccodegen-units=1 -Cdebug-assertions" cargo +nightly build --quiet --release --locked \
  --manifest-path tests/fuzz/Cargo.toml --target "$target" --target-dir target/fuzz
mkdir -p target/fuzz/found
for name in manifest index tar environment; do
  corpus=target/fuzz/corpus/$name
  mkdir -p "$corpus"
  if ! ASAN_OPTIONS=detect_leaks=0 "target/fuzz/$target/release/$name" "$corpus" "tests/fuzz/corpus/$name" \
      -max_total_time="${FUZZ_SECONDS:-15}" -timeout=10 -rss_limit_mb=1024 -max_len=65536 \
      -artifact_prefix=target/fuzz/found/ >"target/fuzz/$name.log" 2>&1; then
    echo "fuzz target $name:" >&2
    tail -n 40 "target/fuzz/$name.log" >&2
    exit 1
  fi
  grep -q 'stat::\|Done' "target/fuzz/$name.log" || { echo "fuzz target $name did not run" >&2; exit 1; }
done
