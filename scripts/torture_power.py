"""Cuts the power between any two operations of an update, very often; prints what became of the boards."""

import argparse
import logging
import sys
import time

from host_cli.progress import progress
from tests.powercut.explorer import MAX_CUTS, MAX_FETCHED_AGAIN, Explorer


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=20261121)
    parser.add_argument("--count", type=int, default=100_000, help="states to boot")
    args = parser.parse_args()
    logging.disable(logging.CRITICAL)
    began_s = time.monotonic()
    with progress("cutting the power", args.count, "states") as advance:
        figures = Explorer(args.seed, lambda: advance(1)).explore(args.count)
    for failure in figures.failures:
        print(failure, file=sys.stderr)
    print(
        f"power cuts: seed {args.seed}, {figures.states} states ({len(figures.contents)} different disks), "
        f"{figures.bricked} bricked, {figures.given_up} given up after {MAX_CUTS} cuts in the self-test, "
        f"at most {figures.max_boots} boots, at most {100 * figures.most_fetched_again:.2f} % fetched again, "
        f"{time.monotonic() - began_s:.0f} s"
    )
    is_good = figures.max_boots <= MAX_CUTS and figures.most_fetched_again <= MAX_FETCHED_AGAIN
    return int(figures.bricked > 0 or not is_good)


if __name__ == "__main__":
    sys.exit(main())
