"""The script that installs on a board, with a dpkg and a systemctl that do nothing."""

import hashlib
import os
import subprocess

import pytest

from deploy.flashing import install


@pytest.fixture
def board(tmp_path):
    """A folder with the script and a package, and programs that only stand there."""
    (tmp_path / "install.sh").write_bytes(install.INSTALLER.read_bytes())
    (tmp_path / "one.deb").write_bytes(b"package")
    for name in ("dpkg", "systemctl"):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
    return tmp_path


def run(board, result):
    path = f"{board / 'bin'}:{os.environ['PATH']}"
    words = ["sh", board / "install.sh", "one.deb", hashlib.sha256(b"package").hexdigest(), result]
    subprocess.run(words, env={"PATH": path}, check=True)
    return (board / result).read_text()


def test_the_result_of_another_computer_is_left_for_it(board):
    """It looks a few times a second, and a second installation begins the moment the first has ended."""
    assert run(board, "result-1") == "0\n"
    run(board, "result-2")
    assert (board / "result-1").read_text() == "0\n"


def test_old_results_are_removed(board):
    """Nobody waits for them any more."""
    run(board, "result-1")
    an_hour_ago = (board / "result-1").stat().st_mtime - 3700
    os.utime(board / "result-1", (an_hour_ago, an_hour_ago))
    run(board, "result-2")
    assert not (board / "result-1").exists()
