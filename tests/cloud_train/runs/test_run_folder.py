"""The folder of a run: what may be started, what may be continued; and one that lies in an object store."""

from dataclasses import replace
from pathlib import Path

import pytest

from cloud_train.averaging.server import Moved
from cloud_train.averaging.settings import Averaging
from cloud_train.runs.place import Place
from cloud_train.runs.run_folder import RunFolder, RunSettings
from cloud_train.training.recipe import Recipe
from cloud_train.training.weights import save_weights
from contract.artifacts import MAX_SHARDS, RoundEntry, UpdateEntry
from host_cli.errors import WrongUsage
from tests.cloud_train.conftest import make_weights

SETTINGS = RunSettings("quarters", "0" * 64, Recipe(), Averaging(rounds=11))
MOVED = Moved(make_weights(value=2.0), make_weights(value=3.0), {"velocity": make_weights()})
ENTRY = RoundEntry(1, "0" * 64, "1" * 64, ())


def folder_at(path):
    return RunFolder(Place.here(path))


@pytest.fixture
def folder(tmp_path):
    """A run of ten rounds."""
    found = folder_at(tmp_path)
    found.begin(SETTINGS)
    found.save_start(make_weights())
    for number in (1, 2, 10):
        found.save_round(number, MOVED, ENTRY)
    return found


def test_the_last_round_is_found_by_number(folder):
    """round-10 comes after round-2."""
    assert folder.rounds_done() == 10


def test_a_run_is_not_overwritten(folder):
    """Starting again takes --resume or another folder."""
    with pytest.raises(WrongUsage, match="a run of 10 rounds lies there"):
        folder.begin(SETTINGS)


def test_a_run_that_broke_in_its_first_round_can_be_started_again(tmp_path):
    """There is nothing to lose in it: its updates go."""
    broken = folder_at(tmp_path)
    broken.begin(SETTINGS)
    save_weights(make_weights(), broken.update(1, "shard-0"))
    folder_at(tmp_path).begin(SETTINGS)
    assert not broken.update(1, "shard-0").exists()


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"data_sha256": "1" * 64}, "data_sha256"),
        ({"averaging": Averaging(rounds=11, momentum=0.0)}, "momentum"),
        ({"averaging": Averaging(rounds=11, rule="median")}, "rule"),
        ({"recipe": Recipe(learning_rate=1.0)}, "learning_rate"),
        ({"pretrained_sha256": "2" * 64}, "pretrained_sha256"),
    ],
)
def test_a_run_goes_on_as_it_began(folder, changed, field):
    """Other data or hyperparameters in the middle of a run are refused by name."""
    folder.resume(SETTINGS)
    with pytest.raises(WrongUsage, match=f"started with {field}"):
        folder.resume(replace(SETTINGS, **changed))


def test_patience_may_change_when_a_run_goes_on(folder):
    """Quorum and timeout say nothing of what was trained before."""
    how = Averaging(rounds=12, quorum=1.0, round_timeout_s=60.0)
    folder.resume(replace(SETTINGS, averaging=how))
    assert folder.rounds_done() == 10


def test_a_run_does_not_shrink(folder):
    """Ten rounds cannot become three."""
    with pytest.raises(WrongUsage, match="10 rounds already"):
        folder.resume(replace(SETTINGS, averaging=Averaging(rounds=3)))


def test_nothing_is_continued_where_no_run_is(tmp_path):
    """A mistyped folder does not start a new run."""
    with pytest.raises(WrongUsage, match="no run to continue"):
        folder_at(tmp_path / "typo").resume(SETTINGS)


def test_a_round_of_the_most_shards_can_be_read_again(tmp_path):
    """Also when almost all of them were left out, each with a long reason."""
    folder = folder_at(tmp_path)
    folder.begin(SETTINGS)
    folder.save_start(make_weights())
    updates = tuple(UpdateEntry(f"shard-{index}", 10, "2" * 64, "x" * 256) for index in range(MAX_SHARDS))
    entry = RoundEntry(1, "0" * 64, "1" * 64, updates)
    folder.save_round(1, MOVED, entry)
    assert list(folder.entries()) == [entry]


class Shelf:
    """An object store that is a folder of this computer, where URLs lead."""

    def __init__(self, root):
        self.root = root

    def at(self, where):
        return self.root / where.removeprefix("s3://")

    def put(self, path, where):
        self.at(where).parent.mkdir(parents=True, exist_ok=True)
        self.at(where).write_bytes(Path(path).read_bytes())

    def fetch(self, where, folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / self.at(where).name).write_bytes(self.at(where).read_bytes())

    def names(self, where):
        return sorted(path.name for path in self.at(where).iterdir()) if self.at(where).is_dir() else []


def test_a_run_in_an_object_store_goes_on_on_another_computer(tmp_path, monkeypatch):
    """Every file is put as soon as it is complete; --resume fetches what is there."""
    shelf = Shelf(tmp_path / "shelf")
    for name in ("put", "fetch", "names"):
        monkeypatch.setattr(f"cloud_train.store.{name}", getattr(shelf, name))
    first = RunFolder(Place.of("s3://bucket/run", tmp_path / "first"))
    first.begin(SETTINGS)
    first.save_start(make_weights())
    first.save_round(1, MOVED, ENTRY)
    shelf.put(first.checkpoint(1), "s3://bucket/run/updates/round-2/shard-0.npz")
    second = RunFolder(Place.of("s3://bucket/run", tmp_path / "second"))
    second.resume(SETTINGS)
    assert second.rounds_done() == 1 and second.update(2, "shard-0").is_file()
    assert list(second.entries()) == [ENTRY] and set(second.load_state(1, Averaging())) == {"velocity"}
