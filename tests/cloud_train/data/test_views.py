"""Pictures by their places: chains and choices give what one array would give."""

import numpy as np
import pytest

from cloud_train.data.samples import BadSamples, Samples
from cloud_train.data.selection import hold_out
from cloud_train.data.views import Chain, Chosen
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


def test_what_is_chosen_is_the_rest_of_a_whole():
    """Each side is taken by its own places, from pictures that stay where they are."""
    learned, held = (Chosen(Chain(PARTS), places) for places in hold_out(WHOLE.y, 0.2, seed=3))
    both = np.concatenate([side.take(np.arange(len(side.y))).x for side in (learned, held)])
    assert sorted(map(bytes, both)) == sorted(map(bytes, WHOLE.x))
