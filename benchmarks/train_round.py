"""Claim: a round of four shards costs at most 1.15 times what the same pictures cost in one process.

`python -m benchmarks.train_round [PICTURES [RUNS]]`; Fashion-MNIST, cnn3, as many trainers as cores.
"""

import os
import sys
import tempfile
from pathlib import Path

from benchmarks.timing import cloud_train, compare, judge
from cloud_train.averaging.rules import average
from cloud_train.averaging.screening import screen
from cloud_train.averaging.settings import Averaging
from cloud_train.averaging.updates import open_update
from cloud_train.data.shards import load_manifest
from cloud_train.runners.jobs import TrainJob
from cloud_train.runners.local import LocalRunner
from cloud_train.training.recipe import Recipe

SHARDS = 4
PICTURES = 60_000
RUNS = 3
MOST = 1.15


def main(pictures: int, runs: int) -> int:
    """Measure a round and its reference in turn, and judge."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = folder / "data"
        dealt = ("--dataset", "fashion-mnist", "--shards", SHARDS, "--limit", pictures)
        cloud_train("split", *dealt, "--out", data)
        cloud_train("init", "--like", data, "--out", folder / "init.npz")
        entries = load_manifest(data).shards
        shards = [(str(data / entry.file.path), entry.examples) for entry in entries]
        steps = {
            "the same pictures in one process": lambda: train(folder, {"all": shards}),
            "a round of four shards, averaged": lambda: take_a_round(folder, shards),
        }
        found = compare(f"A round, {pictures:,} pictures", steps, next(iter(steps)), runs)
    whole, split = found.values()
    return judge({"time, a round to one process": (split / whole, MOST)})


def take_a_round(folder: Path, shards: list[tuple[str, int]]) -> None:
    """Train every shard, screen the updates and average them."""
    train(folder, {f"shard-{index}": [shard] for index, shard in enumerate(shards)})
    updates = [open_update(folder / f"shard-{index}.npz", "a shard") for index in range(len(shards))]
    start = open_update(folder / "init.npz", "the start")
    average([one.update for one in screen(updates, start).kept], Averaging())


def train(folder: Path, clients: dict[str, list[tuple[str, int]]]) -> None:
    """Train one pass for each client on its shards."""
    jobs = [
        TrainJob(
            client,
            tuple(path for path, _ in shards),
            str(folder / "init.npz"),
            epochs=1,
            out=str(folder / f"{client}.npz"),
            examples=sum(examples for _, examples in shards),
        )
        for client, shards in clients.items()
    ]
    runner = LocalRunner(os.cpu_count() or 1, os.environ)
    failures = runner.train(jobs, Recipe(), lambda _: None, timeout_s=None)
    if failures:
        raise SystemExit(f"{failures[0].client}: {failures[0].reason}")


if __name__ == "__main__":
    given = [int(argument) for argument in sys.argv[1:]]
    sys.exit(main(*(given + [PICTURES, RUNS][len(given) :])))
