#!/bin/bash
# stress.sh [SECONDS]: runs the tests of tests/jobs/stress.sh for about SECONDS altogether (default 600). CI runs them for
# a minute. ONLY=TEXT runs only the tests with TEXT in their names.
set -euo pipefail
[[ ${1:-600} =~ ^[0-9]+$ ]] || { echo "usage: stress.sh [SECONDS]" >&2; exit 2; }
STRESS_SECONDS=${1:-600} exec bash "$(dirname "$0")/../jobs/stress.sh"
