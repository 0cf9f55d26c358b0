#!/bin/bash
# Checks the licenses and sources of all dependencies against deny.toml. cargo-deny is built once, into target/tools.
set -e
deny=target/tools/bin/cargo-deny
[ -x "$deny" ] || cargo install cargo-deny --locked --quiet --root target/tools
"$deny" --all-features check bans licenses sources
