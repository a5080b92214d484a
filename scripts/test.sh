#!/usr/bin/env bash
# Sets up, checks the house, runs every test; those of contract and edge_agent on CPython 3.7 too, at the same time.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh test
said=$(mktemp)
board=
trap 'kill $board 2>/dev/null || true; rm -f "$said"' EXIT
if [ -x .venv37/bin/python ]; then
    .venv37/bin/python -m pytest -q -p no:cacheprovider tests/contract tests/edge_agent >"$said" 2>&1 &
    board=$!
else
    echo "skipped on CPython 3.7: none found"
fi
status=0
scripts/check.sh && .venv/bin/python -m pytest -q || status=1
if [ -n "$board" ]; then
    wait "$board" || status=1
    board=
    echo "contract and edge_agent on CPython 3.7:"
    cat "$said"
fi
exit "$status"
