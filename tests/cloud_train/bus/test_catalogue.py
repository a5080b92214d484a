"""The catalogue: the same rows in SQLite and in a real PostgreSQL."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cloud_train.bus.catalogue import REPORTS, Catalogue, Result
from contract.training import TrainingReport
from host_cli.errors import Unreachable, WrongUsage
from tests.fakes.postgres import run_postgres

TIME = "2026-11-21T03:20:00.123Z"
RESULT = Result(
    run="first",
    model="fast",
    architecture="cnn3",
    learning_rate=0.002,
    dataset="fashion-mnist",
    stream="5d0c" * 16,
    steps=200,
    samples=6400,
    accuracy=0.7912345,
    loss=0.5512,
    seconds=12.345,
    path="first/fast/model.keras",
    sha256="ab" * 32,
    finished=TIME,
)
REPORTED = [
    TrainingReport("first", "fast", "fashion-mnist", TIME, step, 32 * step, 0.7, 0.6) for step in (100, 200)
]


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with run_postgres(tmp_path_factory.mktemp("postgres") / "server") as address:
        yield address


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'catalogue.db'}"
    return str(request.getfixturevalue("postgres"))


def test_results_are_kept_and_the_best_comes_first(address):
    """Also when they are read by another connection; every column comes back as it was given."""
    worse = replace(RESULT, model="slow", accuracy=0.5)
    other = replace(RESULT, run="second", accuracy=0.9)
    with Catalogue(address) as catalogue:
        for one in (RESULT, worse, other):
            catalogue.save(one, [])
    with Catalogue(address, is_read=True) as catalogue:
        assert catalogue.results() == [other, RESULT, worse]
        assert catalogue.results("first") == [RESULT, worse]
        assert catalogue.results("third") == []


def test_a_result_takes_the_place_of_an_earlier_one_of_its_name(address):
    """With its reports: a model that is told twice is one row."""
    with Catalogue(address) as catalogue:
        catalogue.save(RESULT, REPORTED)
        catalogue.save(replace(RESULT, accuracy=0.1), REPORTED[:1])
        assert [one.accuracy for one in catalogue.results("first") if one.model == "fast"] == [0.1]
        with catalogue._engine.connect() as connection:
            rows = connection.execute(REPORTS.select().where(REPORTS.c.model == "fast")).all()
    assert [tuple(row) for row in rows] == [("first", "fast", 100, 3200, 0.7, 0.6)]


def test_a_result_is_stored_whole_or_not_at_all(address):
    """When its reports cannot be stored, the result before it stays."""
    with Catalogue(address) as catalogue:
        catalogue.save(RESULT, REPORTED)
        with pytest.raises(Unreachable, match="does not answer"):
            catalogue.save(replace(RESULT, accuracy=0.2), [REPORTED[0], REPORTED[0]])
        assert RESULT in catalogue.results()


@pytest.mark.parametrize(
    "text", ["", "results.db", "mysql://host/db", "sqlite", "postgresql://me:hunter2@host/db"]
)
def test_an_address_of_no_catalogue_is_wrong_usage(text):
    """The error repeats no password."""
    with pytest.raises(WrongUsage) as caught:
        Catalogue(text)
    assert "hunter2" not in str(vars(caught.value)) and caught.value.where == "--store"


def test_a_catalogue_that_is_not_there_is_unreachable(tmp_path):
    """A folder or a server that is not there; reading makes no file."""
    for address in (f"sqlite:///{tmp_path}/no/catalogue.db", f"postgresql://root@/x?host={tmp_path}"):
        with pytest.raises(Unreachable, match="does not answer"), Catalogue(address):
            pass
    absent = tmp_path / "catalogue.db"
    with (
        pytest.raises(Unreachable, match="there is no catalogue"),
        Catalogue(f"sqlite:///{absent}", is_read=True),
    ):
        pass
    assert not absent.exists()


def test_a_file_that_is_no_database_is_told(tmp_path):
    """Not overwritten."""
    (tmp_path / "notes.txt").write_text("not a database, but long enough to be looked at" * 10)
    with pytest.raises(Unreachable, match="not a database"), Catalogue(f"sqlite:///{tmp_path}/notes.txt"):
        pass
