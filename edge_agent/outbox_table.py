"""The outbox's rows on disk: one SQLite table, and what to do when its file is damaged."""

import logging
import sqlite3
from pathlib import Path
from typing import Iterable, List, NamedTuple

_log = logging.getLogger(__name__)
# What a row costs beside its topic and payload, about.
_ROW_BYTES = 48
_SETUP = """
PRAGMA locking_mode = EXCLUSIVE;
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
PRAGMA journal_size_limit = 1048576;
CREATE TABLE IF NOT EXISTS messages (
    key INTEGER PRIMARY KEY, topic TEXT NOT NULL, payload BLOB NOT NULL, retain INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
"""
_COUNT = f"""
SELECT count(*), coalesce(sum(length(CAST(topic AS BLOB)) + length(payload) + {_ROW_BYTES}), 0),
    coalesce(max(key), 0) FROM messages
"""
_READ = "SELECT key, topic, payload, retain FROM messages WHERE key > ? ORDER BY key LIMIT ?"


class Row(NamedTuple):
    """A message that waits; a younger one has a higher `key`."""

    key: int
    topic: str
    payload: bytes
    retain: bool

    @property
    def size_bytes(self) -> int:
        """What it counts for."""
        return len(self.topic.encode("utf-8")) + len(self.payload) + _ROW_BYTES


class OutboxTable:
    """The rows on disk. Deletions become durable with the next `add`. Every method may raise sqlite3.Error.

    Attributes:
        messages: how many rows there are.
        bytes: what they count for.
        last_key: the highest key so far.
        dropped_total: as it was last saved.
        has_deleted: whether a deletion is not durable yet.
        was_reset: the file was damaged and lies aside as `*.corrupt`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.was_reset = False
        self.dropped_total = 0
        try:
            self._open()
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:
            self._set_aside(error)
            self._open()

    def recover(self, error: sqlite3.Error) -> None:
        """Find out what is there after an error."""
        if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
            self._database.close()
            self._set_aside(error)
            self._open()
            return
        if self._database.in_transaction:
            self._database.execute("ROLLBACK")
        self._count()

    def add(self, rows: Iterable[Row], dropped_total: int) -> None:
        """Write rows and make everything durable."""
        self._begin()
        self._database.executemany("INSERT INTO messages VALUES (?, ?, ?, ?)", rows)
        if dropped_total != self.dropped_total:
            self._database.execute("REPLACE INTO facts VALUES ('dropped_total', ?)", (dropped_total,))
        self._database.execute("COMMIT")
        self.dropped_total = dropped_total
        self.has_deleted = False

    def read(self, after_key: int, limit: int) -> List[Row]:
        """Return the oldest rows that are younger than `after_key`."""
        found = self._database.execute(_READ, (after_key, limit))
        return [Row(key, topic, payload, bool(retain)) for key, topic, payload, retain in found]

    def delete(self, key: int) -> bool:
        """Remove a row; False if there is none."""
        rows = self.read(key - 1, 1)
        if not rows or rows[0].key != key:
            return False
        self._begin()
        self._database.execute("DELETE FROM messages WHERE key = ?", (key,))
        self.has_deleted = True
        self.messages -= 1
        self.bytes -= rows[0].size_bytes
        return True

    def delete_oldest(self) -> bool:
        """Remove the oldest row; False if there is none."""
        rows = self.read(0, 1)
        return bool(rows) and self.delete(rows[0].key)

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    def _open(self) -> None:
        self._database = sqlite3.connect(
            str(self._path), timeout=0, isolation_level=None, check_same_thread=False
        )
        try:
            self._database.executescript(_SETUP)
            verdict = self._database.execute("PRAGMA quick_check(1)").fetchone()[0]
            if verdict != "ok":
                raise sqlite3.DatabaseError(verdict)
            self._count()
        except sqlite3.Error:
            self._database.close()
            raise

    def _count(self) -> None:
        self.messages, self.bytes, self.last_key = self._database.execute(_COUNT).fetchone()
        found = self._database.execute("SELECT value FROM facts WHERE name = 'dropped_total'").fetchone()
        self.dropped_total = found[0] if found else 0
        self.has_deleted = False

    def _set_aside(self, error: sqlite3.Error) -> None:
        _log.error("%s is damaged and set aside: %s", self._path, error)
        self.was_reset = True
        for suffix in ("-wal", "-shm", ""):
            file = self._path.with_name(self._path.name + suffix)
            if file.exists():
                file.replace(file.with_name(file.name + ".corrupt"))

    def _begin(self) -> None:
        if not self._database.in_transaction:
            self._database.execute("BEGIN")
