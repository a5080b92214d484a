"""Claims: averaging takes at most flwr's time, the same bits in every order; an update is its raw bytes.

`python -m benchmarks.train_average [RUNS]`; 10 updates of cnn3 (241,546 parameters).
"""

import itertools
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.peers import flwr_process as peer
from benchmarks.timing import compare, describe_machine, judge
from cloud_train.averaging.rules import average
from cloud_train.averaging.screening import screen
from cloud_train.averaging.settings import Averaging
from cloud_train.averaging.updates import HeldUpdate, open_update
from cloud_train.data.samples import Array
from cloud_train.training.weights import Architecture, Weights, save_weights

# Of cnn3 on 28 x 28 grey pictures with ten labels.
SHAPES = [(3, 3, 1, 32), (32,), (3, 3, 32, 64), (64,), (3, 3, 64, 128), (128,), (3, 3, 128, 128), (128,)]
SHAPES += [(1, 1, 128, 10), (10,)]
UPDATES = 10
ORDERS = 24
MOST_TIME = 1.0
MOST_BYTES = 1.01
RUNS = 15


def main(runs: int) -> int:
    """Measure and judge; without flwr only what needs no peer."""
    updates = make_updates()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for index, update in enumerate(updates):
            save_weights(update, folder / f"{index}.npz")
        claims = measure_bytes(updates[0], folder / "0.npz")
        if not peer.is_there():
            print(f"\nskipped, no comparison: {peer.MISSING}")
            return judge(claims)
        with peer.flwr(folder) as flwr:
            claims |= measure_time(updates, folder, flwr, runs)
            claims |= measure_orders(updates, flwr)
    return judge(claims)


def make_updates() -> list[Weights]:
    """Return updates of unequal shards, seeded."""
    random = np.random.default_rng(0)
    architecture = Architecture("cnn3", (28, 28, 1), 10)
    return [
        Weights(
            architecture,
            f"shard-{index}",
            int(random.integers(1000, 9000)),
            1,
            tuple(random.normal(0, 0.05, shape).astype(np.float32) for shape in SHAPES),
            {},
        )
        for index in range(UPDATES)
    ]


def measure_time(
    updates: list[Weights], folder: Path, flwr: peer.Flwr, runs: int
) -> dict[str, tuple[float, float]]:
    """Compare medians, in turn in the same run; both have the updates in memory."""
    counts = [update.num_examples for update in updates]
    held, how = [HeldUpdate(update) for update in updates], Averaging()

    def from_files() -> object:
        stored = [open_update(folder / f"{index}.npz", str(index)) for index in range(UPDATES)]
        return average([one.update for one in screen(stored, stored[0]).kept], how)

    steps = {
        "flwr, in memory": lambda: flwr.aggregate("fedavg", range(UPDATES), counts),
        "ours, in memory": lambda: average(held, how),
        "ours, screened, from files": from_files,
    }
    found = compare(f"{UPDATES} x {parameters():,} parameters, FedAvg", steps, "flwr, in memory", runs)
    return {"time, ours to flwr": (found["ours, in memory"] / found["flwr, in memory"], MOST_TIME)}


def measure_orders(updates: list[Weights], flwr: peer.Flwr) -> dict[str, tuple[float, float]]:
    """Count the results of different orders of arrival."""
    # Orders of the first four, spread over all that ten have.
    orders = [(*order, *range(4, UPDATES)) for order in itertools.permutations(range(4))]
    counts = [update.num_examples for update in updates]
    ours = {average([HeldUpdate(updates[k]) for k in order], Averaging()).digest() for order in orders}
    theirs = [flat(flwr.aggregated("fedavg", order, [counts[k] for k in order])) for order in orders]
    results = len({one.tobytes() for one in theirs})
    print(f"\n{len(orders)} orders of arrival: flwr has {results} results, we have {len(ours)}")
    changed = np.mean(np.ptp(np.stack(theirs), axis=0) > 0)
    print(f"  flwr: {changed:.0%} of the parameters change with the order")
    return {"results of all orders": (len(ours), 1)}


def flat(tensors: list[Array]) -> Array:
    """Return all values in a row."""
    return np.concatenate([tensor.reshape(-1) for tensor in tensors])


def measure_bytes(update: Weights, path: Path) -> dict[str, tuple[float, float]]:
    """Compare the file of an update with its float32 values alone."""
    raw_bytes = sum(tensor.nbytes for tensor in update.tensors)
    file_bytes = path.stat().st_size
    print(f"\nAn update on the wire ({describe_machine()}): {file_bytes:,} bytes, raw {raw_bytes:,}")
    return {"bytes, file to raw": (file_bytes / raw_bytes, MOST_BYTES)}


def parameters() -> int:
    """Return how many values the model has."""
    return sum(int(np.prod(shape)) for shape in SHAPES)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else RUNS))
