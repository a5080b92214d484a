"""A real mosquitto that tests start, kill and start again."""

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Optional

import pytest

_PATIENCE_S = 10.0


class Mosquitto:
    """One broker on a fixed port of loopback; `start` and `kill` as often as you like."""

    def __init__(self, folder: Path, *settings: str, keeps: bool = True) -> None:
        """Choose a port and write the configuration.

        Args:
            folder: where its files go; made if it is not there.
            settings: further lines of mosquitto.conf.
            keeps: whether what is retained is written to disk, at once.
        """
        self._program = shutil.which("mosquitto")
        if self._program is None:
            pytest.skip("mosquitto is not installed")
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.port = _take_free_port()
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
        command = [str(self._program), "-c", str(self._folder / "mosquitto.conf")]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        until_s = time.monotonic() + _PATIENCE_S
        while time.monotonic() < until_s:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            time.sleep(0.01)
        raise AssertionError("mosquitto does not start")

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
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait()


def _take_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
