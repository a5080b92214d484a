"""What this fleet was told and by whom: releases, what must stay retained, and the audit trail; SQLite.

It is written before anything is published, so that whoever comes next knows at least what the boards know.
"""

import getpass
import os
import socket
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from contract.codec import decode
from contract.envelope import Envelope
from contract.manifest import ReleaseManifest
from host_cli.errors import Failed, WrongUsage

LEDGER_FILE = "ledger.db"
BUSY_TIMEOUT_S = 5.0
VERSION = 1
# States of a rollout; in the first three something is left to do.
RUNNING, PAUSED, ABORTING = "running", "paused", "aborting"
ABORTED, SUPERSEDED, DONE = "aborted", "superseded", "done"
UNFINISHED = (RUNNING, PAUSED, ABORTING)
_SCHEMA = """
CREATE TABLE IF NOT EXISTS releases (
    sequence INTEGER PRIMARY KEY, channel TEXT NOT NULL, devices TEXT NOT NULL, rollout TEXT NOT NULL,
    name TEXT NOT NULL, version TEXT NOT NULL, model_sha256 TEXT NOT NULL, envelope BLOB NOT NULL,
    at_s REAL NOT NULL, who TEXT NOT NULL, key_id TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS facts (topic TEXT PRIMARY KEY, sequence INTEGER NOT NULL, payload BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS rollouts (
    id TEXT PRIMARY KEY, base TEXT NOT NULL, channel TEXT NOT NULL, plan TEXT NOT NULL,
    template BLOB NOT NULL, previous BLOB NOT NULL,
    state TEXT NOT NULL, stage INTEGER NOT NULL, started_s REAL NOT NULL,
    paused_s REAL, back_sequence INTEGER, reason TEXT);
CREATE TABLE IF NOT EXISTS stages (
    rollout TEXT NOT NULL, number INTEGER NOT NULL, sequence INTEGER NOT NULL,
    published_s REAL, met_s REAL, ended_s REAL, PRIMARY KEY (rollout, number));
CREATE TABLE IF NOT EXISTS stage_devices (
    rollout TEXT NOT NULL, stage INTEGER NOT NULL, device TEXT NOT NULL, phase TEXT, problem TEXT,
    boot TEXT, n INTEGER, PRIMARY KEY (rollout, stage, device));
CREATE TABLE IF NOT EXISTS audit (
    at_s REAL NOT NULL, who TEXT NOT NULL, what TEXT NOT NULL, about TEXT NOT NULL, key_id TEXT NOT NULL);
"""


@dataclass(frozen=True)
class Issued:
    """A release as it was signed; `devices` empty means the channel. `at_s` is seconds since 1970."""

    sequence: int
    channel: str
    devices: tuple[str, ...]
    rollout: str
    name: str
    version: str
    model_sha256: str
    envelope: bytes = field(repr=False)
    at_s: float = 0.0
    who: str = ""
    key_id: str = ""

    @property
    def manifest(self) -> ReleaseManifest:
        """The signed document; our own key signed it, so it is not verified again."""
        return decode(Envelope, self.envelope).open(ReleaseManifest)


@dataclass(frozen=True)
class Desired:
    """What must be retained on a topic: a signed release of that sequence, or nothing when it is empty."""

    topic: str
    sequence: int
    payload: bytes = field(repr=False)


@dataclass(frozen=True)
class Entry:
    """A line of the audit trail: when (seconds since 1970), who did what to what, with which key."""

    at_s: float
    who: str
    what: str
    about: str
    key_id: str


class Ledger:
    """A `with` block around the file; several programs may have it open at once.

    Raises:
        WrongUsage: there is no such folder.
        Failed: it cannot be opened, read or written.
    """

    def __init__(self, fleet: Path) -> None:
        if not fleet.is_dir():
            hint = "deploy keys init --fleet DIR, or give the right --fleet"
            raise WrongUsage("there is no fleet's folder", str(fleet), hint)
        self.path = fleet / LEDGER_FILE
        self.who = f"{_user()}@{socket.gethostname()}"
        self._depth = 0
        with self._told():
            self._connection = sqlite3.connect(self.path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
            self._connection.row_factory = sqlite3.Row

    def __enter__(self) -> "Ledger":
        try:
            with self._told():
                self._prepare()
        except BaseException:
            self._connection.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    @contextmanager
    def step(self) -> Iterator[None]:
        """Everything written in the block is written, or nothing of it; blocks may stand in each other."""
        if self._depth:
            yield
            return
        with self._told():
            self._connection.execute("BEGIN IMMEDIATE")
            self._depth = 1
            try:
                yield
                self._connection.execute("COMMIT")
            finally:
                self._depth = 0
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    def write(self, statement: str, values: Sequence[Any] = ()) -> int:
        """Run one statement; return how many rows it changed."""
        with self.step():
            return self._connection.execute(statement, values).rowcount

    def write_many(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run one statement for every row."""
        with self.step():
            self._connection.executemany(statement, rows)

    def read(self, query: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """Return the rows that a query finds."""
        with self._told():
            return self._connection.execute(query, values).fetchall()

    def note(self, what: str, about: str, now_s: float, key_id: str = "") -> None:
        """Add a line to the audit trail."""
        self.write("INSERT INTO audit VALUES (?, ?, ?, ?, ?)", (now_s, self.who, what, about, key_id))

    def add_release(
        self, release: ReleaseManifest, envelope: bytes, topics: Iterable[str], key_id: str, now_s: float
    ) -> None:
        """Write down a release that was signed, and that from now on it is wanted on these topics."""
        target = ",".join(release.devices)
        about = f"{release.model.name} {release.model.version}, sequence {release.sequence}, "
        about += f"{target or 'channel ' + release.channel}, {release.rollout.percent:g} %"
        with self.step():
            self.write(
                "INSERT INTO releases VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(release.sequence, release.channel, target, release.rollout.id),
                    *(release.model.name, release.model.version, release.blobs["model"].sha256),
                    *(envelope, now_s, self.who, key_id),
                ),
            )
            for topic in topics:
                self.want(Desired(topic, release.sequence, envelope))
            self.note("release", about, now_s, key_id)

    def want(self, desired: Desired) -> None:
        """Write down what must be retained on a topic from now on."""
        self.write(
            "INSERT OR REPLACE INTO facts VALUES (?, ?, ?)",
            (desired.topic, desired.sequence, desired.payload),
        )

    def forget(self, topic: str) -> None:
        """Stop wanting anything on a topic: somebody else speaks there now."""
        self.write("DELETE FROM facts WHERE topic = ?", (topic,))

    def wanted(self) -> list[Desired]:
        """Return everything that must be retained, by topic."""
        return [
            Desired(*row) for row in self.read("SELECT topic, sequence, payload FROM facts ORDER BY topic")
        ]

    def wanted_on(self, topic: str) -> Desired | None:
        """Return what must be retained on one topic, None for whatever there is."""
        rows = self.read("SELECT topic, sequence, payload FROM facts WHERE topic = ?", (topic,))
        return Desired(*rows[0]) if rows else None

    def releases(self) -> list[Issued]:
        """Return every release that was ever signed, oldest first."""
        rows = self.read("SELECT * FROM releases ORDER BY sequence")
        return [Issued(**{**row, "devices": tuple(filter(None, row["devices"].split(",")))}) for row in rows]

    def last_sequence(self) -> int:
        """Return the highest sequence that was ever signed, 0 before the first."""
        return int(self.read("SELECT coalesce(max(sequence), 0) AS last FROM releases")[0]["last"])

    def has_unfinished_rollout(self) -> bool:
        """Whether a rollout may still go on, or go back."""
        query = "SELECT 1 FROM rollouts WHERE state IN (?, ?, ?) LIMIT 1"
        return bool(self.read(query, UNFINISHED))

    def entries(self) -> list[Entry]:
        """Return the audit trail, oldest first."""
        return [Entry(**row) for row in self.read("SELECT * FROM audit ORDER BY rowid")]

    def _prepare(self) -> None:
        # Whatever was published must be known after a power cut, so every commit waits for the disk.
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            raise Failed(f"written by a newer deploy (version {version})", str(self.path), "use that one")
        self._connection.executescript(_SCHEMA)
        self._connection.execute(f"PRAGMA user_version={VERSION}")

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            hint = "check the disk and its rights; if it is damaged, restore it from a copy"
            raise Failed(f"the ledger cannot be used: {error}", str(self.path), hint) from error


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # A container may run under a number that has no name.
        return str(os.getuid())
