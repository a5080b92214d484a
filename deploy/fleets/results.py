"""Keeps what a fleet reported in SQLite or PostgreSQL; the only module that imports SQLAlchemy."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import sqlalchemy as sql
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from contract.codec import encode
from contract.messages import DeviceInfo, ModelReport, Prediction
from host_cli.errors import CommandError, Unreachable, WrongUsage

EXAMPLE = "sqlite:///results.db"
BUSY_TIMEOUT_S = 5.0
_INSERTS: dict[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
_METADATA = sql.MetaData()

PREDICTIONS = sql.Table(
    "predictions",
    _METADATA,
    sql.Column("device", sql.String(63), primary_key=True),
    sql.Column("boot", sql.String(26), primary_key=True),
    sql.Column("source", sql.String(63), primary_key=True),
    sql.Column("seq", sql.BigInteger, primary_key=True, autoincrement=False),
    sql.Column("ts", sql.String(32), nullable=False, index=True),
    sql.Column("label", sql.String(128), nullable=False),
    sql.Column("score", sql.Float, nullable=False),
    sql.Column("model", sql.String(63), nullable=False),
    sql.Column("version", sql.String(63), nullable=False),
    sql.Column("backend", sql.String(16), nullable=False),
    sql.Column("total_ms", sql.Float, nullable=False),
    sql.Column("document", sql.Text, nullable=False),
)
REPORTS = sql.Table(
    "reports",
    _METADATA,
    sql.Column("device", sql.String(63), primary_key=True),
    sql.Column("digest", sql.String(64), primary_key=True),
    sql.Column("ts", sql.String(32), nullable=False),
    sql.Column("phase", sql.String(16), nullable=False),
    sql.Column("sequence", sql.BigInteger),
    sql.Column("version", sql.String(63)),
    sql.Column("error", sql.String(40)),
    sql.Column("document", sql.Text, nullable=False),
)
INFOS = sql.Table(
    "infos",
    _METADATA,
    sql.Column("device", sql.String(63), primary_key=True),
    sql.Column("digest", sql.String(64), primary_key=True),
    sql.Column("boot", sql.String(26), nullable=False),
    sql.Column("ts", sql.String(32), nullable=False),
    sql.Column("document", sql.Text, nullable=False),
)


@dataclass(frozen=True)
class Arrived:
    """A checked document of one device; reports and infos name their device only by the topic."""

    device: str
    document: Prediction | ModelReport | DeviceInfo


@dataclass(frozen=True)
class Gap:
    """How many predictions of one device, boot and source never arrived, up to the highest that did."""

    device: str
    boot: str
    source: str
    lost: int


class ResultStore:
    """A `with` block around a database.

    Raises:
        WrongUsage: not an address of a database we know, or one with a password in it.
        Unreachable: the database cannot be opened, read or written.
    """

    def __init__(self, address: str) -> None:
        self._engine = _open(address)
        self._insert = _INSERTS[self._engine.dialect.name]

    def __enter__(self) -> "ResultStore":
        try:
            _METADATA.create_all(self._engine)
        except SQLAlchemyError as error:
            self._engine.dispose()
            raise self._unreachable(error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._engine.dispose()

    def save(self, arrived: Sequence[Arrived]) -> int:
        """Store a batch in one transaction; what is there already is left as it is.

        Returns:
            How many predictions were new.
        """
        rows: dict[str, list[dict[str, Any]]] = {table.name: [] for table in (PREDICTIONS, REPORTS, INFOS)}
        for one in arrived:
            table, row = _as_row(one)
            rows[table.name].append(row)
        try:
            with self._engine.begin() as connection:
                self._add(connection, REPORTS, rows["reports"])
                self._add(connection, INFOS, rows["infos"])
                return self._add(connection, PREDICTIONS, rows["predictions"])
        except SQLAlchemyError as error:
            raise self._unreachable(error) from error

    def gaps(self) -> list[Gap]:
        """Return every device, boot and source that lost predictions: seq starts at 1 and has no holes."""
        table = PREDICTIONS.c
        lost = sql.func.max(table.seq) - sql.func.count()
        query = sql.select(table.device, table.boot, table.source, lost.label("lost"))
        query = query.group_by(table.device, table.boot, table.source).having(lost > 0)
        query = query.order_by(table.device, table.boot, table.source)
        try:
            with self._engine.connect() as connection:
                return [
                    Gap(row.device, row.boot, row.source, int(row.lost)) for row in connection.execute(query)
                ]
        except SQLAlchemyError as error:
            raise self._unreachable(error) from error

    def _add(self, connection: sql.Connection, table: sql.Table, rows: list[dict[str, Any]]) -> int:
        if not rows:
            return 0
        return connection.execute(self._insert(table).on_conflict_do_nothing(), rows).rowcount

    def _unreachable(self, error: SQLAlchemyError) -> CommandError:
        reason = str(getattr(error, "orig", None) or error).splitlines()[0]
        where = self._engine.url.render_as_string(hide_password=True)
        return Unreachable(
            f"the store does not answer: {reason}", where, "check that it is there and has space"
        )


def count_lost(gaps: Iterable[Gap]) -> int:
    """Return how many predictions are missing in all."""
    return sum(gap.lost for gap in gaps)


def _open(address: str) -> sql.Engine:
    hint = f"write {EXAMPLE} or postgresql://host/database"
    try:
        url = sql.make_url(address)
    except ArgumentError as error:
        raise WrongUsage("not an address of a store", "--store", hint) from error
    if url.password is not None:
        raise WrongUsage("no password belongs on a command line", "--store", "put it into ~/.pgpass")
    if url.get_backend_name() not in _INSERTS:
        raise WrongUsage(f"no such store: {url.get_backend_name()}", "--store", hint)
    try:
        engine = sql.create_engine(url)
    except (ImportError, NoSuchModuleError) as error:
        raise WrongUsage(f"its driver is not installed: {error}", "--store", hint) from error
    if engine.dialect.name == "sqlite":
        sql.event.listen(engine, "connect", _make_durable)
    return engine


def _make_durable(connection: Any, record: Any) -> None:
    # A prediction is acknowledged after the commit, so a commit must survive a power cut.
    connection.execute(f"PRAGMA busy_timeout={int(BUSY_TIMEOUT_S * 1000)}")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")


def _as_row(arrived: Arrived) -> tuple[sql.Table, dict[str, Any]]:
    document = arrived.document
    wire = encode(document)
    common = {"device": arrived.device, "ts": document.ts, "document": wire.decode()}
    if isinstance(document, Prediction):
        return PREDICTIONS, {**common, **_prediction_columns(document)}
    digest = hashlib.sha256(wire).hexdigest()
    if isinstance(document, DeviceInfo):
        return INFOS, {**common, "digest": digest, "boot": document.boot}
    return REPORTS, {**common, "digest": digest, **_report_columns(document)}


def _prediction_columns(document: Prediction) -> dict[str, Any]:
    return {
        "boot": document.boot,
        "source": document.source,
        "seq": document.seq,
        "label": document.label,
        "score": document.score,
        "model": document.model.name,
        "version": document.model.version,
        "backend": document.backend,
        "total_ms": document.latency_ms.total,
    }


def _report_columns(document: ModelReport) -> dict[str, Any]:
    return {
        "phase": document.phase,
        "sequence": document.sequence,
        "version": document.current.version if document.current else None,
        "error": document.error.code if document.error else None,
    }
