#!/usr/bin/env bash
# The heavy proof: power cuts, kills, malformed input, a dying broker, a fleet. Prints figures; ends with 1 if one fails.
set -uo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh test
seed=${SEED:-20261121}
status=0
run() {
    echo "== $1"
    PYTHONPATH=. .venv/bin/python "scripts/torture_$1.py" --seed "$seed" "${@:2}" || status=1
}
run power --count 100000
run malformed --count 1000000
run broker
run fleet --devices 10000
run rollouts --count 30
run kill --count 1000
exit $status
