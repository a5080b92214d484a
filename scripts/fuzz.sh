#!/usr/bin/env bash
# Damaged .tflite files for `quantize check` and `quantize inspect`; see scripts/fuzz_tflite.py.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHONPATH=. exec .venv/bin/python scripts/fuzz_tflite.py "$@"
