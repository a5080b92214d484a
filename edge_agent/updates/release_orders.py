"""Hears signed orders: the device's own before the channel's; each is acknowledged when it is on disk."""

import logging
from typing import Callable, NamedTuple, Optional

from edge_agent.clock import Clock
from edge_agent.errors import StorageError, TrustError
from edge_agent.events import MessageArrived
from edge_agent.updates.acceptance import Acceptance, Order
from edge_agent.updates.reporter import Reporter
from edge_agent.updates.retry import Retry

_log = logging.getLogger(__name__)


class _Unstored(NamedTuple):
    """An order that the disk did not take, and when it is tried again; it is not acknowledged before."""

    message: MessageArrived
    is_own: bool
    again_s: float


class Orders:
    """What the broker says about releases. It belongs to the agent's loop."""

    def __init__(
        self, acceptance: Acceptance, reporter: Reporter, clock: Clock, obey: Callable[[Order], None]
    ) -> None:
        """Prepare; `obey` acts on an order that is on disk."""
        self._acceptance = acceptance
        self._reporter = reporter
        self._clock = clock
        self._obey = obey
        self._retry = Retry()
        self._has_own = False
        self._unstored: Optional[_Unstored] = None

    def connected(self) -> None:
        """A new connection: everything is heard again, also whether this device has a release of its own."""
        self._has_own = False
        self._unstored = None

    def hear(self, message: MessageArrived, is_own: bool) -> None:
        """Take a signed release. It is acknowledged when it is on disk, or refused for good.

        Args:
            message: the envelope; an empty one means that there is none any more.
            is_own: it came on this device's own topic, which overrides the channel's.
        """
        if is_own:
            self._has_own = bool(message.payload)
        if not is_own and self._has_own:
            message.acknowledge()
            return
        if not message.payload:
            self._drop_unstored()
        if not message.payload or self._take(message, is_own):
            message.acknowledge()

    def tick(self) -> None:
        """Try again what the disk did not take."""
        unstored = self._unstored
        if unstored is not None and self._clock.monotonic_s() >= unstored.again_s:
            self._unstored = None
            self.hear(unstored.message, unstored.is_own)

    def _take(self, message: MessageArrived, is_own: bool) -> bool:
        """Obey an order or refuse it; False if it could not be stored."""
        try:
            self._obey(self._acceptance.take(message.payload, is_own))
            self._retry.reset()
            self._drop_unstored()
        except TrustError as error:
            _log.warning("release refused: %s: %s", error.code, error.message)
            self._reporter.refused(error.problem())
        except StorageError as error:
            _log.error("release not stored: %s", error.message)
            self._reporter.refused(error.problem())
            self._drop_unstored()
            again_s = self._clock.monotonic_s() + self._retry.next_pause_s()
            self._unstored = _Unstored(message, is_own, again_s)
            return False
        return True

    def _drop_unstored(self) -> None:
        """Another order counts now. Unacknowledged, it would take up the broker's room for messages to us."""
        if self._unstored is not None:
            self._unstored.message.acknowledge()
            self._unstored = None
