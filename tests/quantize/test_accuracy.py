"""Comparing float and int8 scores."""

import numpy as np
import pytest

from host_cli.errors import GateNotMet
from quantize.accuracy import compare, require_small_drop

LABELS = np.array([0, 0, 1, 1])
RIGHT = np.eye(2)[LABELS]
HALF = np.eye(2)[[0, 1, 1, 0]]


def test_counts_right_answers_over_all_and_by_class():
    """Per class: samples, float, int8."""
    found = compare(LABELS, RIGHT, np.eye(2)[[0, 1, 1, 1]])
    assert (found.float32, found.int8, found.samples) == (1.0, 0.75, 4)
    assert found.per_class == {0: (2, 1.0, 0.5), 1: (2, 1.0, 1.0)}


def test_refuses_a_large_drop_and_names_both_figures():
    """The gate tells what was lost."""
    with pytest.raises(GateNotMet, match=r"1\.0000 to 0\.5000"):
        require_small_drop(compare(LABELS, RIGHT, HALF), 0.49, "model.keras")


def test_lets_the_limit_itself_and_a_gain_pass():
    """At most max_drop may be lost."""
    require_small_drop(compare(LABELS, RIGHT, HALF), 0.5, "model.keras")
    require_small_drop(compare(LABELS, HALF, RIGHT), 0.0, "model.keras")
