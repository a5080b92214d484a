#!/usr/bin/env bash
# Style, types, import rules, and what CPython 3.7 cannot read.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=.venv/bin
$bin/ruff check --quiet .
$bin/ruff format --quiet --check .
$bin/mypy --no-error-summary
$bin/lint-imports --no-cache >/tmp/lint-imports.$$ || { cat /tmp/lint-imports.$$; rm -f /tmp/lint-imports.$$; exit 1; }
rm -f /tmp/lint-imports.$$
$bin/vermin --quiet --no-tips -t=3.7- --violations contract edge_agent packaging quantize/oldest_child.py
echo "check: style, types, import rules and Python 3.7 are fine"
