"""A child process with a socket to it: started, hung up on, ended for certain."""

import logging
import os
import signal
import socket
import subprocess
from typing import Sequence

from contract.messages import Problem

_log = logging.getLogger(__name__)
# More threads of a linear algebra library would only cost memory; the TFLite kernels have their own.
_THREADS_OF_LIBRARIES = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


class Child:
    """A process and the socket to it."""

    def __init__(self, program: Sequence[str]) -> None:
        """Start `program`, a command line to which the number of its socket is added.

        Raises:
            OSError: there is no such program, or no process or file descriptor is left.
        """
        self.connection, theirs = socket.socketpair()
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
                self.connection.close()
                raise
        self.pid = self._process.pid

    def hang_up(self) -> None:
        """End the stream for both sides: the process leaves, and who waits for it here wakes up."""
        try:
            self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            _log.debug("process %d has gone already", self.pid)

    def end(self, patience_s: float) -> int:
        """Close the socket, kill the process if it is not gone in time, return its exit code."""
        self.connection.close()
        try:
            return self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
        return self._process.wait()


def explain_exit(exit_code: int) -> Problem:
    """Say what became of a process that ended by itself; negative codes are signals."""
    if exit_code >= 0:
        return Problem("worker_died", f"worker ended with exit code {exit_code}", "see the agent's log")
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:
        name = f"signal {-exit_code}"
    return Problem("worker_died", f"worker died of {name}", "see the agent's log")
