"""The definition of a run: one file, options win, and what nobody knows is refused with what is near."""

import numpy as np
import pytest

from cloud_train import cli
from cloud_train.commands import run_commands
from cloud_train.runs.definition import RunDefinition, load_definition
from host_cli.errors import WrongUsage
from tests.cloud_train.conftest import make_samples
from tests.cloud_train.runs.stand_ins import Trainers, without_tensorflow

WHOLE = """
name = "garments"
[data]
dataset = "fashion-mnist"
shards = 8
strategy = "dirichlet"
alpha = 0.3
limit = 1000
[model]
name = "mobilenet_v2"
width = 0.35
[training]
batch_size = 32
epochs = 2
proximal = 0.01
[averaging]
rounds = 10
rule = "trimmed-mean"
trim = 0.2
server = "adam"
quorum = 6
round_timeout_s = 900
[runner]
kind = "kubernetes"
image = "reefline-train:1.0"
namespace = "training"
[pipeline]
minimum_gain = 0.01
"""


@pytest.fixture
def write(tmp_path):
    def write_it(text):
        path = tmp_path / "train.toml"
        path.write_text(text)
        return path

    return write_it


def test_one_file_says_everything(write):
    """Data, model, training, averaging, runner; the pipeline's table is kept for the pipeline."""
    found = load_definition(write(WHOLE), {})
    assert (found.data.shards, found.data.alpha, found.model.width) == (8, 0.3, 0.35)
    assert found.recipe().model == "mobilenet_v2" and found.recipe().proximal == 0.01
    assert found.averaging.rule == "trimmed-mean" and found.averaging.needed(8) == 6
    assert (found.runner.kind, found.runner.namespace) == ("kubernetes", "training")
    assert found.pipeline == {"minimum_gain": 0.01}


def test_an_option_wins_over_the_file(write):
    """And only that one changes."""
    options = {"averaging.rounds": 3, "averaging.rule": None, "name": "other", "runner.kind": "local"}
    found = load_definition(write(WHOLE), options)
    assert (found.averaging.rounds, found.averaging.rule, found.name) == (3, "trimmed-mean", "other")
    assert (found.runner.kind, found.runner.image) == ("local", "reefline-train:1.0")


def test_nothing_is_needed():
    """Without a file every value is its default."""
    assert load_definition(None, {}) == RunDefinition()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[averaging]\nround = 3", "averaging.rounds"),
        ("[avraging]\nrounds = 3", "averaging"),
        ("[runner]\nkid = 'local'", "runner.kind"),
    ],
)
def test_a_key_that_nobody_knows_is_refused_with_the_nearest_one(text, said, write):
    """A typo stops the start."""
    with pytest.raises(WrongUsage, match="unknown key") as caught:
        load_definition(write(text), {})
    assert said in caught.value.hint


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[averaging]\nrule = 'mode'", "fedavg, median, trimmed-mean, krum"),
        ("[averaging]\nrounds = 0", "averaging.rounds"),
        ("[averaging]\ntrim = 0.5", "averaging.trim"),
        ("[data]\nshards = 'four'", "data.shards"),
        ("name = 'Not A Name'", "name"),
        ("[averaging\n", "not TOML"),
    ],
)
def test_a_value_that_is_not_allowed_is_refused_by_name(text, said, write):
    """Three lines, exit code 2."""
    with pytest.raises(WrongUsage, match=said):
        load_definition(write(text), {})


def test_a_wrong_option_is_told_as_an_option(write):
    """Not as a line of a file that says nothing of it."""
    with pytest.raises(WrongUsage) as caught:
        load_definition(None, {"averaging.krum_f": -1})
    assert caught.value.where == "--krum-f -1"


def test_a_hyperparameter_out_of_range_is_refused(write):
    """Before anything is read or trained."""
    with pytest.raises(WrongUsage, match="batch_size"):
        load_definition(write("[training]\nbatch_size = 0"), {}).recipe()


def test_shards_of_another_definition_do_not_pass_for_those_of_this_one(tmp_path, monkeypatch, capsys):
    """A data set is dealt out once; when its table changes, the run says so before it trains."""
    without_tensorflow(monkeypatch)
    monkeypatch.setitem(run_commands.RUNNERS, "local", lambda *_: Trainers())
    arrays = {}
    for part, count in (("train", 40), ("test", 12)):
        samples = make_samples(count)
        arrays |= {f"x_{part}": samples.x, f"y_{part}": samples.y}
    np.savez(tmp_path / "quarters.npz", **arrays)
    text = f'[data]\ndataset = "{tmp_path}/quarters.npz"\nshards = SHARDS\n[averaging]\nrounds = 1\n'
    config, out = tmp_path / "train.toml", tmp_path / "run"
    config.write_text(text.replace("SHARDS", "2"))
    assert cli.main(["run", "-c", str(config), "--out", str(out)]) == 0
    assert cli.main(["run", "-c", str(config), "--out", str(out), "--resume", "--rounds", "2"]) == 0
    config.write_text(text.replace("SHARDS", "3"))
    assert cli.main(["run", "-c", str(config), "--out", str(out), "--resume"]) == 2
    assert "have shards 2, not 3" in capsys.readouterr().err


def test_a_run_without_data_says_what_to_name(tmp_path, capsys):
    """Neither --data nor [data]: exit code 2."""
    assert cli.main(["run", "--out", str(tmp_path / "run")]) == 2
    assert "--data FOLDER, or [data]" in capsys.readouterr().err
