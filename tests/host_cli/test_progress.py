"""Promises of host_cli.progress."""

import time

import pytest

from host_cli import progress as module
from host_cli.progress import progress


def test_plain_lines_go_to_stderr_when_it_is_no_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never a bar into a log; a line now and then, and one at the end."""
    now = iter([0.0, 5.0, 7.0, 12.0, 19.0])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(now))
    with progress("training", 100, "steps") as advance:
        advance(1)
        advance(9)
        advance(40)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == (
        "training: 1/100 steps\ntraining: 50/100 steps, 12 s left\ntraining: 50 steps in 19.0 s\n"
    )


def test_a_terminal_gets_a_bar(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """With rate and time left."""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    with progress("training", 400, "steps") as advance:
        advance(100)
        time.sleep(0.02)
        advance(300)
    printed = capsys.readouterr().err
    assert "training" in printed and "100%" in printed and "steps/s" in printed
