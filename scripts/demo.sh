#!/usr/bin/env bash
# Runs the whole way on this computer: set up, then scripts/demo tells the story.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh demo
exec .venv/bin/python scripts/demo "$@"
