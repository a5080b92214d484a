"""The command line of scripts/deb: what is wrong is said in three lines, and nothing is left half-written."""

from pathlib import Path

import pytest

from tests.packaging.conftest import run_deb


@pytest.mark.parametrize(
    ("words", "environment", "said"),
    [
        (["3.8-arm64"], {}, "there are 3.7-arm64, 3.9-arm64, 3.11-arm64, 3.11-amd64, 3.7-amd64"),
        ([], {"SOURCE_DATE_EPOCH": "yesterday"}, "try: build in a clone, or give a time: SOURCE_DATE_EPOCH="),
    ],
)
def test_a_wrong_command_line_says_what_is_right(
    tmp_path: Path, words: list[str], environment: dict[str, str], said: str
) -> None:
    """With the exit code of wrong usage."""
    done = run_deb(*words, "--out", tmp_path / "out", **environment)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert not (tmp_path / "out").exists()
