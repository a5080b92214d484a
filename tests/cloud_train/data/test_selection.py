"""What is taken of a data set: a balanced choice, a held-out part with every label."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from cloud_train.data.samples import BadSamples
from cloud_train.data.selection import Choice, Size, choose, hold_out, parse_size, select


def labels_of(count: int, classes: int = 4) -> np.ndarray:
    return np.arange(count) % classes


def test_a_choice_is_balanced_over_classes():
    """20 of 400 samples are 5 of each of the 4 classes, the same ones for the same seed."""
    labels = labels_of(400)
    chosen = choose(labels, 20, seed=1)
    assert np.bincount(labels[chosen]).tolist() == [5] * 4
    np.testing.assert_array_equal(chosen, choose(labels, 20, seed=1))
    assert not np.array_equal(chosen, choose(labels, 20, seed=2))


@pytest.mark.parametrize(
    ("count", "trained", "tested"), [(100, 100, 500), (6000, 6000, 600), (99999, 8000, 700)]
)
def test_a_limit_keeps_enough_to_test_on(count, trained, tested):
    """A tenth, but at least 500 and at most all there are."""
    train, test = select(labels_of(8000), labels_of(700), Choice(limit=count))
    assert (len(train), len(test)) == (trained, tested)


@settings(max_examples=200, deadline=None)
@given(
    some.lists(some.integers(0, 9), min_size=2, max_size=200).filter(
        lambda found: len(set(found)) < len(found)
    ),
    some.floats(0.01, 0.99),
)
def test_every_label_is_learned_and_tested(labels, share):
    """Nothing is in both parts or in none; who has one picture only is learned."""
    labels = np.array(labels)
    train, test = hold_out(labels, share, seed=0)
    assert sorted([*train, *test]) == list(range(len(labels)))
    for label, count in zip(*np.unique(labels, return_counts=True), strict=True):
        held = np.count_nonzero(labels[test] == label)
        assert held == min(max(1, round(share * count)), count - 1)


def test_a_fifth_is_held_out_when_nothing_is_said():
    """As many machine learners do, of every label."""
    labels = labels_of(100)
    train, test = select(labels, None, Choice())
    assert np.bincount(labels[test]).tolist() == [5] * 4 and len(train) == 80


@pytest.mark.parametrize("share", [0.0, 1.0, float("nan"), -1.0])
def test_a_share_that_leaves_nothing_is_refused(share):
    """To learn from, or to test on."""
    with pytest.raises(BadSamples, match="a share is above 0 and below 1"):
        hold_out(labels_of(8), share, seed=0)


def test_one_picture_is_too_few():
    """Nothing would be left to learn from, or to test on."""
    with pytest.raises(BadSamples, match="a label needs two"):
        select(np.zeros(1, np.int64), None, Choice())


def test_a_share_of_what_is_held_out_already_is_refused():
    """An option without effect would be believed."""
    with pytest.raises(BadSamples, match="held-out part of its own"):
        select(labels_of(8), labels_of(4), Choice(test_share=0.5))


@pytest.mark.parametrize(
    ("text", "size"), [("96x128", Size(96, 128)), ("28X28x1", Size(28, 28, 1)), (" 8x8x3 ", Size(8, 8, 3))]
)
def test_a_size_is_height_by_width(text, size):
    """With channels, if it matters."""
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "96", "0x96", "96x5000", "96x96x2", "-1x3", "9x9x3x1", "axb"])
def test_what_is_no_size_is_refused(text):
    """The sides are those that a board can take."""
    with pytest.raises(BadSamples, match="a size is HxW"):
        parse_size(text)
