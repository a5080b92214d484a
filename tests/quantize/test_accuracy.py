"""Comparing float and int8 scores, and what may be lost."""

import numpy as np
import pytest

from quantize.accuracy import ClassChange, compare, find_loss

LABELS = np.array([0, 0, 1, 1])
RIGHT = np.eye(2)[LABELS]
HALF = np.eye(2)[[0, 1, 1, 0]]


def test_counts_right_answers_over_all_and_by_class():
    """Per class: samples, right before and after, and which samples changed sides."""
    found = compare(LABELS, np.eye(2)[[1, 0, 1, 1]], np.eye(2)[[0, 1, 1, 1]])
    assert (found.before, found.after, found.samples, found.agreement) == (0.75, 0.75, 4, 0.5)
    assert found.per_class == (ClassChange(0, 2, 1, 1, lost=1, won=1), ClassChange(1, 2, 2, 2, lost=0, won=0))


def test_tells_which_class_is_taken_for_which():
    """The confusion matrix has the true class in its row and the answer in its column."""
    found = compare(LABELS, RIGHT, np.eye(2)[[1, 1, 1, 0]])
    assert found.confusion_before.tolist() == [[2, 0], [0, 2]]
    assert found.confusion_after.tolist() == [[0, 2], [1, 1]]


def test_a_large_drop_is_a_loss_that_names_both_figures():
    """The gate tells what was lost."""
    said = find_loss(compare(LABELS, RIGHT, HALF), 0.49, 1.0, "ab")
    assert said == "accuracy fell from 1.0000 to 0.5000, by more than 0.49"


def test_the_limit_itself_and_a_gain_are_no_loss():
    """At most max_drop may be lost."""
    assert find_loss(compare(LABELS, RIGHT, HALF), 0.5, 1.0, "ab") is None
    assert find_loss(compare(LABELS, HALF, RIGHT), 0.0, 0.0, "ab") is None


def with_losses(lost: int, won: int, samples: int = 1000):
    """Two classes; of the first, `lost` samples get wrong and `won` right; the second one makes up for it."""
    labels = np.repeat([0, 1], samples)
    before, after = labels.copy(), labels.copy()
    after[:lost] = 1
    before[lost : lost + won] = 1
    before[samples : samples + lost] = 0
    return compare(labels, np.eye(2)[before], np.eye(2)[after])


def test_a_class_that_falls_is_a_loss_though_the_total_stays():
    """The class is called by its name."""
    said = find_loss(with_losses(80, 10), 0.01, 0.05, ["shirt", "coat"])
    assert said == "class 'shirt' fell from 0.9900 to 0.9200, by more than 0.05"
    assert find_loss(with_losses(80, 10), 0.01, 0.07, ["shirt", "coat"]) is None


@pytest.mark.parametrize(
    ("lost", "won", "is_loss"), [(2, 0, False), (6, 0, False), (7, 0, True), (8, 1, False), (10, 1, True)]
)
def test_a_small_class_falls_only_beyond_chance(lost, won, is_loss):
    """Two of ten wrong may be chance, seven of ten are not."""
    found = find_loss(with_losses(lost, won, samples=12), 1.0, 0.05, ["rare", "other"])
    assert (found is not None) == is_loss


def test_a_class_of_thousands_is_counted_too():
    """No overflow in the sum over all ways."""
    assert ClassChange(0, 9000, 8000, 4000, lost=6000, won=2000).is_beyond_chance
    assert not ClassChange(0, 9000, 4000, 4000, lost=4000, won=4000).is_beyond_chance
