"""The one queue into the agent's loop: bounded for what strangers send, never blocking for what we caused."""

import queue
import threading
from typing import Optional, Tuple

from edge_agent.events import Event


class Mailbox:
    """Threads put events in; the loop takes them out one by one."""

    def __init__(self, room: int) -> None:
        # A signal handler puts too, in the middle of `get`: only SimpleQueue can take that.
        self._events: queue.SimpleQueue[Tuple[Event, bool]] = queue.SimpleQueue()
        self._room = threading.Semaphore(room)

    def put(self, event: Event) -> None:
        """Put what our own doing has caused. Never blocks: a callback may hold a lock that the loop wants."""
        self._events.put((event, False))

    def offer(self, event: Event) -> None:
        """Put what a stranger sent.

        Raises:
            queue.Full: there is no room; the stranger must be told.
        """
        if not self._room.acquire(blocking=False):
            raise queue.Full
        self._events.put((event, True))

    def offer_waiting(self, event: Event) -> None:
        """Put what a stranger sent, as soon as there is room; the socket then holds the stranger back."""
        self._room.acquire()
        self._events.put((event, True))

    def get(self, timeout_s: float) -> Optional[Event]:
        """Take the next event, or None when none comes in time."""
        try:
            event, has_room = self._events.get(timeout=timeout_s)
        except queue.Empty:
            return None
        if has_room:
            self._room.release()
        return event
