"""What shards that differ cost: accuracy by round, for each way of dealing out and each kind of server.

`python -m benchmarks.skew [PICTURES [ROUNDS [SHARDS [SEED]]]]`; Fashion-MNIST, cnn3. It claims nothing:
docs/averaging.md has the table that it printed.
"""

import sys
import tempfile
from pathlib import Path

from benchmarks.timing import cloud_train, describe_machine

DEFAULTS = (12_000, 5, 4, 0)
DEALS = {
    "iid": (),
    "dirichlet 0.5": ("--strategy", "dirichlet", "--alpha", "0.5"),
    "label-skew, 3 labels": ("--strategy", "label-skew", "--classes-per-shard", "3"),
}
SERVERS = {
    "FedAvg": ("--momentum", "0"),
    "FedAvg, no warm-up": ("--momentum", "0", "--warm-up", "0"),
    "momentum 0.7": (),
    "FedProx 0.01": ("--momentum", "0", "--proximal", "0.01"),
    "FedProx 0.01, momentum 0.7": ("--proximal", "0.01"),
    "FedAdam 0.01": ("--server", "adam", "--server-rate", "0.01"),
}


def main(pictures: int, rounds: int, shards: int, seed: int) -> None:
    """Train every combination, and print a Markdown table."""
    print(f"{pictures:,} pictures, {shards} shards, {rounds} rounds, seed {seed} ({describe_machine()})\n")
    print("| shards | server | accuracy of each round |\n|---|---|---|", flush=True)
    for deal, dealing in DEALS.items():
        with tempfile.TemporaryDirectory() as name:
            data = Path(name, "data")
            size = ("--shards", shards, "--limit", pictures, "--seed", seed)
            cloud_train("split", "--dataset", "fashion-mnist", *size, *dealing, "--out", data)
            for index, (server, options) in enumerate(SERVERS.items()):
                out = Path(name, f"run-{index}")
                common = ("--data", data, "--out", out, "--rounds", rounds, "--seed", seed)
                found = cloud_train("run", *common, *options)
                shown = " ".join(f"{one['accuracy']:.4f}" for one in found["rounds"])
                print(f"| {deal} | {server} | {shown} |", flush=True)


if __name__ == "__main__":
    given = [int(argument) for argument in sys.argv[1:]]
    main(*(given + list(DEFAULTS)[len(given) :]))
