#!/bin/bash
# Checks that the code is formatted.
cargo fmt --all --check
