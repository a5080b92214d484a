#!/usr/bin/env bash
# Proves the agent on a virtual board: builds its disk and the packages where they are not there, then tells its story.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh test
scripts/board.sh
scripts/deb.sh
# In a network of its own the board has the addresses that a real one has on USB, and meets nobody else.
exec unshare --net sh -c 'ip link set lo up && exec "$@"' sh \
    timeout --signal=INT --kill-after=60 "${LIMIT_S:-1800}" \
    .venv/bin/python -m pytest -q --exitfirst --timeout 600 "${@:-tests/board}"
