#!/usr/bin/env bash
# Builds the agent's Debian packages into build/deb/; scripts/deb tells how. The first time it fetches wheels.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh deb
PYTHONPATH=. exec .venv/bin/python scripts/deb "$@"
