"""A real mosquitto that tests start, kill and start again."""

import os
import shutil
import signal
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, Optional

import pytest

from tests.fakes.ports import take_free_port, wait_for_port


@contextmanager
def run_mosquitto(config: Path, port: int) -> Iterator[None]:
    """Run mosquitto in the folder of a configuration; it listens on its port when the block begins."""
    process = _start(config, port)
    try:
        yield
    finally:
        _stop(process)


class Mosquitto:
    """One broker on a fixed port of loopback; `start` and `kill` as often as you like."""

    def __init__(self, folder: Path, *settings: str, keeps: bool = True) -> None:
        """Choose a port and write the configuration.

        Args:
            folder: where its files go; made if it is not there.
            settings: further lines of mosquitto.conf.
            keeps: whether what is retained is written to disk, at once.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.port = take_free_port()
        lines = [
            f"listener {self.port} 127.0.0.1",
            "allow_anonymous true",
            "user root",
            "set_tcp_nodelay true",
        ]
        if keeps:
            lines += ["persistence true", f"persistence_location {folder}/"]
            lines += ["autosave_on_changes true", "autosave_interval 1"]
        (folder / "mosquitto.conf").write_text("\n".join([*lines, *settings]) + "\n")
        self.process: Optional[subprocess.Popen] = None

    def start(self) -> "Mosquitto":
        """Run it; it accepts connections when this returns."""
        self.process = _start(self._folder / "mosquitto.conf", self.port)
        return self

    def kill(self, loses: bool = False) -> None:
        """Take its power away; with `loses` its disk is gone as well."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()
        if loses:
            for path in self._folder.glob("*.db*"):
                path.unlink()

    def stop(self) -> None:
        """End it."""
        if self.process is not None:
            _stop(self.process)


def _start(config: Path, port: int) -> subprocess.Popen:
    program = shutil.which("mosquitto")
    if program is None:
        pytest.skip("mosquitto is not installed")
    with (config.parent / "mosquitto.log").open("ab") as log:
        process = subprocess.Popen([program, "-c", config.name], cwd=str(config.parent), stderr=log)
    wait_for_port(port, process)
    return process


def _stop(process: subprocess.Popen) -> None:
    process.terminate()
    process.wait()
