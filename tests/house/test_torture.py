"""The programs of `make torture`, with counts that take seconds."""

import shutil
from pathlib import Path

import pytest

from scripts.torture_kill import PADDING_BYTES
from scripts.torture_kill import torture as torture_by_kills
from scripts.torture_malformed import MAX_GROWTH_BYTES, torture


def test_malformed_messages_are_refused_and_fill_no_memory(tmp_path: Path) -> None:
    """Whatever reads a message raises what it documents, and nothing else."""
    found = torture(3000, 7, tmp_path)
    assert (found.inputs, found.escapes) == (3000, 0)
    assert 0 < found.accepted < 1500 and found.growth_bytes < MAX_GROWTH_BYTES


@pytest.mark.skipif(shutil.which("mosquitto") is None, reason="mosquitto is not installed")
def test_f28_a_killed_agent_always_finishes(tmp_path: Path) -> None:
    """SIGKILL at random moments of a push: an undamaged model is active each time, and the push finishes."""
    found = torture_by_kills(3, 7, tmp_path)
    assert found.problems == []
    assert (found.kills, found.pushes) == (3, 1)
    assert found.fetched_again_bytes <= 0.02 * PADDING_BYTES
