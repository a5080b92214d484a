"""The MQTT client of a simulated device: reads all that has come before it says anything.

Thousands share one loop, so much lies in the kernel when a connection is cut; who writes first loses it.
"""

from typing import Any

from edge_agent.link import Client

_READ_BYTES = 80 * 1024


class LoopClient(Client):
    """As the agent's own, with a buffer in each direction."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._unread = b""
        self._place = 0
        self._unsent = bytearray()

    @property
    def has_unread(self) -> bool:
        """Whether bytes have come that `loop_read` has not taken."""
        return bool(self._unread)

    @property
    def has_unsent(self) -> bool:
        """Whether `flush` has something to do."""
        return bool(self._unsent)

    def flush(self) -> None:
        """Send what was written; what the socket does not take stays.

        Raises:
            OSError: the connection is gone; the next read says so too.
        """
        try:
            while self._unsent:
                del self._unsent[: super()._sock_send(self._unsent)]
        except BlockingIOError:
            return

    def _sock_recv(self, bufsize: int) -> bytes:
        if not self._unread:
            self._unread, self._place = super()._sock_recv(max(bufsize, _READ_BYTES)), 0
        found = self._unread[self._place : self._place + bufsize]
        self._place += len(found)
        if self._place == len(self._unread):
            self._unread = b""
        return found

    def _sock_send(self, buf: Any) -> int:
        self._unsent += buf
        return len(buf)
