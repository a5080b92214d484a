"""Random lives of a board, a few of them; `scripts/torture_updates.py` lives more."""

from pathlib import Path

import pytest

from tests.edge_agent.update_model import live


@pytest.mark.parametrize("seed", range(8))
def test_whatever_happens_a_board_ends_with_the_newest_good_release(tmp_path: Path, seed: int) -> None:
    """Orders, chunks, processes, time, keys and disks in any order; after each step some things hold."""
    live(tmp_path, seed, steps=150)
