"""What must reach the broker, kept until it has: in memory for a moment, then in SQLite.

A message that is delivered at once never touches the eMMC. One that waits is on disk before a second is over,
so a power cut costs at most one second of messages.
"""

import logging
import sqlite3
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Tuple, TypeVar

from edge_agent.config import OutboxConfig
from edge_agent.errors import StorageError
from edge_agent.outgoing.outbox_block import Row
from edge_agent.outgoing.outbox_table import OutboxTable

_log = logging.getLogger(__name__)
# The loop comes by four times a second, and the disk needs some time too.
_SAVE_AFTER_S = 0.6
_FORGET_AFTER_S = 5.0
_RETRY_S = 10.0
_MAX_UNSAVED_BYTES = 4 * 1024 * 1024
T = TypeVar("T")


class OutboxStats(NamedTuple):
    """How full the outbox is, and how many messages it has ever had to drop."""

    messages: int
    bytes: int
    dropped_total: int


class Outbox:
    """A queue that survives a power cut. It belongs to one thread; `tick` must be called often.

    A disk that refuses does not stop it: messages then stay in memory, up to a limit, and saving is tried
    again later. A message may be sent twice after a power cut, never lost without being counted.

    Attributes:
        is_saving: False while the disk refuses.
    """

    def __init__(self, path: Path, config: OutboxConfig, clock: Callable[[], float]) -> None:
        """Open the queue, or make it.

        Args:
            path: the database; its journal lies beside it.
            config: how much may wait.
            clock: returns seconds that never jump, as they come in `tick`.

        Raises:
            StorageError: the disk refuses.
        """
        try:
            self._disk = OutboxTable(path)
        except (sqlite3.Error, OSError) as error:
            raise StorageError(
                "outbox_unusable", f"{path}: {error}", "check the disk and its rights"
            ) from error
        self._max_bytes = config.max_bytes
        self._clock = clock
        self._unsaved: Dict[int, Row] = {}
        self._unsaved_bytes = 0
        self._unsaved_since_s = self._deleted_since_s = self._blocked_until_s = clock()
        self._handed_key = 0
        self._next_key = self._disk.last_key + 1
        self._dropped_total = self._disk.dropped_total
        self.is_saving = True

    @property
    def was_reset(self) -> bool:
        """Whether the file was damaged and lies aside as `*.corrupt`; nobody knows what was in it."""
        return self._disk.was_reset

    def put(self, topic: str, payload: bytes, retain: bool = False) -> int:
        """Add a message and return its key. Without room the oldest messages are dropped, and counted."""
        row = Row(self._next_key, topic, payload, retain)
        self._next_key += 1
        if not self._unsaved:
            self._unsaved_since_s = self._clock()
        self._unsaved[row.key] = row
        self._unsaved_bytes += row.size_bytes
        while self._disk.bytes + self._unsaved_bytes > self._max_bytes and self._drop_oldest():
            pass
        while not self.is_saving and self._unsaved_bytes > _MAX_UNSAVED_BYTES:
            self._drop_unsaved()
        return row.key

    def unsent(self, limit: int) -> Tuple[Row, ...]:
        """Return at most `limit` messages, oldest first, that are not in flight."""
        found: List[Row] = []
        if limit > 0 and self._handed_key < self._disk.last_key:
            found = self._attempt(lambda: self._disk.read(self._handed_key, limit), [])
        for row in self._unsaved.values():
            if len(found) >= limit:
                break
            if row.key > self._handed_key:
                found.append(row)
        return tuple(found)

    def mark_in_flight(self, key: int) -> None:
        """Say that a message is on its way; call it in the order of `unsent`."""
        self._handed_key = key

    def reset_in_flight(self) -> None:
        """Say that nothing is on its way any more, because the connection is a new one."""
        self._handed_key = 0

    def delivered(self, key: int) -> None:
        """Forget a message; an unknown key is ignored."""
        if key in self._unsaved:
            self._take_unsaved(key)
        elif key <= self._disk.last_key:
            if not self._disk.has_deleted:
                self._deleted_since_s = self._clock()
            self._attempt(lambda: self._disk.delete(key), False)

    def tick(self, now_s: float) -> None:
        """Save what has waited long enough. To be called at least four times a second."""
        is_blocked = not self.is_saving and now_s >= self._blocked_until_s
        is_waiting = bool(self._unsaved) and now_s - self._unsaved_since_s >= _SAVE_AFTER_S
        has_deleted = self._disk.has_deleted and now_s - self._deleted_since_s >= _FORGET_AFTER_S
        if is_waiting or has_deleted or is_blocked:
            self.commit()

    def commit(self) -> None:
        """Put everything on disk now, unless the disk has just refused."""
        if not self._attempt(self._save, False):
            return
        if not self.is_saving:
            _log.info("the outbox is saved again")
        self.is_saving = True

    def stats(self) -> OutboxStats:
        """Return how full the outbox is; may be called from any thread."""
        return OutboxStats(
            self._disk.messages + len(self._unsaved),
            self._disk.bytes + self._unsaved_bytes,
            self._dropped_total + self._disk.damaged_total,
        )

    def close(self) -> None:
        """Save what waits and let go of the file."""
        # Also if the disk has just refused: there is no later.
        self._blocked_until_s = self._clock()
        self.commit()
        self._disk.close()

    def _save(self) -> bool:
        self._disk.add(tuple(self._unsaved.values()), self.stats().dropped_total)
        self._unsaved.clear()
        self._unsaved_bytes = 0
        return True

    def _drop_oldest(self) -> bool:
        """Drop one message, False if there is none."""
        if self._disk.messages and self._attempt(self._disk.delete_oldest, False):
            self._dropped_total += 1
            return True
        return self._drop_unsaved()

    def _drop_unsaved(self) -> bool:
        if not self._unsaved:
            return False
        self._take_unsaved(next(iter(self._unsaved)))
        self._dropped_total += 1
        return True

    def _take_unsaved(self, key: int) -> None:
        self._unsaved_bytes -= self._unsaved.pop(key).size_bytes

    def _attempt(self, step: Callable[[], T], otherwise: T) -> T:
        """Do something with the disk, unless it has refused a moment ago."""
        if not self.is_saving and self._clock() < self._blocked_until_s:
            return otherwise
        try:
            return step()
        except (sqlite3.Error, OSError) as error:
            _log.error("the disk refuses the outbox: %s", error)
            self.is_saving = False
            self._blocked_until_s = self._clock() + _RETRY_S
            self._recover(error)
            return otherwise

    def _recover(self, error: Exception) -> None:
        try:
            if isinstance(error, sqlite3.Error):
                self._disk.recover(error)
        except (sqlite3.Error, OSError) as another:
            _log.error("the outbox cannot be read: %s", another)
