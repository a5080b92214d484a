"""Which devices a percentage means: agreed between whoever orders a stage and the device that obeys it."""

import hashlib

_DIGITS = 2.0**32


def share(salt: str, device: str) -> float:
    """Return where a device stands, from 0 to just below 1; evenly spread, and another for every salt.

    It is the first 32 bits of SHA-256(salt, NUL, device), divided by 2**32.
    """
    digest = hashlib.sha256(f"{salt}\0{device}".encode()).digest()
    return int.from_bytes(digest[:4], "big") / _DIGITS


def is_in_percent(salt: str, percent: float, device: str) -> bool:
    """Say whether a device is among the first `percent` (0 to 100); whoever is in 5 % is also in 25 %."""
    return share(salt, device) * 100 < percent
