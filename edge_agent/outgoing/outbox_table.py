"""The outbox's messages on disk: one SQLite table of blocks, and what to do when its file is damaged.

Blocks are small and pages too, because the eMMC wears out by the page: docs/decisions/0010-outbox-blocks.md.
SQLite is told to keep 512 KiB of them in memory; by itself it keeps 2 MB.
"""

import itertools
import logging
import sqlite3
from pathlib import Path
from typing import Dict, Iterable, List, Sequence

from edge_agent.outgoing.outbox_block import Row, cut, pack, unpack

_log = logging.getLogger(__name__)
_SETUP = """
PRAGMA page_size = 512;
PRAGMA cache_size = -512;
PRAGMA secure_delete = OFF;
PRAGMA locking_mode = EXCLUSIVE;
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
PRAGMA wal_autocheckpoint = 2048;
PRAGMA journal_size_limit = 1048576;
CREATE TABLE IF NOT EXISTS blocks (
    last INTEGER PRIMARY KEY, messages INTEGER NOT NULL, bytes INTEGER NOT NULL, block BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
"""
_COUNT = "SELECT coalesce(sum(messages), 0), coalesce(sum(bytes), 0), coalesce(max(last), 0) FROM blocks"
_NEXT = "SELECT last, block, messages, bytes FROM blocks WHERE last > ? ORDER BY last LIMIT 1"


class OutboxTable:
    """The messages on disk. Deletions are durable with the next `add`. Every method may raise sqlite3.Error.

    The blocks whose messages were asked for are in memory too, without the messages that were deleted. A
    block leaves the disk when it and all older ones have no message left; after a restart the others come
    whole: messages are then sent twice, never lost.

    Attributes:
        messages: how many there are.
        bytes: what they count for.
        last_key: the highest key so far.
        dropped_total: as it was last saved.
        damaged_total: messages that were on disk and cannot be read any more, since it was opened.
        has_deleted: whether a deletion is not durable yet.
        was_reset: the file was damaged and lies aside as `*.corrupt`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._database: sqlite3.Connection
        self.was_reset = False
        self.messages = self.bytes = self.last_key = self.dropped_total = self.damaged_total = 0
        try:
            self._open()
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:
            self._set_aside(error)
            self._open()

    def recover(self, error: sqlite3.Error) -> None:
        """Go on after an error, with a new file if this one is damaged."""
        if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
            self._database.close()
            self.damaged_total += self.messages
            self._set_aside(error)
            self._open()
        elif self._database.in_transaction:
            self._database.execute("ROLLBACK")

    def add(self, rows: Sequence[Row], dropped_total: int) -> None:
        """Write rows, in the order of their keys, and make everything durable."""
        execute = self._database.execute
        execute("BEGIN")
        self._insert(rows)
        execute("DELETE FROM blocks WHERE last < ?", (next(iter(self._read), self._read_to + 1),))
        if dropped_total != self.dropped_total:
            execute("REPLACE INTO facts VALUES ('dropped_total', ?)", (dropped_total,))
        execute("COMMIT")
        self.messages += len(rows)
        self.bytes += sum(row.size_bytes for row in rows)
        self.last_key = rows[-1].key if rows else self.last_key
        self.dropped_total = dropped_total
        self.has_deleted = False

    def read(self, after_key: int, limit: int) -> List[Row]:
        """Return the oldest rows that are younger than `after_key`."""
        while True:
            younger = (row for row in self._read.values() if row.key > after_key)
            found = list(itertools.islice(younger, limit))
            if len(found) == limit or not self._read_block():
                return found

    def delete(self, key: int) -> bool:
        """Remove a row; False if there is none."""
        while key > self._read_to and self._read_block():
            pass
        row = self._read.pop(key, None)
        if row is None:
            return False
        self.messages -= 1
        self.bytes -= row.size_bytes
        self.has_deleted = True
        return True

    def delete_oldest(self) -> bool:
        """Remove the oldest row; False if there is none."""
        rows = self.read(0, 1)
        return bool(rows) and self.delete(rows[0].key)

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    def _open(self) -> None:
        self._read: Dict[int, Row] = {}
        self._read_to = 0
        self.has_deleted = False
        self._database = sqlite3.connect(
            str(self._path), timeout=0, isolation_level=None, check_same_thread=False
        )
        try:
            self._database.executescript(_SETUP)
            verdict = self._database.execute("PRAGMA quick_check(1)").fetchone()[0]
            if verdict != "ok":
                raise sqlite3.DatabaseError(verdict)
            self._convert()
            self._count()
        except sqlite3.Error:
            self._database.close()
            raise

    def _convert(self) -> None:
        """Take over what version 0.1 has left: a table with one row for each message."""
        execute = self._database.execute
        if execute("SELECT 1 FROM sqlite_master WHERE name = 'messages'").fetchone():
            execute("BEGIN")
            old = execute("SELECT key, topic, payload, retain FROM messages ORDER BY key")
            self._insert(Row(key, topic, payload, bool(retain)) for key, topic, payload, retain in old)
            execute("DROP TABLE messages")
            execute("COMMIT")

    def _count(self) -> None:
        self.messages, self.bytes, self.last_key = self._database.execute(_COUNT).fetchone()
        found = self._database.execute("SELECT value FROM facts WHERE name = 'dropped_total'").fetchone()
        self.dropped_total = found[0] if found else 0

    def _insert(self, rows: Iterable[Row]) -> None:
        blocks = (
            (group[-1].key, len(group), sum(row.size_bytes for row in group), pack(group))
            for group in cut(rows)
        )
        self._database.executemany("INSERT INTO blocks VALUES (?, ?, ?, ?)", blocks)

    def _read_block(self) -> bool:
        """Read the oldest block that has not been read; False if there is none."""
        found = self._database.execute(_NEXT, (self._read_to,)).fetchone()
        if found is None:
            return False
        self._read_to, block, messages, size_bytes = found
        try:
            self._read.update((row.key, row) for row in unpack(block))
        except ValueError as error:
            _log.error("%d messages that waited are damaged: %s", messages, error)
            self.messages -= messages
            self.bytes -= size_bytes
            self.damaged_total += messages
            self.has_deleted = True
        return True

    def _set_aside(self, error: sqlite3.Error) -> None:
        _log.error("%s is damaged and set aside: %s", self._path, error)
        self.was_reset = True
        for suffix in ("-wal", "-shm", ""):
            file = self._path.with_name(self._path.name + suffix)
            if file.exists():
                file.replace(file.with_name(file.name + ".corrupt"))
