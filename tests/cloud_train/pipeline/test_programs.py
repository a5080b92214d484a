"""Our own programs, started as a user would: what they say comes back, and so does why they failed."""

from pathlib import Path

import pytest

from cloud_train.pipeline import programs
from host_cli.errors import Failed


def test_what_a_program_says_comes_back(tmp_path: Path) -> None:
    """The one JSON object of `--json`."""
    assert programs.call("deploy", ["keys", "init", "--fleet", f"{tmp_path}/fleet"])["ok"] is True


def test_a_program_that_fails_says_why(tmp_path: Path) -> None:
    """Its own words, and which command it was."""
    with pytest.raises(Failed, match="cannot read the model") as caught:
        programs.call("quantize", ["check", f"{tmp_path}/none.tflite"])
    assert caught.value.where == "quantize check"


def test_a_program_that_is_not_installed_is_named() -> None:
    """As any missing file."""
    with pytest.raises(FileNotFoundError, match="no-such-program"):
        programs.call("no-such-program", ["do"])
