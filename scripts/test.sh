#!/usr/bin/env bash
# Sets up, checks the house, runs every test; those of contract and edge_agent on CPython 3.7 too.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh test
scripts/check.sh
if [ -x .venv37/bin/python ]; then
    .venv37/bin/python -m pytest -q tests/contract tests/edge_agent
else
    echo "skipped on CPython 3.7: none found"
fi
.venv/bin/python -m pytest -q
