"""Batches: scaled, in order, and never more in memory than is under way."""

import numpy as np

from cloud_train.data.samples import Samples
from cloud_train.data.views import Chosen
from cloud_train.training.batches import batches, shuffled_places
from tests.cloud_train.conftest import make_samples

WHOLE = make_samples(15)


def test_batches_are_scaled_and_in_order():
    """input = pixel * scale + offset, the last batch short."""
    places = shuffled_places(15, seed=1, passes=0)
    assert sorted(places) == list(range(15))
    found = [(x.numpy(), y.numpy()) for x, y in batches(WHOLE, places, 4, (1 / 127.5, -1.0))]
    assert [len(y) for _, y in found] == [4, 4, 4, 3]
    expected = WHOLE.x[places].astype(np.float32) / np.float32(127.5) - 1
    assert np.array_equal(np.concatenate([x for x, _ in found]), expected)
    assert np.array_equal(np.concatenate([y for _, y in found]), WHOLE.y[places])


def test_a_shard_larger_than_memory_is_read_in_blocks(tmp_path, monkeypatch):
    """Of 4 GB of pictures on disk only the batches under way are asked for."""
    count = 20_000
    path = tmp_path / "x"
    with path.open("wb") as file:
        file.truncate(count * 256 * 256 * 3)  # a hole, that takes no place on disk
    x = np.memmap(path, np.uint8, "r", shape=(count, 256, 256, 3))
    asked = []

    class Asked(Chosen):
        def take(self, chosen):
            asked.append(len(chosen))
            return super().take(chosen)

    huge = Asked(Samples(x, np.zeros(count, np.int64)), np.arange(count))
    x, _ = next(iter(batches(huge, shuffled_places(count, 0, 0), 16, (1 / 255, 0.0))))
    assert x.shape == (16, 256, 256, 3)
    assert max(asked) * 256 * 256 * 3 <= 16 * 1024 * 1024
