"""Who is in a ring: two programs must agree for ever, so the numbers are recorded here."""

import hashlib

from contract.rings import is_in_percent, share


def test_a_share_is_the_first_32_bits_of_the_hash() -> None:
    """Recorded once; another answer would move devices between rings of a running rollout."""
    assert share("salt", "reef-1") == int(hashlib.sha256(b"salt\0reef-1").hexdigest()[:8], 16) / 2**32
    assert round(share("01jd8z6m5t3q0e9w2k7r4c1xab", "wishful-orange"), 9) == 0.475695852


def test_rings_grow_and_never_drop_a_device() -> None:
    """Who is in 5 % is also in 25 %; 0 % is nobody, 100 % everybody."""
    names = [f"d{number}" for number in range(2000)]
    rings = [{one for one in names if is_in_percent("s", percent, one)} for percent in (0, 5, 25, 100)]
    assert rings[0] == set() and rings[3] == set(names)
    assert rings[1] < rings[2] and 60 <= len(rings[1]) <= 140 and 430 <= len(rings[2]) <= 570


def test_another_salt_is_another_order() -> None:
    """So that the same devices are not first every time."""
    names = [f"d{number}" for number in range(200)]
    first, second = ({one for one in names if is_in_percent(salt, 50, one)} for salt in ("a", "b"))
    assert first != second
