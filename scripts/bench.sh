#!/usr/bin/env bash
# Runs every benchmark; each prints its floor or peer and us from the same run. Ends with 1 if one misses its claim.
set -uo pipefail
cd "$(dirname "$0")/.."
status=0
for file in benchmarks/*_*.py; do
    .venv/bin/python -m "benchmarks.$(basename "$file" .py)" || status=1
done
exit $status
