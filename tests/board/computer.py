"""The computer at the other end of the cable: a person's home, a fleet's folder, a broker, and `deploy`."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.board.virtual_board import COMPUTER
from tests.deploy.helpers import read_line
from tests.house.conftest import BOARD_BIN, ROOT

NAME = "reef-1"
PACKAGES = ROOT / "build" / "deb"
PATIENCE_S = 480.0
_KEPT = ("LANG", "TERM")


@dataclass(frozen=True)
class Computer:
    """A folder that programs run in, as a person runs them; `home` is what they take for the home."""

    folder: Path

    @property
    def home(self) -> Path:
        """The person's home: keys and settings of theirs."""
        return self.folder / "home"

    @property
    def fleet(self) -> Path:
        """The fleet's folder, where `deploy` looks for it."""
        return self.folder / "fleet"

    def run(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run a command to its end, whatever comes of it."""
        return subprocess.run(
            words,
            cwd=self.folder,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            timeout=PATIENCE_S,
            capture_output=True,
            text=True,
        )

    def start(self, *words: str) -> "subprocess.Popen[str]":
        """Start a command; the caller ends it. Whatever happens to us, the kernel does."""
        return subprocess.Popen(
            ("setpriv", "--pdeathsig", "TERM", *words),
            cwd=self.folder,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def deploy(self, *words: str, expected: int = 0) -> Any:
        """Run `deploy ... --json` and return what it says; `expected` is its exit code."""
        done = self.run("deploy", *words, "--json")
        said = f"deploy {' '.join(words)}: {done.returncode}\n{done.stdout}{done.stderr}"
        assert done.returncode == expected, said
        return json.loads(done.stdout)

    def _environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        return {**kept, "HOME": str(self.home), "PATH": f"{ROOT / '.venv/bin'}:{os.environ['PATH']}"}


def new_computer(folder: Path) -> Computer:
    """Return one whose person has nothing yet but what `make deb` built."""
    computer = Computer(folder)
    computer.home.mkdir(parents=True)
    (folder / "build").symlink_to(ROOT / "build")
    return computer


@contextmanager
def run_broker(computer: Computer) -> Iterator[str]:
    """Run the fleet's broker within the block; yield where boards reach it."""
    process = computer.start("deploy", "broker", "--tls", "--listen", COMPUTER, "--json")
    try:
        read_line(process.stdout)
        yield f"mqtts://{COMPUTER}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE_S)


def own_python(script: Path, *words: object) -> str:
    """Run a script with the Python that has the board's TFLite runtime, and return what it prints."""
    if not (BOARD_BIN / "python").exists():
        pytest.skip("no CPython 3.7, and so not the board's TFLite runtime")
    command = [str(BOARD_BIN / "python"), str(script), *map(str, words)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
