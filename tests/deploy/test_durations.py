"""Lengths of time as people write them."""

import pytest

from deploy.durations import parse_duration
from host_cli.errors import WrongUsage


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("30s", 30), ("5m", 300), ("2h", 7200), ("7d", 604800), ("0.5", 0.5)]
)
def test_units_are_understood(text, seconds):
    """A bare number is seconds."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "-5", "5 minutes", "1e9", "nan", "5m5s"])
def test_anything_else_is_wrong_usage(text):
    """The error shows what was written and how to write it."""
    with pytest.raises(WrongUsage, match="not a length of time"):
        parse_duration(text)
