#!/bin/sh
# Opens an endpoint, measures it, and ends it. Said again on the same day it does what is still to
# be done, and nothing twice.
#
#   nightly.sh [ENDPOINT.yaml [BENCHMARK.yaml]]
#
# The key of the account comes from AKASH_API_KEY, or from the file that AKASH_API_KEY_FILE names.
set -u

endpoint=${1:-endpoint.yaml}
benchmark=${2:-benchmark.yaml}
name=$(sed -n 's/^name: *//p' "$endpoint")
runs=${RUNS:-$HOME/akash-llm-runs}/$(date -u +%Y-%m-%d)

if [ -n "${AKASH_API_KEY_FILE:-}" ]; then
    AKASH_API_KEY=$(cat "$AKASH_API_KEY_FILE") || exit 4
    export AKASH_API_KEY
fi

[ -e "$runs/done" ] && exit 0

# What is there by its name is adopted, also where this was killed before.
akash-llm notebook run 04_deploy -f "$endpoint" --out "$runs/deploy" --html &&
    akash-llm notebook run 06_benchmark -f "$benchmark" --out "$runs/benchmark" --html &&
    touch "$runs/done"
code=$?

# A run that failed has closed what it opened; one that went well keeps it, for the next notebook.
if akash-llm status --json | grep -q "\"name\":\"$name\""; then
    akash-llm close "$name" || code=$?
fi
exit "$code"
