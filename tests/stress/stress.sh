#!/bin/bash
# The shim under stress for about SECONDS in all (600): bash tests/stress/stress.sh [SECONDS]
# The parts are those of tests/jobs/stress.sh, which CI runs for a minute; ONLY=… chooses some by a part of their names.
set -euo pipefail
[[ ${1:-600} =~ ^[0-9]+$ ]] || { echo "usage: stress.sh [SECONDS]" >&2; exit 2; }
STRESS_SECONDS=${1:-600} exec bash "$(dirname "$0")/../jobs/stress.sh"
