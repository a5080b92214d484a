"""The lock that only one can have."""

from pathlib import Path

import pytest

from host_cli.errors import WrongUsage
from host_cli.lock import locked

REFUSAL = WrongUsage("somebody is there", "here", "wait")


def test_a_second_one_is_refused_until_the_first_is_through(tmp_path: Path) -> None:
    """With the caller's own words; afterwards the lock is free again."""
    path = tmp_path / "new" / "lock"
    with locked(path, REFUSAL), pytest.raises(WrongUsage, match="somebody is there"), locked(path, REFUSAL):
        pytest.fail("two had it")
    with locked(path, REFUSAL):
        assert path.is_file()
