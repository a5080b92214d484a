"""What came of it is told to a person, to a script, and by the exit code."""

from dataclasses import replace

import pytest

from deploy.flashing import outcome
from deploy.flashing.flash import Flashed
from host_cli.errors import Failed, Unreachable


@pytest.mark.parametrize(
    ("bad", "total", "exit_code"), [(0, 3, None), (1, 3, 5), (3, 3, 5), (1, 1, 3), (0, 1, None)]
)
def test_what_the_command_ends_with(bad, total, exit_code):
    """One board its own error; of many, that some failed."""
    error = Unreachable("gone", "reef", "try")
    found = [Flashed(f"reef-{n}", "installed", error=error if n < bad else None) for n in range(total)]
    ends_with = outcome.error_of(found)
    assert (ends_with and ends_with.exit_code) == exit_code
    assert outcome.as_json(found)["ok"] == (bad == 0)


def test_what_the_doctor_found_stands_below_its_board():
    """And an update names what was there before."""
    good = Flashed("reef-1", "installed", "0.6.0", "0.5.0")
    bad = replace(
        good, device="reef-2", result="rolled back", error=Failed("it dies", "", "mend"), doctor=("FAIL x",)
    )
    assert outcome.as_text([bad]) == "FAIL x"  # its error is what the command ends with
    assert outcome.as_text([good, bad]).splitlines() == [
        "reef-1: installed, 0.6.0 in place of 0.5.0",
        "reef-2: rolled back: it dies; try: mend",
        "  FAIL x",
    ]
