"""Numbers for a person."""

import pytest

from quantize.report.units import MINUS, percent, points, size


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (98_816, "96.5 KiB"), (8_000_000, "7.63 MiB")],
)
def test_sizes_have_a_unit_that_fits(count, text):
    """Bytes, KiB, MiB."""
    assert size(count) == text


def test_changes_have_a_sign_unless_there_is_none():
    """A change that rounds to nothing has no sign."""
    assert [points(x) for x in (0.0123, -0.003, 0.00001, -0.00001)] == [
        "+1.23",
        f"{MINUS}0.30",
        "0.00",
        "0.00",
    ]
    assert percent(0.9125) == "91.25 %"
