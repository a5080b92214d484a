"""The folder of a run: what may be started, what may be continued."""

import pytest

from cloud_train.runs.run_folder import RunFolder, RunSettings
from cloud_train.training.recipe import Recipe
from host_cli.errors import WrongUsage
from tests.cloud_train.conftest import make_weights

SETTINGS = RunSettings("quarters", "0" * 64, 0.5, Recipe())


@pytest.fixture
def folder(tmp_path):
    """A run of ten rounds."""
    found = RunFolder(tmp_path)
    found.begin(SETTINGS)
    for number in (1, 2, 10):
        found.save_round(number, make_weights(), make_weights())
    return found


def test_the_last_round_is_found_by_number(folder):
    """round-10 comes after round-2."""
    assert folder.rounds_done() == 10


def test_a_run_is_not_overwritten(folder):
    """Starting again takes --resume or another folder."""
    with pytest.raises(WrongUsage, match="a run of 10 rounds lies there"):
        folder.begin(SETTINGS)


def test_a_run_that_broke_in_its_first_round_can_be_started_again(tmp_path):
    """There is nothing to lose in it."""
    RunFolder(tmp_path).begin(SETTINGS)
    RunFolder(tmp_path).begin(SETTINGS)


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        (RunSettings("quarters", "1" * 64, 0.5, Recipe()), "data_sha256"),
        (RunSettings("quarters", "0" * 64, 0.0, Recipe()), "momentum"),
        (RunSettings("quarters", "0" * 64, 0.5, Recipe(learning_rate=1.0)), "learning_rate"),
    ],
)
def test_a_run_goes_on_as_it_began(folder, changed, field):
    """Other data or hyperparameters in the middle of a run are refused by name."""
    folder.resume(SETTINGS, rounds=11)
    with pytest.raises(WrongUsage, match=f"started with {field}"):
        folder.resume(changed, rounds=11)


def test_a_run_does_not_shrink(folder):
    """Ten rounds cannot become three."""
    with pytest.raises(WrongUsage, match="10 rounds already"):
        folder.resume(SETTINGS, rounds=3)


def test_nothing_is_continued_where_no_run_is(tmp_path):
    """A mistyped folder does not start a new run."""
    with pytest.raises(WrongUsage, match="no run to continue"):
        RunFolder(tmp_path / "typo").resume(SETTINGS, rounds=3)
