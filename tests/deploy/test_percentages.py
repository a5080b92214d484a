"""Shares as people write them."""

import pytest

from deploy.percentages import parse_percent, parse_rings
from host_cli.errors import WrongUsage


@pytest.mark.parametrize("text, expected", [("2%", 2), ("0.5 %", 0.5), ("100", 100), ("0%", 0)])
def test_a_share_is_read(text, expected):
    """With or without its sign."""
    assert parse_percent(text, "--x") == expected


@pytest.mark.parametrize("text", ["", "-1%", "101%", "2%%", "half", "1e2", "1,5%"])
def test_what_is_no_share_is_refused(text):
    """Rather than guessed."""
    with pytest.raises(WrongUsage, match="is not a share"):
        parse_percent(text, "--x")


def test_rings_grow_to_everybody():
    """A rollout that ends at 50 % would leave a channel in two halves: that is what pause is for."""
    assert parse_rings("5%,25%, 100%", "--then") == (5, 25, 100)
    for text in ("5%", "25%,5%,100%", "0%,100%", "5%,5%,100%"):
        with pytest.raises(WrongUsage, match="does not grow"):
            parse_rings(text, "--then")
