"""FedAvg: right weighting, the same bits in every order, bad updates refused by name."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from cloud_train.averaging.fedavg import BadUpdate, advance, average
from tests.cloud_train.conftest import make_weights


def test_a_larger_shard_counts_for_more():
    """Shards of 30 and 10 examples weigh three to one."""
    averaged = average([make_weights("a", 30, 1.0), make_weights("b", 10, 5.0)])
    assert averaged.num_examples == 40
    for tensor in averaged.tensors:
        np.testing.assert_array_equal(tensor, np.float32(2.0))
        assert tensor.dtype == np.float32


def test_arrival_order_does_not_change_a_bit():
    """All 120 orders give the same bytes, even where huge values cancel and small ones get lost."""
    random = np.random.default_rng(3)
    small = [random.normal(size=(7, 5)).astype(np.float32) for _ in range(3)]
    huge = (random.normal(size=(7, 5)) * 1e16).astype(np.float32)
    updates = [replace(make_weights("same"), tensors=(tensor,)) for tensor in (huge, -huge, *small)]
    digests = {average(order).digest() for order in itertools.permutations(updates)}
    assert len(digests) == 1


def test_the_average_of_one_is_itself():
    """Nothing is lost on the way through float64."""
    update = replace(make_weights(), tensors=(np.array([0.1, 1e-30, -3e38], np.float32),))
    assert average([update]).digest() == update.digest()


BAD = {
    "NaN or infinite": (np.full((2, 3), np.nan, np.float32), np.ones(3, np.float32)),
    "tensor 1 has NaN or infinite": (np.ones((2, 3), np.float32), np.full(3, np.inf, np.float32)),
    "shapes": (np.ones((3, 2), np.float32), np.ones(3, np.float32)),
    "float64": (np.ones((2, 3)), np.ones(3, np.float32)),
}


@pytest.mark.parametrize("reason", BAD)
def test_a_bad_update_is_refused_by_name(reason):
    """NaN, infinity, other shapes and other dtypes never reach the average."""
    bad = replace(make_weights("shard-7"), tensors=BAD[reason])
    with pytest.raises(BadUpdate, match=f"shard-7: .*{reason}"):
        average([make_weights("shard-0"), bad])


@pytest.mark.parametrize("num_examples", [0, -5])
def test_an_update_without_examples_is_refused(num_examples):
    """A weight of zero or less would be a division by zero, or turn the average around."""
    with pytest.raises(BadUpdate, match=f"shard-1: .*{num_examples} examples"):
        average([make_weights("shard-0"), make_weights("shard-1", num_examples)])


def test_no_updates_are_no_average():
    """An empty list is an error, not an empty model."""
    with pytest.raises(BadUpdate, match="no updates"):
        average([])


def test_without_momentum_the_average_stays_as_it_is():
    """Momentum 0 is plain FedAvg, to the last bit."""
    before, averaged = make_weights(value=0.1), make_weights(value=0.7)
    moved, _ = advance(before, averaged, None, 0.0)
    assert moved.digest() == averaged.digest()


def test_momentum_goes_on_in_the_direction_of_the_rounds():
    """Steps of 1 from 0: with momentum 0.5 the first lands at 1.5, the next step of 1 at 3.25."""
    first, velocity = advance(make_weights(value=0), make_weights(value=1), None, 0.5)
    assert first.tensors[0][0, 0] == 1.5
    second, _ = advance(first, make_weights(value=2.5), velocity, 0.5)
    assert second.tensors[0][0, 0] == 3.25
