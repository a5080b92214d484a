"""Promises of recovery.restarts."""

from pathlib import Path

import pytest

from edge_agent.errors import StorageError
from edge_agent.recovery.restarts import Restarts


def test_a_restart_is_remembered_by_the_next_process(tmp_path: Path) -> None:
    """And by no other computer's start: the clock then begins anew."""
    Restarts(tmp_path).note(500.0)
    assert Restarts(tmp_path).last_s(510.0) == 500.0
    assert Restarts(tmp_path).last_s(20.0) is None


@pytest.mark.parametrize("content", [None, b"", b"{", b'{"v":1,"monotonic_s":"no"}'])
def test_a_damaged_file_is_no_restart(tmp_path: Path, content: "bytes | None") -> None:
    """It must not keep the agent from starting."""
    if content is not None:
        (tmp_path / "recovery.json").write_bytes(content)
    assert Restarts(tmp_path).last_s(10.0) is None


def test_what_the_disk_does_not_take_is_said(tmp_path: Path) -> None:
    """Then there is no restart: it could not be counted."""
    with pytest.raises(StorageError):
        Restarts(tmp_path / "nowhere").note(1.0)
