"""Sends what the outbox holds over the link, a bounded number of messages unacknowledged at a time."""

from typing import Dict

from edge_agent.events import Delivered
from edge_agent.link import Link
from edge_agent.outgoing.outbox import Outbox


class Sender:
    """Forgets a message when the broker has acknowledged it. It belongs to the agent's loop."""

    def __init__(self, outbox: Outbox, link: Link, in_flight: int) -> None:
        """Prepare; `in_flight` is how many may be unacknowledged."""
        self._outbox = outbox
        self._link = link
        self._room = in_flight
        self._in_flight: Dict[int, int] = {}

    def send(self) -> None:
        """Send as much as there is room for; while offline nothing."""
        for row in self._outbox.unsent(self._room - len(self._in_flight)):
            mid = self._link.publish(row.topic, row.payload)
            if mid is None:
                return
            self._outbox.mark_in_flight(row.key)
            self._in_flight[mid] = row.key

    def delivered(self, event: Delivered) -> None:
        """The broker has acknowledged a message, perhaps one that is not from here."""
        key = self._in_flight.pop(event.mid, None)
        if key is not None:
            self._outbox.delivered(key)

    def reset(self) -> None:
        """The connection is gone, or a new one: what was on its way is sent again."""
        self._in_flight.clear()
        self._outbox.reset_in_flight()
