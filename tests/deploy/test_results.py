"""The store: each prediction once, gaps counted, no secret and no half batch."""

from dataclasses import replace

import pytest
import sqlalchemy as sql

from deploy.fleets.results import PREDICTIONS, Arrived, Gap, ResultStore, count_lost
from host_cli.errors import Unreachable, WrongUsage
from tests.deploy.fake_device import make_info, make_prediction, make_report

OTHER_BOOT = "01JD8Z6M5T3Q0E9W2K7R4C1XAC"


@pytest.fixture
def address(tmp_path):
    return f"sqlite:///{tmp_path / 'results.db'}"


def predictions(*seqs: int, **changes) -> list[Arrived]:
    return [Arrived("reef-1", make_prediction("reef-1", seq, **changes)) for seq in seqs]


def test_a_replayed_prediction_is_stored_once(address):
    """In the same batch, in a later batch, and after a restart."""
    with ResultStore(address) as store:
        assert store.save(predictions(1, 2, 2)) == 2
        assert store.save(predictions(2, 3)) == 1
    with ResultStore(address) as store:
        assert store.save(predictions(1, 2, 3)) == 0


def test_the_first_version_of_a_prediction_stays(address, tmp_path):
    """A replay with other content does not rewrite history."""
    with ResultStore(address) as store:
        store.save(predictions(1))
        store.save([Arrived("reef-1", replace(make_prediction("reef-1", 1), label="dog"))])
    engine = sql.create_engine(address)
    with engine.connect() as connection:
        assert connection.execute(sql.select(PREDICTIONS.c.label)).scalars().all() == ["cat"]
    engine.dispose()


def test_gaps_are_counted_from_one(address):
    """By device, boot and source: what is missing up to the highest seen."""
    with ResultStore(address) as store:
        store.save(predictions(1, 2, 3))
        store.save(predictions(3, 5, source="door"))
        store.save(predictions(2, boot=OTHER_BOOT))
        gaps = store.gaps()
    assert [(gap.boot == OTHER_BOOT, gap.source, gap.lost) for gap in gaps] == [
        (False, "door", 3),
        (True, "camera", 1),
    ]
    assert count_lost(gaps) == 4 and isinstance(gaps[0], Gap)


def test_reports_and_infos_are_kept_once(address):
    """A retained report that comes again with every connection is one row."""
    with ResultStore(address) as store:
        batch = [Arrived("reef-1", make_report("idle")), Arrived("reef-1", make_info("reef-1"))]
        assert store.save(batch) == store.save(batch) == 0
        store.save([Arrived("reef-1", make_report("active", 1))])
        with store._engine.connect() as connection:
            rows = [
                connection.execute(sql.text(f"select count(*) from {one}")) for one in ("reports", "infos")
            ]
            assert [row.scalar() for row in rows] == [2, 1]


def test_a_batch_is_stored_whole_or_not_at_all(address):
    """An error in the middle undoes the beginning, so that it can come again."""
    with ResultStore(address) as store:
        with store._engine.begin() as connection:
            connection.execute(sql.text("drop table predictions"))
        with pytest.raises(Unreachable, match="store does not answer"):
            store.save([Arrived("reef-1", make_report("idle")), *predictions(1)])
        with store._engine.connect() as connection:
            assert connection.execute(sql.text("select count(*) from reports")).scalar() == 0


@pytest.mark.parametrize("text", ["", "results.db", "mysql://host/db", "sqlite"])
def test_an_address_of_no_store_is_wrong_usage(text):
    """The error shows how to write one."""
    with pytest.raises(WrongUsage) as caught:
        ResultStore(text)
    assert "sqlite:///results.db" in caught.value.hint


def test_a_password_is_refused_and_not_repeated():
    """A command line is no place for a secret."""
    with pytest.raises(WrongUsage) as caught:
        ResultStore("postgresql://me:hunter2@host/db")
    assert "hunter2" not in str(vars(caught.value))


def test_a_store_that_cannot_be_opened_is_unreachable(tmp_path):
    """A folder that is not there."""
    with (
        pytest.raises(Unreachable, match="unable to open"),
        ResultStore(f"sqlite:///{tmp_path}/no/results.db"),
    ):
        pass


def test_a_detector_that_found_nothing_is_stored(address):
    """Its prediction names no label; that is an answer too."""
    with ResultStore(address) as store:
        nothing = replace(make_prediction("reef-1", 1), label="", top=(), score=0.0)
        assert store.save([Arrived("reef-1", nothing)]) == 1
