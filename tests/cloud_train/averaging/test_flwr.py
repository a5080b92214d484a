"""flwr is the peer: the same numbers from the same updates, and what each does with a bad one."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.peers import flwr_process as peer
from cloud_train.averaging.rules import average
from cloud_train.averaging.screening import screen
from cloud_train.averaging.settings import Averaging
from cloud_train.training.weights import save_weights
from tests.cloud_train.averaging.conftest import held, random_updates

pytestmark = pytest.mark.skipif(not peer.is_there(), reason=peer.MISSING)

COUNTS = [600, 37, 1500, 8, 210, 999]


@pytest.fixture(scope="module")
def updates():
    """Six updates of very unequal shards."""
    found = random_updates(len(COUNTS), seed=5, shape=(300, 17))
    return [replace(one, num_examples=count) for one, count in zip(found, COUNTS, strict=True)]


@pytest.fixture(scope="module")
def flwr(updates, tmp_path_factory):
    folder = tmp_path_factory.mktemp("updates")
    for index, update in enumerate(updates):
        save_weights(update, folder / f"{index}.npz")
    bad = replace(updates[0], tensors=(updates[0].tensors[0].copy(),))
    bad.tensors[0][0, 0] = np.nan
    save_weights(bad, folder / "99.npz")
    with peer.flwr(folder) as running:
        yield running


def aggregated(flwr, rule, order, counts):
    (found,) = flwr.aggregated(rule, order, counts)
    return found


@pytest.mark.parametrize("rule", ["fedavg", "median", "trimmed-mean", "krum"])
def test_our_rules_give_the_numbers_of_flwr(rule, flwr, updates):
    """To 1e-6, with unequal counts."""
    ours = average(held(updates), Averaging(rule=rule, trim=0.2, krum_f=1)).tensors[0]
    theirs = aggregated(flwr, rule, range(6), COUNTS)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)


def test_flwr_changes_with_the_order_and_we_do_not(flwr, updates):
    """Six orders: several digests there, one here."""
    orders = list(itertools.permutations(range(6)))[::120]
    theirs = {aggregated(flwr, "fedavg", order, [COUNTS[k] for k in order]).tobytes() for order in orders}
    ours = {average(held([updates[k] for k in order]), Averaging()).digest() for order in orders}
    assert len(theirs) > 1 and len(ours) == 1


def test_minus_five_examples_turn_flwr_around_and_are_left_out_here(flwr, updates):
    """There the client counts against its own update, silently; here it is named."""
    counts = [-5, *COUNTS[1:]]
    theirs = aggregated(flwr, "fedavg", range(6), counts)
    weighted = sum(n * one.tensors[0].astype(np.float64) for n, one in zip(counts, updates, strict=True))
    np.testing.assert_allclose(theirs, weighted / sum(counts), atol=1e-5)
    found = screen(held([replace(updates[0], num_examples=-5), *updates[1:]]), None)
    assert [one.client for one in found.left_out] == ["client-0"]
    ours = average([one.update for one in found.kept], Averaging()).tensors[0]
    np.testing.assert_allclose(ours, aggregated(flwr, "fedavg", range(1, 6), COUNTS[1:]), atol=1e-6)


def test_one_nan_poisons_flwr_and_is_left_out_here(flwr, updates):
    """A single value of one client makes a weight of everybody's model NaN there."""
    assert np.isnan(aggregated(flwr, "fedavg", [0, 1, 99], [10, 10, 10])).sum() == 1
    tensor = updates[0].tensors[0].copy()
    tensor[0, 0] = np.nan
    found = screen(held([replace(updates[0], tensors=(tensor,)), *updates[1:]]), None)
    assert [one.client for one in found.left_out] == ["client-0"]
