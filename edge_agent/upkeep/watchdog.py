"""Tells systemd that the agent serves, and again and again that it is well: who says nothing is restarted.

Source: systemd, sd_notify(3) and sd_watchdog_enabled(3). A datagram of `KEY=VALUE` to a Unix socket; a name
that begins with @ has no file.
"""

import logging
import os
import socket
from typing import Callable, MutableMapping, NamedTuple

_log = logging.getLogger(__name__)
_READY, _STOPPING, _WELL = b"READY=1", b"STOPPING=1", b"WATCHDOG=1"
# How often it hears of us in the time that it waits.
_TIMES = 4


class Supervisor(NamedTuple):
    """Who started us; the default is nobody who listens.

    Attributes:
        address: its socket, "" if it does not listen.
        patience_s: it restarts us when it has heard nothing for so long, 0 if never.
    """

    address: str = ""
    patience_s: float = 0.0

    @classmethod
    def take(cls, environment: MutableMapping[str, str]) -> "Supervisor":
        """Read what systemd says of itself, and take it away: our children shall not speak for us."""
        address = environment.pop("NOTIFY_SOCKET", "")
        patience_us = environment.pop("WATCHDOG_USEC", "")
        pid = environment.pop("WATCHDOG_PID", "")
        is_ours = patience_us.isdecimal() and pid in ("", str(os.getpid()))
        return cls(address, int(patience_us) / 1e6 if is_ours else 0.0)


NOBODY = Supervisor()


class Watchdog:
    """Speaks for the agent's loop, which must call `tick`: a loop that hangs says nothing.

    Whether there is a broker plays no part: being offline is no reason to restart.
    """

    def __init__(
        self, supervisor: Supervisor, monotonic_s: Callable[[], float], find_wedged: Callable[[], str]
    ) -> None:
        """Prepare.

        Args:
            supervisor: who is told.
            monotonic_s: the time.
            find_wedged: says which part of the agent hangs so that only a restart helps, "" if none does.
        """
        self._supervisor = supervisor
        self._monotonic_s = monotonic_s
        self._find_wedged = find_wedged
        self._due_s = 0.0
        self._wedged = ""

    def ready(self) -> None:
        """The agent serves."""
        self._tell(_READY)

    def tick(self) -> None:
        """Say that all is well, when it is time and true."""
        now_s = self._monotonic_s()
        if not self._supervisor.patience_s or now_s < self._due_s:
            return
        self._due_s = now_s + self._supervisor.patience_s / _TIMES
        wedged = self._find_wedged()
        if wedged and wedged != self._wedged:
            _log.critical("%s hangs: the watchdog is not fed, a restart follows", wedged)
        self._wedged = wedged
        if not wedged:
            self._tell(_WELL)

    def stopping(self) -> None:
        """The agent ends."""
        self._tell(_STOPPING)

    def _tell(self, state: bytes) -> None:
        address = self._supervisor.address
        if not address:
            return
        place = "\0" + address[1:] if address.startswith("@") else address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as telephone:
                telephone.setblocking(False)
                telephone.sendto(state, place)
        except OSError as error:
            # It may be busy; the next time comes before its patience ends.
            _log.warning("systemd does not hear %s: %s", state.decode(), error)
