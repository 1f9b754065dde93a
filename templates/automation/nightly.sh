#!/bin/sh
# Opens an endpoint, measures it, and ends it, whatever comes between. Said again on the same day
# it does what is still to be done, and nothing twice.
#
#   nightly.sh [ENDPOINT.yaml [BENCHMARK.yaml]]
#
# The key of the account comes from AKASH_API_KEY, or from the file that AKASH_API_KEY_FILE names.
set -u

name=${NAME:-nightly}
endpoint=${1:-endpoint.yaml}
benchmark=${2:-benchmark.yaml}
runs=${RUNS:-$HOME/akash-llm-runs}/$(date -u +%Y-%m-%d)

[ -e "$runs/done" ] && exit 0

# Done is only what is closed, too: then there is nothing left to be paid for.
finish() {
    code=$?
    trap - EXIT INT TERM
    akash-llm close "$name" || code=$?
    [ "$code" -eq 0 ] && touch "$runs/done"
    exit "$code"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# What is there by its name is adopted, also where this was killed before.
akash-llm notebook run 04_deploy -f "$endpoint" -p name="$name" --out "$runs/deploy" --html &&
    akash-llm notebook run 06_benchmark -f "$benchmark" -p name="$name" \
        --out "$runs/benchmark" --html
