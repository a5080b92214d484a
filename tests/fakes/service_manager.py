"""Runs a program as systemd runs a `Type=notify` service: listens, and restarts it when it says nothing."""

import contextlib
import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import List, Optional, Sequence

_LOOK_EVERY_S = 0.05
_DEATH_S = 10.0


class ServiceManager:
    """One service. Use it as a context manager.

    Attributes:
        said: what the service has said since its newest start.
        starts: how often it was started.
        silences: how often it was ended because it had said nothing.
        log: its standard error.
    """

    def __init__(self, folder: Path, command: Sequence[str], watchdog_s: float) -> None:
        self.said: List[str] = []
        self.starts = self.silences = 0
        self.log = folder / "service.log"
        self._command = command
        self._watchdog_s = watchdog_s
        self._address = folder / "notify"
        self._process: Optional[subprocess.Popen] = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)

    @property
    def pid(self) -> int:
        """The service's main process."""
        assert self._process is not None
        return self._process.pid

    def __enter__(self) -> "ServiceManager":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear, self.log.open("wb") as log:
            ear.bind(str(self._address))
            ear.settimeout(_LOOK_EVERY_S)
            while not self._stopping.is_set():
                self._live(ear, log)

    def _live(self, ear: socket.socket, log: object) -> None:
        environment = {
            **os.environ,
            "NOTIFY_SOCKET": str(self._address),
            "WATCHDOG_USEC": str(int(self._watchdog_s * 1e6)),
        }
        self.said.clear()
        self._process = process = subprocess.Popen(
            self._command, env=environment, stderr=log, start_new_session=True
        )
        self.starts += 1
        heard_s: Optional[float] = None
        while process.poll() is None and not self._stopping.is_set():
            with contextlib.suppress(socket.timeout):
                self.said.append(ear.recv(4096).decode())
                heard_s = time.monotonic()
            if heard_s is not None and time.monotonic() > heard_s + self._watchdog_s:
                self.silences += 1
                self._end(process, signal.SIGABRT)
        self._end(process, signal.SIGTERM)
        with contextlib.suppress(socket.timeout):
            # Its last words.
            while True:
                self.said.append(ear.recv(4096).decode())

    def _end(self, process: subprocess.Popen, number: int) -> None:
        """As with `KillMode=mixed`: the main process first; then nothing of it is left."""
        with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
            process.send_signal(number)
            process.send_signal(signal.SIGCONT)
            process.wait(_DEATH_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
