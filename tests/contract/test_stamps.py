"""Promises of contract.stamps."""

import re

import pytest

from contract.stamps import ULID_PATTERN, build_ulid, format_time, parse_time


@pytest.mark.parametrize("seconds", [0.0, 0.001, 1732159200.123, 4102444800.999])
def test_times_survive_the_wire_to_the_millisecond(seconds: float) -> None:
    """A board that starts in 1970 is understood too."""
    assert parse_time(format_time(seconds)) == pytest.approx(seconds, abs=5e-4)


def test_times_are_utc_with_milliseconds() -> None:
    """One spelling."""
    assert format_time(1732159200.1239) == "2024-11-21T03:20:00.124Z"


@pytest.mark.parametrize(
    "text", ["", "2024-11-21", "2024-13-01T00:00:00Z", "2024-11-21T03:20:00+01:00", "x" * 99]
)
def test_other_times_are_refused(text: str) -> None:
    """No local times, no days that do not exist."""
    with pytest.raises(ValueError):
        parse_time(text)


def test_ulids_sort_by_time_and_fit_the_pattern() -> None:
    """26 characters of Crockford's alphabet, oldest first."""
    found = [build_ulid(seconds, b"\xff" * 10) for seconds in (0.0, 1.0, 1.002, 1732159200.0)]
    assert found == sorted(found)
    assert all(re.fullmatch(ULID_PATTERN, each) for each in found)
    assert build_ulid(1469918176.385, b"\x00" * 10) == "01ARYZ6S41" + "0" * 16
