"""A catalogue of what was trained, in SQLite or PostgreSQL; the only module that imports SQLAlchemy."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import sqlalchemy as sql
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from contract.training import TrainingReport
from host_cli.errors import CommandError, Unreachable, WrongUsage

DEFAULT_STORE = "sqlite:///catalogue.db"
# Several models may be through at the same moment.
BUSY_TIMEOUT_S = 30
CONNECT_TIMEOUT_S = 10
# SQLAlchemy's own choice for postgresql:// depends on its version.
_DRIVERS = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg"}
_METADATA = sql.MetaData()

RESULTS = sql.Table(
    "training_results",
    _METADATA,
    sql.Column("run", sql.String(63), primary_key=True),
    sql.Column("model", sql.String(63), primary_key=True),
    sql.Column("architecture", sql.String(128), nullable=False),
    sql.Column("learning_rate", sql.Double, nullable=False),
    sql.Column("dataset", sql.String(63), nullable=False),
    sql.Column("stream", sql.String(64), nullable=False),
    sql.Column("steps", sql.BigInteger, nullable=False),
    sql.Column("samples", sql.BigInteger, nullable=False),
    sql.Column("accuracy", sql.Double, nullable=False),
    sql.Column("loss", sql.Double, nullable=False),
    sql.Column("seconds", sql.Double, nullable=False),
    sql.Column("path", sql.Text, nullable=False),
    sql.Column("sha256", sql.String(64), nullable=False),
    sql.Column("finished", sql.String(32), nullable=False),
)
REPORTS = sql.Table(
    "training_reports",
    _METADATA,
    sql.Column("run", sql.String(63), primary_key=True),
    sql.Column("model", sql.String(63), primary_key=True),
    sql.Column("step", sql.BigInteger, primary_key=True, autoincrement=False),
    sql.Column("samples", sql.BigInteger, nullable=False),
    sql.Column("accuracy", sql.Double, nullable=False),
    sql.Column("loss", sql.Double, nullable=False),
)


@dataclass(frozen=True)
class Result:
    """What became of one model of a run.

    Attributes:
        run: name of the run.
        model: name of the model in it.
        architecture: which model that is.
        learning_rate: of its optimizer.
        dataset: name of the stream.
        stream: SHA-256 of the stream.
        steps: how many it took.
        samples: how many it learned from.
        accuracy: on what was set aside, 0 to 1.
        loss: mean cross-entropy there, nats.
        seconds: how long it learned.
        path: where its `.keras` file lies.
        sha256: of that file.
        finished: RFC 3339 time.
    """

    run: str
    model: str
    architecture: str
    learning_rate: float
    dataset: str
    stream: str
    steps: int
    samples: int
    accuracy: float
    loss: float
    seconds: float
    path: str
    sha256: str
    finished: str


class Catalogue:
    """A `with` block around a database; its tables are made where they are missing, unless it is to be read.

    Raises:
        WrongUsage: not an address of a database we know, or one with a password in it.
        Unreachable: the database cannot be opened, read or written.
    """

    def __init__(self, address: str, *, is_read: bool = False) -> None:
        self._engine = _open(address)
        self._is_read = is_read

    def __enter__(self) -> "Catalogue":
        try:
            if self._is_read:
                self._refuse_nothing()
            else:
                self._make_tables()
        except SQLAlchemyError as error:
            self._engine.dispose()
            raise self._unreachable(error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._engine.dispose()

    def save(self, result: Result, reports: Sequence[TrainingReport]) -> None:
        """Store a model's result and its reports; they take the place of an earlier one of that name."""
        rows = [
            {key: getattr(report, key) for key in REPORTS.columns.keys()}  # noqa: SIM118 - a collection of columns
            for report in reports
        ]
        try:
            with self._engine.begin() as connection:
                for table in (RESULTS, REPORTS):
                    same = (table.c.run == result.run) & (table.c.model == result.model)
                    connection.execute(sql.delete(table).where(same))
                connection.execute(sql.insert(RESULTS), asdict(result))
                if rows:
                    connection.execute(sql.insert(REPORTS), rows)
        except SQLAlchemyError as error:
            raise self._unreachable(error) from error

    def results(self, run: str | None = None) -> list[Result]:
        """Return all results, or those of one run, the most accurate first."""
        query = sql.select(RESULTS).order_by(
            RESULTS.c.accuracy.desc(), RESULTS.c.loss, RESULTS.c.run, RESULTS.c.model
        )
        if run is not None:
            query = query.where(RESULTS.c.run == run)
        try:
            with self._engine.connect() as connection:
                return [Result(**row) for row in connection.execute(query).mappings()]
        except SQLAlchemyError as error:
            raise self._unreachable(error) from error

    def _make_tables(self) -> None:
        try:
            _METADATA.create_all(self._engine)
        except SQLAlchemyError:
            # Somebody else made them at the same moment; if it was something else, it happens again.
            _METADATA.create_all(self._engine)

    def _refuse_nothing(self) -> None:
        # SQLite would make an empty file.
        url = self._engine.url
        is_absent = url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file()
        if is_absent or not sql.inspect(self._engine).has_table(RESULTS.name):
            where = url.render_as_string(hide_password=True)
            raise Unreachable("there is no catalogue", where, "`cloud-train follow --store` writes one")

    def _unreachable(self, error: SQLAlchemyError) -> CommandError:
        reason = str(getattr(error, "orig", None) or error).splitlines()[0]
        where = self._engine.url.render_as_string(hide_password=True)
        hint = "check that it is there and has space"
        return Unreachable(f"the catalogue does not answer: {reason}", where, hint)


def _open(address: str) -> sql.Engine:
    hint = f"write {DEFAULT_STORE} or postgresql://host/database"
    try:
        url = sql.make_url(address)
    except ArgumentError as error:
        raise WrongUsage("not an address of a catalogue", "--store", hint) from error
    if url.password is not None:
        raise WrongUsage("no password belongs on a command line", "--store", "put it into ~/.pgpass")
    driver = _DRIVERS.get(url.get_backend_name())
    if driver is None:
        raise WrongUsage(f"no such kind of catalogue: {url.get_backend_name()}", "--store", hint)
    waiting: dict[str, Any] = {"connect_timeout": CONNECT_TIMEOUT_S}
    if driver == "sqlite":
        waiting = {"timeout": BUSY_TIMEOUT_S}
    try:
        return sql.create_engine(url.set(drivername=driver), connect_args=waiting)
    except (ImportError, NoSuchModuleError) as error:
        raise WrongUsage(
            f"its driver is not installed: {error}", "--store", "pip install '.[postgresql]'"
        ) from error
