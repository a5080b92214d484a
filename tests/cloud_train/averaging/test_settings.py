"""The quorum: a number of updates, or a share of them."""

import pytest

from cloud_train.averaging.settings import Averaging
from contract.errors import MessageError


@pytest.mark.parametrize(
    ("quorum", "clients", "needed"),
    [
        (0.5, 4, 2),
        (0.5, 5, 3),
        (0.5, 1, 1),
        (1.0, 4, 4),
        (1, 4, 1),
        (3, 4, 3),
        (0, 4, 1),
        (0.0, 4, 1),
        (0.07, 100, 7),
    ],
)
def test_a_whole_number_counts_updates_and_a_share_counts_of_all(quorum, clients, needed):
    """1 is one update, 1.0 is all of them; at least one is always needed."""
    assert Averaging(quorum=quorum).needed(clients) == needed


def test_krum_needs_as_many_updates_as_it_keeps():
    """And never less than its proof does."""
    assert Averaging(krum_f=1, krum_keep=2).krum_needs() == 5
    assert Averaging(krum_f=1, krum_keep=7).krum_needs() == 7


def test_there_is_no_quorum_of_one_and_a_half():
    """It would pass for one; 3.0 is three."""
    with pytest.raises(MessageError, match=r"share up to 1.0, got 1.5"):
        Averaging(quorum=1.5)
    assert Averaging(quorum=3.0).needed(4) == 3
