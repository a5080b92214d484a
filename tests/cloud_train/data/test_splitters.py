"""Dealing out: nothing dropped, nothing twice, no shard empty, whatever the labels and the strategy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from cloud_train.data.samples import BadSamples
from cloud_train.data.splitters import DIRICHLET, IID, LABEL_SKEW, STRATEGIES, Deal, deal

LABELS = np.arange(4000) % 10


def shares(plan: Deal, labels=LABELS) -> np.ndarray:
    """How many of each label each shard got, (shards, labels)."""
    return np.array([np.bincount(labels[part], minlength=10) for part in deal(labels, plan)])


@some.composite
def plans(draw):
    labels = np.array(draw(some.lists(some.integers(0, 12), min_size=1, max_size=200)), np.int64)
    count = draw(some.integers(1, len(labels)))
    strategy = draw(some.sampled_from(STRATEGIES))
    known = len(np.unique(labels))
    alpha = draw(some.floats(1e-3, 1e6)) if strategy == DIRICHLET else None
    fewest = -(-known // count)
    classes = draw(some.integers(fewest, known)) if strategy == LABEL_SKEW else None
    return labels, Deal(count, draw(some.integers(0, 2**32 - 1)), strategy, alpha, classes)


@settings(max_examples=300, deadline=None)
@given(plans())
def test_every_picture_is_in_exactly_one_shard_and_no_shard_is_empty(found):
    """For any labels, count, seed and strategy; and with the same seed again the same."""
    labels, plan = found
    parts = deal(labels, plan)
    assert len(parts) == plan.count and all(len(part) for part in parts)
    assert sorted(np.concatenate(parts)) == list(range(len(labels)))
    assert all(np.array_equal(one, other) for one, other in zip(parts, deal(labels, plan), strict=True))
    if plan.strategy == IID:
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
    if plan.strategy == LABEL_SKEW:
        assert max(len(np.unique(labels[part])) for part in parts) <= plan.classes_per_shard


def test_the_seed_decides_the_shards():
    """Another seed deals others."""
    for plan, other in (
        (Deal(4, 0), Deal(4, 1)),
        (Deal(4, 0, DIRICHLET, 0.5), Deal(4, 1, DIRICHLET, 0.5)),
        (Deal(5, 0, LABEL_SKEW, None, 2), Deal(5, 1, LABEL_SKEW, None, 2)),
    ):
        assert not np.array_equal(deal(LABELS, plan)[0], deal(LABELS, other)[0])


def test_a_small_alpha_makes_shards_unlike_each_other():
    """With 1000 every shard has about a fifth of each label; with 0.1 some have nearly all, some none."""
    even, uneven = shares(Deal(5, 0, DIRICHLET, 1000.0)), shares(Deal(5, 0, DIRICHLET, 0.1))
    assert even.min() > 60 and even.max() < 100
    assert uneven.min() == 0 and uneven.max() > 300


def test_shards_with_two_labels_each_share_them_evenly():
    """Ten shards of two labels: every label has two takers, each with half of it."""
    found = shares(Deal(10, 3, LABEL_SKEW, None, 2))
    assert np.count_nonzero(found, axis=1).tolist() == [2] * 10
    assert np.count_nonzero(found, axis=0).tolist() == [2] * 10
    assert set(found[found > 0]) == {200}


@pytest.mark.parametrize("plan", [Deal(3, 0, DIRICHLET, 0.5), Deal(5, 0, LABEL_SKEW, None, 2)])
def test_a_shard_is_not_sorted_by_label(plan):
    """Who trains batch after batch would see one label at a time."""
    labels = LABELS[deal(LABELS, plan)[0]]
    assert np.count_nonzero(np.diff(labels)) > len(labels) / 10


@pytest.mark.parametrize(
    ("labels", "plan", "reason"),
    [
        (np.zeros(2, np.int64), Deal(3), "2 pictures cannot fill 3 shards"),
        (LABELS, Deal(4, 0, LABEL_SKEW, None, 2), "4 shards of 2 labels leave some of 10 labels out"),
        (LABELS, Deal(4, 0, LABEL_SKEW, None, 11), "a shard cannot have 11 of 10 labels"),
    ],
)
def test_what_cannot_be_dealt_out_is_refused(labels, plan, reason):
    """Rather than leaving a shard empty or a picture out."""
    with pytest.raises(BadSamples, match=reason):
        deal(labels, plan)
