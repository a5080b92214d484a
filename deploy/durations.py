"""Reads a length of time as a person writes it: 90, 30s, 5m, 2h, 7d."""

import re

from host_cli.errors import WrongUsage

_UNITS_S = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)([smhd]?)")


def parse_duration(text: str) -> float:
    """Return the seconds that a text like `5m` means.

    Raises:
        WrongUsage: it is not a length of time.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise WrongUsage(f"{text!r} is not a length of time", "command line", "write 90, 30s, 5m, 2h or 7d")
    number, unit = match.groups()
    return float(number) * _UNITS_S[unit]
