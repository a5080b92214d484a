"""A process that several workers use together: who sits in it, and who is to blame when it ends.

The Edge TPU's driver lets in one process at a time, so all models on it share one. A model for the CPU has a
host of its own.
"""

import logging
import socket
import sys
import threading
from typing import List, Optional, Sequence

from contract.messages import Problem
from edge_agent.inference.child import Child, explain_exit

_log = logging.getLogger(__name__)
_PROGRAM = (sys.executable, "-m", "edge_agent.inference.worker")
_GOODBYE_S = 1.0
SHARED = "worker_shared"
_NOT_MINE = Problem(
    SHARED,
    "the process of all models on the Edge TPU was ended by another one",
    "none is needed: it is loaded anew",
)


class _Crew:
    """One life of the process, and all who have ever been lost with it; guarded by the host's lock."""

    def __init__(self, child: Child) -> None:
        self.child = child
        self.seats: List[Seat] = []
        self.culprits: Optional[List[Seat]] = None

    def blame(self, culprits: List["Seat"]) -> None:
        """Whoever notices the end first says who caused it; later it could not be told any more."""
        if self.culprits is None:
            self.culprits = culprits


class Seat:
    """One worker's place in a process; one of `leave`, `condemn` and `bury` ends it.

    Attributes:
        connection: the socket to it.
        pid: its process id.
        is_busy: whether the process works for this worker; set by that one.
    """

    def __init__(self, lock: threading.Lock, crew: _Crew) -> None:
        self._lock = lock
        self._crew = crew
        self.connection = crew.child.connect()
        self.pid = crew.child.pid
        self.is_busy = False
        crew.seats.append(self)

    def hang_up(self) -> None:
        """End the stream for both sides: who waits for it wakes up."""
        try:
            self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            _log.debug("process %d has gone already", self.pid)

    def leave(self) -> None:
        """Let the process go on for the others; when nobody else is in it, it ends."""
        with self._lock:
            self._get_up()
            if not self._crew.seats:
                self._crew.blame([])
                self._crew.child.end(_GOODBYE_S)

    def condemn(self) -> None:
        """Kill the process: it did something wrong while it worked for this worker."""
        with self._lock:
            self._crew.blame([self])
            self._crew.child.end(0)
            self._get_up()

    def bury(self) -> Problem:
        """See the process off after it has hung up; return what it died of, or that another one caused it."""
        with self._lock:
            seats = self._crew.seats
            self._crew.blame([seat for seat in seats if seat.is_busy] or list(seats))
            exit_code = self._crew.child.end(_GOODBYE_S)
            self._get_up()
            assert self._crew.culprits is not None
            return explain_exit(exit_code) if self in self._crew.culprits else _NOT_MINE

    def _get_up(self) -> None:
        self.connection.close()
        self._crew.seats.remove(self)


class Host:
    """Starts the process for the first worker that wants to sit down, and again after it has ended."""

    def __init__(self, program: Sequence[str] = _PROGRAM) -> None:
        """Take the command line of the process; the number of its control socket is added."""
        self._program = program
        self._lock = threading.Lock()
        self._crew: Optional[_Crew] = None

    def prepare(self) -> None:
        """Start the process before the first worker comes: it imports what takes long meanwhile.

        Raises:
            OSError: there is no such program, or no process or file descriptor is left.
        """
        with self._lock:
            self._crew = _Crew(Child(self._program))

    def sit(self) -> Seat:
        """Give a worker its place.

        Raises:
            OSError: there is no such program, or no process or file descriptor is left.
        """
        with self._lock:
            crew = self._crew
            if crew is None or crew.culprits is not None or not crew.child.is_running:
                crew = self._crew = _Crew(Child(self._program))
            try:
                return Seat(self._lock, crew)
            except OSError:
                if not crew.seats:
                    crew.child.end(0)
                raise

    def end(self) -> None:
        """Kill the process if there is one; nobody who is in it is to blame."""
        with self._lock:
            if self._crew is not None:
                self._crew.blame([])
                self._crew.child.end(0)
