"""Picking calibration samples."""

import numpy as np

from quantize.representative import pick_balanced


def test_picks_equally_many_of_each_class():
    """A rare class has the same say as a common one."""
    labels = np.repeat([0, 1, 2], [900, 90, 10])
    picked = labels[pick_balanced(labels, 30, 0)]
    assert np.bincount(picked).tolist() == [10, 10, 10]


def test_fills_up_from_large_classes():
    """A class that is used up does not make the set smaller."""
    labels = np.repeat([0, 1], [100, 3])
    assert np.bincount(labels[pick_balanced(labels, 20, 0)]).tolist() == [17, 3]


def test_same_seed_same_samples_another_seed_others():
    """The choice can be repeated, and is a choice."""
    labels = np.arange(1000) % 10
    assert pick_balanced(labels, 50, 3).tolist() == pick_balanced(labels, 50, 3).tolist()
    assert pick_balanced(labels, 50, 3).tolist() != pick_balanced(labels, 50, 4).tolist()


def test_never_picks_a_sample_twice_nor_more_than_there_are():
    """Asking for too many gives all, each once."""
    assert pick_balanced(np.array([5, 5, 7]), 10, 0).tolist() == [0, 1, 2]
