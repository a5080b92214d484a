"""Claim: averages come near one model on all data, with the same options and the same start.

Dealt evenly, the average of round 3 is at most 0.5 points below; by Dirichlet 0.5, that of round 10 2 points.
`python -m benchmarks.train_accuracy [PICTURES [SEED]]`; Fashion-MNIST, cnn3, four shards.
"""

import sys
import tempfile
from pathlib import Path

from benchmarks.timing import cloud_train, describe_machine, judge

PICTURES = 60_000
SHARDS = 4
DEALS = {
    "even, 3 rounds": ((), 3, 0.5),
    "Dirichlet 0.5, 10 rounds": (("--strategy", "dirichlet", "--alpha", "0.5"), 10, 2.0),
}


def main(pictures: int, seed: int) -> int:
    """Train each way and its central model, and judge by how many points it is below."""
    print(f"{pictures:,} pictures, {SHARDS} shards, seed {seed} ({describe_machine()})")
    checks = {}
    for deal, (dealing, rounds, most) in DEALS.items():
        found = train(pictures, seed, dealing, rounds)
        reached = [one["accuracy"] for one in found["rounds"]]
        central = found["central"]["accuracy"]
        shown = " ".join(f"{accuracy:.4f}" for accuracy in reached)
        print(f"  {deal}: rounds {shown}, one model on everything {central:.4f}", flush=True)
        checks[f"points below, {deal}"] = (100 * (central - reached[-1]), most)
    return judge(checks)


def train(pictures: int, seed: int, dealing: tuple[str, ...], rounds: int) -> dict:
    """Return what `cloud-train run --central --json` says."""
    with tempfile.TemporaryDirectory() as name:
        data, size = Path(name, "data"), ("--limit", pictures) if pictures < PICTURES else ()
        dealing = ("--shards", SHARDS, "--seed", seed, *dealing)
        cloud_train("split", "--dataset", "fashion-mnist", *size, *dealing, "--out", data)
        out = ("--rounds", rounds, "--seed", seed, "--central", "--out", Path(name, "run"))
        return cloud_train("run", "--data", data, *out)


if __name__ == "__main__":
    given = [int(argument) for argument in sys.argv[1:]]
    sys.exit(main(*(given + [PICTURES, 0][len(given) :])))
