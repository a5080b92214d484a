"""Asks the broker for a release's chunks, a window at a time, and the publisher for what is not there."""

import logging
from typing import List, Optional, Set

from contract.codec import encode
from contract.errors import TopicError
from contract.manifest import ReleaseManifest
from contract.topics import Topics
from edge_agent.clock import Clock
from edge_agent.config import AgentConfig
from edge_agent.errors import TransferError
from edge_agent.events import MessageArrived
from edge_agent.link import Link
from edge_agent.updates.reporter import Reporter
from edge_agent.updates.slots import Slots
from edge_agent.updates.transfer import Transfer, Wanted

_log = logging.getLogger(__name__)
_MAX_PAUSE_S = 60.0


class Downloader:
    """One transfer at a time over the link."""

    def __init__(
        self, config: AgentConfig, *, slots: Slots, link: Link, clock: Clock, reporter: Reporter
    ) -> None:
        self._config = config
        self._topics = Topics(config.mqtt.base)
        self._slots = slots
        self._link = link
        self._clock = clock
        self._reporter = reporter
        self._transfer: Optional[Transfer] = None
        self._asked: Set[Wanted] = set()
        self._done: List[Wanted] = []
        self._ask_again_s = 0.0
        self._pause_s = 0.0

    @property
    def is_complete(self) -> bool:
        """Whether a transfer was begun and every file of it is on disk."""
        return self._transfer is not None and self._transfer.is_complete

    def begin(self, manifest: ReleaseManifest) -> None:
        """Start to fetch what is not on disk yet.

        Raises:
            StorageError: the disk cannot be read.
        """
        self.end()
        self._transfer = Transfer(manifest, self._slots, self._config.update.window_bytes)
        self._pause_s = self._config.update.stall_s
        self._ask()

    def end(self) -> None:
        """Stop; what is on disk stays."""
        if self._transfer is not None:
            _log.info(
                "received %d bytes, refused %d pieces, %d %% on disk",
                self._transfer.received_bytes,
                self._transfer.refused,
                self._transfer.progress_pct,
            )
            self._transfer.close()
            self._link.unsubscribe(self._topic(item) for item in (*self._asked, *self._done))
        self._transfer = None
        self._asked.clear()
        self._done.clear()

    def take(self, message: MessageArrived) -> None:
        """Put an index or a chunk where it belongs; a damaged or foreign one is counted and left.

        Raises:
            StorageError: the disk refuses.
            TransferError: a whole file is wrong although each of its chunks was right.
        """
        transfer = self._transfer
        if transfer is None:
            return
        try:
            place = self._topics.parse_chunk(message.topic)
        except TopicError:
            return
        if transfer.take(place.blob_id, place.number, message.payload):
            item = Wanted(place.blob_id, place.number)
            self._asked.discard(item)
            self._done.append(item)
            self._pause_s = self._config.update.stall_s
            self._ask_again_s = self._clock.monotonic_s() + self._pause_s
            self._reporter.progress(transfer.progress_pct)
            self._refill()

    def reconnected(self) -> None:
        """Ask anew: the broker has forgotten what we were subscribed to."""
        self._asked.clear()
        self._done.clear()
        if self._transfer is not None:
            self._ask()

    def refused(self, topic: str) -> None:
        """The broker does not let us read a chunk.

        Raises:
            TransferError: it was one of this transfer's.
        """
        if any(self._topic(item) == topic for item in self._asked):
            raise TransferError(
                "acl", "the broker does not let this device read " + topic, "see the broker's ACL"
            )

    def tick(self) -> None:
        """Ask again for what did not come: the broker once more, and whoever keeps the release."""
        transfer = self._transfer
        if transfer is None or not self._asked or self._clock.monotonic_s() < self._ask_again_s:
            return
        for need in transfer.needs():
            self._link.publish(self._topics.model_need(self._config.device), encode(need))
        _log.warning("%d chunks did not come in %.0f s, asked again", len(self._asked), self._pause_s)
        self._pause_s = min(2 * self._pause_s, _MAX_PAUSE_S)
        self._ask()

    def _refill(self) -> None:
        # Half a window at a time: one SUBSCRIBE then carries several filters.
        transfer = self._transfer
        if transfer is None:
            return
        outstanding = len(self._asked)
        if outstanding <= len(self._done) or transfer.is_complete:
            self._link.unsubscribe(self._topic(item) for item in self._done)
            self._done.clear()
            self._subscribe([item for item in transfer.wanted() if item not in self._asked])

    def _ask(self) -> None:
        assert self._transfer is not None
        self._subscribe(list(self._transfer.wanted()))
        self._ask_again_s = self._clock.monotonic_s() + self._pause_s

    def _subscribe(self, items: List[Wanted]) -> None:
        self._asked.update(items)
        self._link.subscribe(self._topic(item) for item in items)

    def _topic(self, item: Wanted) -> str:
        if item.number is None:
            return self._topics.blob_index(item.blob_id)
        return self._topics.blob_chunk(item.blob_id, item.number)
