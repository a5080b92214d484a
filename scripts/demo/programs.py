"""Starts Reefline's programs as a person would, and ends only what it has started."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
HOST_BIN = ROOT / ".venv" / "bin"
BOARD_BIN = ROOT / ".venv37" / "bin"
STOP_S = 10.0


class StageFailed(Exception):
    """A stage of the demo did not happen."""


def program(name: str) -> str:
    """Return the path of one of our programs; the agent runs on the board's Python where there is one."""
    folder = BOARD_BIN if name == "edge-agent" and (BOARD_BIN / name).exists() else HOST_BIN
    return str(folder / name)


def call(name: str, *arguments: object) -> dict[str, Any]:
    """Run a program to its end with --json; its progress is shown, its result returned.

    Raises:
        StageFailed: it did not exit with 0.
    """
    command = [program(name), *map(str, arguments), "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, check=False)
    if done.returncode != 0:
        raise StageFailed(f"{' '.join(command)} ended with {done.returncode}")
    return json.loads(done.stdout.strip().splitlines()[-1])


class Programs:
    """The programs that run beside each other; a with-block ends them in reverse order."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._running: list[tuple[str, subprocess.Popen[str]]] = []

    def __enter__(self) -> "Programs":
        return self

    def __exit__(self, *_: object) -> None:
        for name, process in reversed(self._running):
            stop(process, name)

    def start(self, label: str, name: str, *arguments: object) -> "subprocess.Popen[str]":
        """Start a program; what it says goes to a log file, its stdout can be read."""
        log = (self._logs / f"{label}.log").open("w")
        process = subprocess.Popen(
            [program(name), *map(str, arguments)], stdout=subprocess.PIPE, stderr=log, text=True, cwd=ROOT
        )
        log.close()
        self._running.append((label, process))
        return process

    def end(self, process: "subprocess.Popen[str]") -> str:
        """End one program now and return what it printed."""
        self._running = [(name, other) for name, other in self._running if other is not process]
        return stop(process, "program")

    def require_alive(self) -> None:
        """Raise StageFailed if one of them has died."""
        for label, process in self._running:
            if process.poll() is not None:
                raise StageFailed(f"{label} died with {process.returncode}, see {self._logs / label}.log")


def stop(process: "subprocess.Popen[str]", name: str) -> str:
    """Ask a program to stop, and insist after a while."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        printed, _ = process.communicate(timeout=STOP_S)
    except subprocess.TimeoutExpired:
        print(f"{name} did not stop in {STOP_S:.0f} s, killing it", file=sys.stderr)
        process.kill()
        printed, _ = process.communicate()
    return printed


def wait_until(what: str, is_true: Any, timeout_s: float) -> None:
    """Wait for something.

    Raises:
        StageFailed: it did not come true in time.
    """
    deadline = time.monotonic() + timeout_s
    while not is_true():
        if time.monotonic() > deadline:
            raise StageFailed(f"{what}: not within {timeout_s:.0f} s")
        time.sleep(0.1)


def fresh_folder(path: Path) -> Path:
    """Return an empty folder."""
    if path.exists():
        shutil.rmtree(path)
    path.mkdir(parents=True)
    return path


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))
