"""A small run of the program that kills the broker."""

import shutil
from pathlib import Path

import pytest

from scripts.torture_broker import torture


def test_f09_the_broker_is_killed_while_releases_go_out(tmp_path: Path) -> None:
    """With TLS, certificates, the keeper and two real boards: the newest release runs, predictions go on."""
    if shutil.which("mosquitto") is None:
        pytest.skip("mosquitto is not installed")
    found = torture(seed=2, agents=2, kills=2, every_s=1.0, folder=tmp_path)
    # A board may sleep through the first kill and come back after the second only.
    assert found.is_good and found.losses and found.connections >= 2 * found.agents, found
