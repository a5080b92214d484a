"""Promises of edge_agent.files: what the disk says is explained."""

import errno
from pathlib import Path

import pytest

from edge_agent.errors import StorageError
from edge_agent.files import explain, write_whole


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EROFS, "remount"),
        (errno.EACCES, "the agent's user"),
        (errno.EPERM, "the agent's user"),
        (errno.EIO, "eMMC"),
    ],
)
def test_a_refusal_says_what_to_do(number: int, hint: str) -> None:
    """A missing right is not called a worn-out eMMC."""
    assert hint in explain(OSError(number, "no"), Path("/x")).hint


@pytest.mark.parametrize("place", ["absent/x", "file/x"])
def test_a_wrong_path_is_not_blamed_on_the_disk(tmp_path: Path, place: str) -> None:
    """Somebody has mistyped `state_dir`."""
    (tmp_path / "file").touch()
    with pytest.raises(StorageError) as caught:
        write_whole(tmp_path / place, b"")
    assert "folder" in caught.value.hint
