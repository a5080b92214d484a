"""A child process that works for us: started, given sockets to talk over, ended for certain."""

import logging
import os
import signal
import socket
import subprocess
from typing import Sequence

from contract.messages import Problem
from edge_agent.inference.frames import send_socket

_log = logging.getLogger(__name__)
# A killed process is gone after this, unless it hangs in a driver.
_DEATH_S = 5.0
# More threads of a linear algebra library would only cost memory; the TFLite kernels have their own.
_THREADS_OF_LIBRARIES = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


class Child:
    """A process and the control socket to it: it is given its other sockets over that, and ends with it."""

    def __init__(self, program: Sequence[str]) -> None:
        """Start `program`, a command line to which the number of its control socket is added.

        Raises:
            OSError: there is no such program, or no process or file descriptor is left.
        """
        self._control, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = subprocess.Popen(
                    [*program, str(theirs.fileno())],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    env=dict(os.environ, **_THREADS_OF_LIBRARIES),
                )
            except OSError:
                self._control.close()
                raise
        self.pid = self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the process is still there."""
        return self._process.poll() is None

    def connect(self) -> socket.socket:
        """Return a new socket whose other end the process serves.

        Raises:
            OSError: the process is gone, or no file descriptor is left.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                send_socket(self._control, theirs)
            except OSError:
                ours.close()
                raise
        return ours

    def end(self, patience_s: float) -> int:
        """Close the control socket, kill the process if it is not gone in time, return its exit code.

        One that hangs in a driver, where no signal reaches it, is left behind.
        """
        self._control.close()
        try:
            return self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            _log.info("process %d is killed", self.pid)
            self._process.kill()
        try:
            return self._process.wait(_DEATH_S)
        except subprocess.TimeoutExpired:
            _log.error("process %d cannot be killed", self.pid)
            return -signal.SIGKILL


def explain_exit(exit_code: int) -> Problem:
    """Say what became of a process that ended by itself; negative codes are signals."""
    if exit_code >= 0:
        return Problem("worker_died", f"worker ended with exit code {exit_code}", "see the agent's log")
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:
        name = f"signal {-exit_code}"
    return Problem("worker_died", f"worker died of {name}", "see the agent's log")
