"""docs/flashing.md, word by word: a new person, a new fleet, a board as it comes out of its box."""

import subprocess
from pathlib import Path

from tests.board.computer import Computer, new_computer
from tests.board.virtual_board import virtual_board
from tests.house.conftest import ROOT
from tests.house.pages import commands_of

PAGE = ROOT / "docs" / "flashing.md"


def test_who_follows_the_page_has_a_board_that_predicts(story: Path) -> None:
    """Every block is pasted into one shell, in order; the page's addresses are those of a USB cable."""
    reader = new_computer(story / "reader")
    blocks = commands_of(PAGE)
    assert len(blocks) > 5
    with virtual_board(story / "readers-board") as board:
        done = _paste(reader, "\n".join(["set -e", *blocks]))
        assert done.returncode == 0, done.stdout + done.stderr + board.journal_tail()


def _paste(reader: Computer, script: str) -> "subprocess.CompletedProcess[str]":
    """Run a script; what it leaves in the background ends with it."""
    return reader.run("unshare", "--pid", "--fork", "--kill-child", "bash", "-c", script)
