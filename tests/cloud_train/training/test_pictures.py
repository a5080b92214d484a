"""Pictures by their places: chains and parts give what one array would give."""

import numpy as np
import pytest

from cloud_train.data.samples import BadSamples, Samples
from cloud_train.training.batches import batches, shuffled_places
from cloud_train.training.pictures import Chain, Part, hold_out
from tests.cloud_train.conftest import make_samples

PARTS = [make_samples(count, seed=count) for count in (5, 1, 9)]
WHOLE = Samples(np.concatenate([part.x for part in PARTS]), np.concatenate([part.y for part in PARTS]))


def test_a_chain_is_its_parts_in_a_row():
    """In any order, over the borders between the parts."""
    chain, places = Chain(PARTS), np.array([14, 0, 5, 4, 6, 5])
    assert np.array_equal(chain.y, WHOLE.y)
    found = chain.take(places)
    assert np.array_equal(found.x, WHOLE.x[places]) and np.array_equal(found.y, WHOLE.y[places])


def test_shards_of_different_pictures_are_no_chain():
    """8 x 8 and 4 x 8 do not fit into one batch."""
    other = Samples(np.zeros((2, 4, 8, 1), np.uint8), np.zeros(2, np.int64))
    with pytest.raises(BadSamples, match=r"\(4, 8, 1\) and \(8, 8, 1\)"):
        Chain([PARTS[0], other])


def test_nothing_is_lost_when_a_part_is_held_out():
    """Every picture is on one side; the seed decides which."""
    learned, held = hold_out(Chain(PARTS), 0.2, seed=3)
    assert (len(learned.y), len(held.y)) == (12, 3)
    both = np.concatenate([part.take(np.arange(len(part.y))).x for part in (learned, held)])
    assert sorted(map(bytes, both)) == sorted(map(bytes, WHOLE.x))
    again, other = (hold_out(Chain(PARTS), 0.2, seed)[1] for seed in (3, 4))
    assert np.array_equal(again._places, held._places)
    assert not np.array_equal(other._places, held._places)


@pytest.mark.parametrize("share", [0.0, 1.0, 0.01, float("nan"), -1.0])
def test_a_share_that_leaves_nothing_is_refused(share):
    """To learn from, or to measure with."""
    with pytest.raises(BadSamples, match="of 15 pictures"):
        hold_out(WHOLE, share, seed=0)


def test_batches_are_scaled_and_in_order():
    """input = pixel * scale + offset, the last batch short."""
    places = shuffled_places(15, seed=1, passes=0)
    assert sorted(places) == list(range(15))
    found = [(x.numpy(), y.numpy()) for x, y in batches(Chain(PARTS), places, 4, (1 / 127.5, -1.0))]
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

    class Asked(Part):
        def take(self, chosen):
            asked.append(len(chosen))
            return super().take(chosen)

    huge = Asked(Samples(x, np.zeros(count, np.int64)), np.arange(count))
    x, _ = next(iter(batches(huge, shuffled_places(count, 0, 0), 16, (1 / 255, 0.0))))
    assert x.shape == (16, 256, 256, 3)
    assert max(asked) * 256 * 256 * 3 <= 16 * 1024 * 1024
