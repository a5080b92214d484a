"""Feeds damaged .tflite files to `quantize check` and `quantize inspect`: one core, one process, one seed.

    scripts/fuzz.sh --inputs 1000000 --seed 1

Only a CommandError may come out of a file, within a second of processor time, and memory must stay bounded.
What fails is kept, one file each, in --keep. The seeds are built in code; with --pairs (a folder of recorded
pairs) the small ones among them are used too.
"""

import argparse
import json
import os
import random
import resource
import sys
import time
import traceback
from collections import Counter
from pathlib import Path

from tests.quantize.fuzz import seeds
from tests.quantize.fuzz.harness import PROGRAMS, feed
from tests.quantize.fuzz.mutate import find_places, mutate

LIMIT_S = 1.0
LIMIT_BYTES = 1024 * 1024 * 1024
SEED_BYTES = 50_000
REPORT_EVERY = 50_000
MAX_KEPT = 100


def main() -> int:
    arguments = parse_arguments()
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT_BYTES, LIMIT_BYTES))
    chance = random.Random(arguments.seed)
    corpus = [(content, find_places(content)) for content in load_seeds(arguments.pairs)]
    counts: Counter[str] = Counter()
    slowest_s = 0.0
    started = time.monotonic()
    for number in range(1, arguments.inputs + 1):
        program = PROGRAMS[number % len(PROGRAMS)]
        content = mutate(*chance.choice(corpus), chance)
        begun = time.process_time()
        try:
            counts["read" if feed(program, content) else "refused"] += 1
        except Exception as error:
            counts["failed"] += 1
            keep(arguments.keep, type(error).__name__, program, content, counts["failed"])
        took_s = time.process_time() - begun
        slowest_s = max(slowest_s, took_s)
        if took_s > LIMIT_S:
            counts["slow"] += 1
            keep(arguments.keep, "slow", program, content, counts["slow"])
        if number % REPORT_EVERY == 0 or number == arguments.inputs:
            report(arguments, number, counts, time.monotonic() - started, slowest_s)
    return 1 if counts["failed"] or counts["slow"] else 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, default=Path("build/fuzz"))
    parser.add_argument("--pairs", type=Path, default=os.environ.get("REEFLINE_PAIRS"))
    return parser.parse_args()


def load_seeds(pairs: Path | None) -> list[bytes]:
    built = [seeds.original(), seeds.branches(), seeds.compiled()]
    recorded = sorted(pairs.glob("*.tflite")) if pairs else []
    return built + [path.read_bytes() for path in recorded if path.stat().st_size <= SEED_BYTES]


def keep(folder: Path, what: str, program: str, content: bytes, count: int) -> None:
    """Write what failed, with the traceback beside it."""
    if count > MAX_KEPT:
        return
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{what}-{program}-{count}.tflite"
    path.write_bytes(content)
    path.with_suffix(".txt").write_text(traceback.format_exc())


def report(
    arguments: argparse.Namespace, number: int, counts: Counter, took_s: float, slowest_s: float
) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    line = {
        "seed": arguments.seed,
        "inputs": number,
        **{name: counts[name] for name in ("read", "refused", "failed", "slow")},
        "seconds": round(took_s, 1),
        "slowest_s": round(slowest_s, 3),
        "peak_bytes": peak,
    }
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    sys.exit(main())
