#!/usr/bin/env bash
# The heavy proof: power cuts, nonsense, a dying broker, kills, a fleet. Prints figures; ends with 1 if one fails.
set -uo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh test
seed=${SEED:-20261121}
status=0
torture() {
    PYTHONPATH=. .venv/bin/python "scripts/torture_$1.py" --seed "$seed" "${@:2}"
}
# Starting Python a thousand times takes longest, and one core: the others go on beside it.
torture kill --count 1000 &
kills=$!
torture power --count 100000 || status=1
torture malformed --count 1000000 || status=1
torture updates --count 600 || status=1
torture broker || status=1
torture rollouts --count 30 || status=1
# With this seed the canaries pass, so that the rings are reached.
torture fleet --devices 10000 --seed 0 || status=1
wait "$kills" || status=1
exit $status
