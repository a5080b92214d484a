"""Asks the broker for a release's chunks, a window at a time, and the publisher for what is not there."""

import logging
from typing import List, Optional, Sequence, Set, Tuple

from contract.codec import encode
from contract.errors import TopicError
from contract.manifest import ReleaseManifest
from contract.messages import Problem
from contract.topics import Topics
from edge_agent.clock import Clock
from edge_agent.config import AgentConfig
from edge_agent.errors import StorageError, TransferError
from edge_agent.events import MessageArrived
from edge_agent.files import DISK_FULL
from edge_agent.link import Link
from edge_agent.updates.pace import FLOOR_BYTES_PER_S, Pace
from edge_agent.updates.reporter import Reporter
from edge_agent.updates.slots import Slots
from edge_agent.updates.transfer import Transfer, Wanted

_log = logging.getLogger(__name__)
_MAX_PAUSE_S = 60.0
_SLOW_LINK = Problem(
    "slow_link",
    f"a release comes with less than {FLOOR_BYTES_PER_S:.0f} bytes/s: it is left alone for a while",
    "see the board's network",
)


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
        self._pace = Pace(config.update.max_bytes_per_s, clock.monotonic_s())
        self._is_paused = False
        self._asked: Set[Wanted] = set()
        self._done: List[Wanted] = []
        self._ask_again_s = 0.0
        self._pause_s = 0.0

    @property
    def is_complete(self) -> bool:
        """Whether a transfer was begun and every file of it is on disk."""
        return self._transfer is not None and self._transfer.is_complete

    def require_space(self, manifest: ReleaseManifest) -> None:
        """Refuse a release before its first byte if there is no room for it.

        Raises:
            TransferError: it is larger than this device allows.
            StorageError: the disk has no room for it now, or does not tell.
        """
        limits = self._config.update
        if manifest.total_bytes > limits.max_release_bytes:
            raise TransferError("too_large", f"release has {manifest.total_bytes} bytes")
        free_bytes = self._slots.free_bytes()
        needed_bytes = 2 * manifest.total_bytes + limits.reserve_bytes
        if free_bytes < needed_bytes:
            raise StorageError(
                DISK_FULL,
                f"{self._config.state_dir} has {free_bytes} bytes free, {needed_bytes} needed",
                "free some space on the board",
            )

    def begin(self, manifest: ReleaseManifest) -> None:
        """Start to fetch what is not on disk yet.

        Raises:
            StorageError: the disk cannot be read.
        """
        self.end()
        window_bytes = self._pace.window_bytes(self._config.update.window_bytes)
        self._transfer = Transfer(manifest, self._slots, window_bytes)
        self._pause_s = self._config.update.stall_s
        self._is_paused = False
        self._ask_more()

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
        self._transfer = None
        self.pause()

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
        now_s = self._clock.monotonic_s()
        self._pace.arrived(len(message.payload), now_s)
        if transfer.take(place.blob_id, place.number, message.payload):
            item = Wanted(place.blob_id, place.number)
            self._asked.discard(item)
            self._done.append(item)
            self._pause_s = self._config.update.stall_s
            self._ask_again_s = now_s + self._pause_s
            self._reporter.progress(transfer.progress_pct)
            # Half a window at a time: one SUBSCRIBE then carries several filters.
            if len(self._asked) <= len(self._done):
                self._ask_more()

    def reconnected(self) -> None:
        """Ask anew: the broker has forgotten what we were subscribed to."""
        self._asked.clear()
        self._done.clear()
        self._ask_more()

    def refused(self, topic: str) -> None:
        """The broker does not let us read a chunk.

        Raises:
            TransferError: it was one of this transfer's.
        """
        if any(self._topic(item) == topic for item in self._asked):
            raise TransferError(
                "acl", "the broker does not let this device read " + topic, "see the broker's ACL"
            )

    def problems(self) -> Tuple[Problem, ...]:
        """Return what is wrong with the way here."""
        return (_SLOW_LINK,) if self._transfer is not None and self._pace.is_slow else ()

    def pause(self) -> None:
        """Ask for nothing until the next `tick`; what is on its way is still taken."""
        self._is_paused = True
        self._link.unsubscribe(self._topic(item) for item in (*self._asked, *self._done))
        self._asked.clear()
        self._done.clear()

    def tick(self) -> None:
        """Ask for more when it is time, and again for what did not come."""
        now_s = self._clock.monotonic_s()
        self._is_paused = False
        if not self._asked:
            self._ask_more()
        elif self._pace.look(now_s, self._link.is_clogged):
            _log.warning("the link is too slow, nothing is fetched for a while")
            self.pause()
        elif now_s >= self._ask_again_s and not self._link.is_clogged:
            # Who asks again while the broker owes us answers has it send everything twice.
            self._ask_again()

    def _ask_more(self) -> None:
        """Subscribe to what is wanted and not asked for, if it is time."""
        transfer, now_s = self._transfer, self._clock.monotonic_s()
        if transfer is None or transfer.is_complete or self._is_paused or not self._pace.may_ask(now_s):
            return
        self._link.unsubscribe(self._topic(item) for item in self._done)
        self._done.clear()
        new = [item for item in transfer.wanted() if item not in self._asked]
        if not self._asked:
            self._pace.rest(now_s)
            self._ask_again_s = now_s + self._pause_s
        self._subscribe(new)
        if not self._link.has_retained:
            # The broker keeps nothing: whoever keeps the release sends it to those who listen.
            self._tell_needs(transfer, new)

    def _ask_again(self) -> None:
        """Ask the broker once more, and whoever keeps the release, for what did not come."""
        assert self._transfer is not None
        _log.warning("%d chunks did not come in %.0f s, asked again", len(self._asked), self._pause_s)
        wanted = self._transfer.wanted()
        self._tell_needs(self._transfer, wanted)
        self._pause_s = min(2 * self._pause_s, _MAX_PAUSE_S)
        self._ask_again_s = self._clock.monotonic_s() + self._pause_s
        self._subscribe(wanted)

    def _subscribe(self, items: Sequence[Wanted]) -> None:
        self._asked.update(items)
        self._link.subscribe(self._topic(item) for item in items)

    def _tell_needs(self, transfer: Transfer, items: Sequence[Wanted]) -> None:
        for need in transfer.needs(items):
            self._link.publish(self._topics.model_need(self._config.device), encode(need))

    def _topic(self, item: Wanted) -> str:
        if item.number is None:
            return self._topics.blob_index(item.blob_id)
        return self._topics.blob_chunk(item.blob_id, item.number)
