"""The quorum: a number of updates, or a share of them."""

import pytest

from cloud_train.averaging.settings import Averaging


@pytest.mark.parametrize(
    ("quorum", "clients", "needed"),
    [(0.5, 4, 2), (0.5, 5, 3), (0.5, 1, 1), (1.0, 4, 4), (1, 4, 1), (3, 4, 3), (0, 4, 1), (0.0, 4, 1)],
)
def test_a_whole_number_counts_updates_and_a_share_counts_of_all(quorum, clients, needed):
    """1 is one update, 1.0 is all of them; at least one is always needed."""
    assert Averaging(quorum=quorum).needed(clients) == needed
