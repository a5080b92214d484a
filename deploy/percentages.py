"""Reads shares as a person writes them: 2%, 0.5%, or several of them that grow to 100%."""

import re

from host_cli.errors import WrongUsage

_PERCENT = re.compile(r"(\d{1,3}(?:\.\d{1,3})?)\s*%?")


def parse_percent(text: str, where: str) -> float:
    """Return a share in percent, 0 to 100.

    Raises:
        WrongUsage: it is not one.
    """
    match = _PERCENT.fullmatch(text.strip())
    if match is None or float(match.group(1)) > 100:
        raise WrongUsage(f"{text!r} is not a share", where, "write 2%, 0.5% or 100%")
    return float(match.group(1))


def parse_rings(text: str, where: str) -> tuple[float, ...]:
    """Return shares of a channel that grow and end with 100.

    Raises:
        WrongUsage: they do not.
    """
    found = tuple(parse_percent(part, where) for part in text.split(","))
    if found[0] <= 0 or found[-1] != 100 or list(found) != sorted(set(found)):
        raise WrongUsage(f"{text!r} does not grow to 100%", where, "write 5%,25%,50%,100%")
    return found
