"""Random lives of a board: what must hold does after every step; each ends with the newest good order."""

import argparse
import logging
import sys
import tempfile
import time
from pathlib import Path

from tests.edge_agent.update_model import live

STEPS = 300


def main() -> int:
    """Live them, print one line of figures, return 1 if any went wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000, help="how many lives")
    parser.add_argument("--seed", type=int, default=20261121)
    chosen = parser.parse_args()
    logging.disable(logging.CRITICAL)
    began_s, bad = time.monotonic(), 0
    for seed in range(chosen.seed, chosen.seed + chosen.count):
        with tempfile.TemporaryDirectory() as folder:
            try:
                live(Path(folder), seed, STEPS)
            except AssertionError as error:
                bad += 1
                print(error)
    print(
        f"updates: seed {chosen.seed}, {chosen.count} lives of {STEPS} steps, {bad} bad, "
        f"{chosen.count * STEPS / (time.monotonic() - began_s):.0f} steps a second"
    )
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
