"""The power fails between any two operations of an update: a board boots with the old model or the new."""

import logging

import pytest

from tests.powercut.explorer import MAX_CUTS, Explorer
from tests.powercut.mutations import MUTATIONS

SEED = 20261121


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """A board that recovers thousands of times has much to say."""
    caplog.set_level(logging.CRITICAL)


def test_f26_f27_every_cut_leaves_the_old_or_the_new_model() -> None:
    """Cut anywhere, lose or tear what was not synced, cut again while it recovers: nothing is bricked."""
    figures = Explorer(SEED).explore(1000)
    assert figures.failures == []
    assert figures.bricked == 0
    assert figures.max_boots <= MAX_CUTS
    assert figures.most_fetched_again <= 0.02


@pytest.mark.parametrize("name", MUTATIONS)
def test_no_sync_and_no_order_can_be_left_out(name: str) -> None:
    """Each of them, broken alone, makes a cut that leaves a board worse off; so the explorer would notice."""
    broken = MUTATIONS[name]
    with broken.mutation():
        assert Explorer(SEED).explore(2000, stop_at_failure=True, near=broken.near).bricked
