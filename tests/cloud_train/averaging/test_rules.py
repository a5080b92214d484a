"""The rules: right weighting, the same bits in every order, robust where they say so, bounded memory."""

import itertools
import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud_train.averaging.rules import TooFewUpdates, average, krum, squared_distances
from cloud_train.averaging.settings import RULES, Averaging
from cloud_train.training.weights import MOVING_MEAN, MOVING_VARIANCE, save_weights
from tests.cloud_train.averaging.conftest import (
    batch_norm_update,
    held,
    random_updates,
    stored,
    updates_of,
)
from tests.cloud_train.conftest import make_weights


def value_of(weights):
    return float(weights.tensors[0].reshape(-1)[0])


def test_a_larger_shard_counts_for_more():
    """Shards of 30 and 10 examples weigh three to one."""
    averaged = average(held([make_weights("a", 30, 1.0), make_weights("b", 10, 5.0)]), Averaging())
    assert averaged.num_examples == 40
    for tensor in averaged.tensors:
        np.testing.assert_array_equal(tensor, np.float32(2.0))
        assert tensor.dtype == np.float32


def test_the_average_of_one_is_itself():
    """Nothing is lost on the way through float64, by no rule."""
    update = replace(make_weights(), tensors=(np.array([0.1, 1e-30, -3e38], np.float32),), roles=())
    for rule in ("fedavg", "median", "trimmed-mean"):
        assert average(held([update]), Averaging(rule=rule)).digest() == update.digest()


@pytest.mark.parametrize("rule", RULES)
def test_arrival_order_does_not_change_a_bit(rule):
    """24 orders give one digest, even where huge values cancel and small ones get lost."""
    random = np.random.default_rng(3)
    small = [random.normal(size=(7, 5)) for _ in range(3)]
    huge = random.normal(size=(7, 5)) * 1e16
    updates = updates_of([huge, -huge, *small], [10, 10, 13, 17, 19])
    orders = list(itertools.permutations(updates))[::5]
    assert len(orders) == 24
    assert len({average(held(order), Averaging(rule=rule)).digest() for order in orders}) == 1


@settings(deadline=None, max_examples=30)
@given(order=st.permutations(range(7)), seed=st.integers(0, 2**16))
def test_no_order_of_any_updates_changes_a_bit(order, seed):
    """Whatever the values and the counts."""
    updates = random_updates(7, seed)
    for rule in RULES:
        shuffled = [updates[place] for place in order]
        how = Averaging(rule=rule)
        assert average(held(shuffled), how).digest() == average(held(updates), how).digest()


def test_the_median_does_not_care_how_bad_a_minority_is():
    """Two of five say 1e30; the middle of the others counts, and an even number gives the mean of two."""
    assert value_of(average(held(updates_of([[1], [2], [1e30], [3], [1e30]])), Averaging(rule="median"))) == 3
    assert value_of(average(held(updates_of([[1], [2], [4], [9]])), Averaging(rule="median"))) == 3


def test_a_trimmed_mean_leaves_a_share_out_at_each_end():
    """A fifth of five updates: the lowest and the highest; counts do not matter."""
    updates = updates_of([[1], [2], [6], [-1e30], [1e30]], [1, 1, 1, 1, 10**6])
    assert value_of(average(held(updates), Averaging(rule="trimmed-mean", trim=0.2))) == 3
    assert value_of(average(held(updates[:3]), Averaging(rule="trimmed-mean", trim=0.2))) == 3


def test_trimming_29_of_100_is_29():
    """0.29 * 100 is a little less than 29 in floating point."""
    updates = updates_of([[1e30]] * 29 + [[0]] * 71)
    assert value_of(average(held(updates), Averaging(rule="trimmed-mean", trim=0.29))) == 0


def test_krum_takes_the_update_with_the_nearest_neighbours():
    """One liar of five is never chosen; the others are averaged as equals when more are kept."""
    updates = updates_of([[0, 0], [1, 0], [0, 1], [1, 1], [1e6, 1e6]], [1, 1, 1, 1, 10**6])
    chosen = average(held(updates), Averaging(rule="krum", krum_f=1))
    assert chosen.digest() in {update.digest() for update in updates[:4]}
    kept = average(held(updates), Averaging(rule="krum", krum_f=1, krum_keep=4))
    np.testing.assert_array_equal(kept.tensors[0], [0.5, 0.5])


@pytest.mark.parametrize("seed", range(20))
def test_krum_is_that_of_its_paper(seed):
    """Scores from all pairs, n - f - 2 neighbours, ties by name: the same choice as a plain computation."""
    random = np.random.default_rng(seed)
    bad, keep = int(random.integers(0, 3)), int(random.integers(1, 4))
    points = random.integers(-3, 4, (int(random.integers(2 * bad + 3, 10)), 2)).astype(float)
    distances = ((points[:, None] - points[None]) ** 2).sum(-1)
    scores = [
        np.sort(np.delete(row, own))[: len(points) - bad - 2].sum() for own, row in enumerate(distances)
    ]
    best = sorted(np.argsort(scores, kind="stable")[:keep])
    chosen = krum(held(updates_of(points)), Averaging(rule="krum", krum_f=bad, krum_keep=keep))
    assert [update.header.client for update in chosen] == [f"client-{place}" for place in best]


def test_a_liar_far_out_does_not_hide_another_one_nearby():
    """At 1e30 it must not cost the others their digits: the one at distance 1 is still seen."""
    random = np.random.default_rng(0)
    good = random.normal(0, 0.01, (5, 1000))
    for order in range(7):
        values = np.roll([*good, good[0] + 1.0, 1e30 * random.normal(size=1000)], order, axis=0)
        chosen = average(held(updates_of(values)), Averaging(rule="krum", krum_f=2))
        assert np.abs(chosen.tensors[0]).max() < 0.1


def test_krum_looks_at_learned_weights_and_counts_those_it_chose():
    """Statistics may differ; the examples are those of the chosen ones, who weigh the same."""
    updates = [batch_norm_update(f"c{index}", 10**index, 0.0, 1.0) for index in range(5)]
    for index, update in enumerate(updates):
        update.tensors[0][0] = (0.0, 9.0, 0.0, 1.0, 9.0)[index]
        update.tensors[1][0] = (1e6, 0.0, 0.0, 0.0, 0.0)[index]
    found = average(held(updates), Averaging(rule="krum", krum_f=0, krum_keep=3))
    assert found.num_examples == 1 + 100 + 1000
    assert value_of(found) == pytest.approx(1 / 3)


def test_one_client_cannot_say_in_which_pass_the_others_are():
    """The learning rate of the next round follows from it."""
    liar = replace(make_weights("liar"), passes=2**53 - 1)
    assert average(held([make_weights("a"), make_weights("b"), liar]), Averaging()).passes == 1


def test_krum_needs_enough_updates():
    """Four are too few to find one liar: it says how many it takes."""
    with pytest.raises(TooFewUpdates, match="needs 5 updates, not 4"):
        average(held(random_updates(4)), Averaging(rule="krum"))


def test_distances_keep_their_digits_far_from_zero():
    """Updates 1e-3 apart at 1e3 are told apart: the products are of differences."""
    random = np.random.default_rng(2)
    base = random.normal(0, 1e3, 1000)
    updates = updates_of([base + random.normal(0, 1e-3, 1000) for _ in range(3)])
    first, *others = (update.tensors[0].astype(np.float64) for update in updates)
    expected = [((first - other) ** 2).sum() for other in others]
    np.testing.assert_allclose(squared_distances(held(updates))[0, 1:], expected, rtol=1e-9)


def test_a_variance_is_that_of_all_pictures_together():
    """Two halves of one batch: their averages give back mean and variance of the whole."""
    random = np.random.default_rng(1)
    first, second = random.normal(0, 1, 300), random.normal(7, 2, 100)
    updates = [
        batch_norm_update("a", 300, first.mean(), first.var()),
        batch_norm_update("b", 100, second.mean(), second.var()),
    ]
    averaged = average(held(updates), Averaging())
    whole = np.concatenate([first, second])
    assert averaged.tensors[1][0] == pytest.approx(whole.mean(), rel=1e-6)
    assert averaged.tensors[2][0] == pytest.approx(whole.var(), rel=1e-6)
    assert averaged.roles == updates[0].roles


def test_every_variance_belongs_to_the_mean_before_it():
    """Two layers, longer than a block; where the shapes say that there is no mean, it is averaged alone."""
    random = np.random.default_rng(4)
    roles = (MOVING_MEAN, MOVING_VARIANCE, MOVING_MEAN, MOVING_VARIANCE, MOVING_VARIANCE)
    updates = []
    for client in ("a", "b"):
        values = [random.uniform(0, 9, size).astype(np.float32) for size in (3, 3, 70_000, 70_000, 2)]
        updates.append(replace(make_weights(client, 10), tensors=tuple(values), roles=roles))
    found = average(held(updates), Averaging()).tensors
    first, second = (update.tensors for update in updates)
    for place in (1, 3):
        between = ((first[place - 1] - second[place - 1]) / 2) ** 2
        np.testing.assert_allclose(found[place], (first[place] + second[place]) / 2 + between, rtol=1e-5)
    np.testing.assert_allclose(found[4], (first[4] + second[4]) / 2, rtol=1e-6)


def test_the_variance_of_a_robust_rule_is_not_pulled_by_one_client():
    """The median of the means and of what lies around it: a client at 1e6 changes nothing."""
    good = [batch_norm_update(f"c{index}", 10, mean=1.0, variance=2.0) for index in range(4)]
    averaged = average(held([*good, batch_norm_update("z", 10, 1e6, 1e6)]), Averaging(rule="median"))
    assert [float(tensor[0]) for tensor in averaged.tensors] == [1.0, 1.0, 2.0]


@pytest.mark.parametrize("rule", RULES)
def test_files_give_the_bits_that_memory_gives(rule, tmp_path):
    """Reading block by block changes nothing; the tensor is longer than any block."""
    updates = random_updates(5, shape=(90_001,))
    how = Averaging(rule=rule)
    assert average(stored(updates, tmp_path), how).digest() == average(held(updates), how).digest()


MEMORY = """
import json, re, sys
from dataclasses import replace
from pathlib import Path
from cloud_train.averaging.rules import average
from cloud_train.averaging.screening import screen
from cloud_train.averaging.settings import RULES, Averaging
from cloud_train.averaging.updates import open_update
def peak_bytes():  # ru_maxrss would count what the parent held when it forked
    found = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) * 1024
updates = [open_update(Path(sys.argv[1], f"client-{k % 3}.npz"), "x") for k in range(100)]
for k, update in enumerate(updates):
    update.header = replace(update.header, client=f"client-{k:03d}")
before = peak_bytes()
kept = screen(updates, updates[0]).kept
for rule in RULES:
    average([one.update for one in kept], Averaging(rule=rule))
print(json.dumps([len(kept), peak_bytes() - before]))
"""
MODEL_BYTES = 2_000_000
# Blocks of all updates and their sorted copy, and what BLAS sets up when it is first used.
CONSTANT_BYTES = 16_000_000


def test_a_hundred_updates_need_the_memory_of_three_models(tmp_path):
    """Of 200 MB no more than 6 MB, and what does not depend on the model, are in memory, by any rule."""
    random = np.random.default_rng(0)
    for index in range(3):
        tensor = random.normal(size=MODEL_BYTES // 4).astype(np.float32)
        update = replace(make_weights(f"client-{index}"), tensors=(tensor,), roles=())
        save_weights(update, tmp_path / f"client-{index}.npz")
    command = [sys.executable, "-c", MEMORY, str(tmp_path)]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # threads that wait for each other cost time
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=110, env=environment)
    kept, used_bytes = json.loads(done.stdout)
    assert kept == 100
    assert used_bytes < 3 * MODEL_BYTES + CONSTANT_BYTES
