"""The story of a run: rounds, who is left out, quorum, killed and continued; and once with real trainers."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cloud_train import cli
from cloud_train.averaging.rules import average
from cloud_train.averaging.server import advance
from cloud_train.averaging.settings import Averaging
from cloud_train.averaging.updates import open_update
from cloud_train.data.datasets import Dataset
from cloud_train.data.shards import write_shards
from cloud_train.data.splitters import Deal
from cloud_train.runs import rounds as story
from cloud_train.runs.lineage import REASON_CHARACTERS
from cloud_train.runs.place import Place
from cloud_train.runs.run_folder import RunFolder
from cloud_train.training import model_files
from cloud_train.training.recipe import Recipe
from cloud_train.training.weights import load_weights, save_weights
from contract.artifacts import RunRecord
from contract.codec import decode
from host_cli import files
from host_cli.errors import Failed, WrongUsage
from tests.cloud_train.conftest import CLASSES, make_samples
from tests.cloud_train.runs.stand_ins import Trainers, plan_of, without_tensorflow

ROOT = Path(__file__).parents[3]


@pytest.fixture
def quick(monkeypatch):
    """Runs without TensorFlow."""
    without_tensorflow(monkeypatch)


def record_of(out):
    return decode(RunRecord, (out / "run.json").read_bytes())


def digests(out, what):
    return [load_weights(path).digest() for path in sorted(out.glob(f"{what}-*.npz"))]


def test_a_run_can_be_verified(quick, shard_folder, tmp_path, capsys):
    """One round: its weights follow from the updates, run.json fits the model, and the chain holds."""
    out = tmp_path / "run"
    result = story.run(plan_of(shard_folder, out, rounds=1), Trainers())
    assert [one["round"] for one in result["rounds"]] == [1] and result["rounds"][0]["left_out"] == []
    assert result["shards"][0] == {"shard": "shard-0", "examples": 81, "accuracy": None}
    _assert_round_follows_from_updates(out)
    _assert_run_record_fits(out, rounds=1)
    assert cli.main(["verify", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"ok": True, "rounds": 1, "updates": 2, "wrong": []}


def test_a_run_is_compared_with_each_shard_alone_and_with_all_together(quick, shard_folder, tmp_path):
    """As many passes for all of them, and a run that goes on trains only what is new."""
    out, trainers = tmp_path / "run", Trainers()
    result = story.run(replace(plan_of(shard_folder, out), alone=True, central=True), trainers)
    assert trainers.trained[4:] == ["central", "alone-0", "alone-1"]
    assert all(0 <= one["accuracy"] <= 1 for one in [*result["shards"], result["central"]])
    passes = [load_weights(path).passes for path in (out / "references").iterdir()]
    assert passes == [2, 2, 2]
    longer = replace(plan_of(shard_folder, out, resume=True, rounds=3), alone=True, central=True)
    again = Trainers()
    result = story.run(longer, again)
    assert again.trained == ["shard-0", "shard-1", "central", "alone-0", "alone-1"]
    assert [one["round"] for one in result["rounds"]] == [1, 2, 3]
    _assert_run_record_fits(out, rounds=3)


def _assert_round_follows_from_updates(out):
    # Unequal shards, so a plain mean would show.
    updates = [open_update(out / "updates" / "round-1" / f"shard-{index}.npz", "x") for index in (0, 1)]
    assert [update.header.num_examples for update in updates] == [81, 80]
    assert {update.header.start for update in updates} == {load_weights(out / "start-1.npz").digest()}
    how = Averaging()
    expected = advance(load_weights(out / "start-1.npz"), average(updates, how), {}, how)
    assert load_weights(out / "round-1.npz").digest() == expected.model.digest()
    assert load_weights(out / "start-2.npz").digest() == expected.start.digest()


def _assert_run_record_fits(out, rounds):
    record = record_of(out)
    assert record.model == files.describe(out / "model.keras")
    assert [figures["round"] for figures in record.history] == list(range(1, rounds + 1))
    assert record.accuracy == record.history[-1]["accuracy"]
    assert not list(out.glob(".*")), "temporary files are left"


def test_run_json_tells_where_the_model_comes_from(quick, shard_folder, tmp_path):
    """Data, program, settings, and the digest of every set of weights."""
    story.run(plan_of(shard_folder, tmp_path / "run", rule="median"), Trainers())
    lineage = record_of(tmp_path / "run").lineage
    assert lineage.data.manifest_sha256 == files.sha256_of(shard_folder / "shards.json")
    assert [entry.path for entry in lineage.data.shards] == ["shard-0.npz", "shard-1.npz"]
    assert lineage.config["averaging"]["rule"] == "median" and lineage.config["recipe"]["batch_size"] == 16
    assert len(lineage.code.sources_sha256) == 64 and lineage.code.version
    assert [entry.before for entry in lineage.rounds] == digests(tmp_path / "run", "start")[:2]
    assert [entry.after for entry in lineage.rounds] == digests(tmp_path / "run", "round")
    update = lineage.rounds[1].updates[0]
    path = tmp_path / "run" / "updates" / "round-2" / "shard-0.npz"
    assert (update.client, update.num_examples) == ("shard-0", 81)
    assert update.sha256 == load_weights(path).digest()


def not_a_number(update):
    return replace(update, tensors=tuple(tensor * np.nan for tensor in update.tensors))


def claims_more(update):
    return replace(update, num_examples=10**6)


SPOILED = [
    (Trainers(fail={"shard-1": "killed by signal 9"}), "killed by signal 9"),
    (Trainers(spoil={"shard-1": not_a_number}), "NaN"),
    (Trainers(spoil={"shard-1": claims_more}), "1000000 examples, its shard has 80"),
    (Trainers(spoil={"shard-1": lambda update: replace(update, client="shard-0")}), "is of shard-0"),
    (Trainers(spoil={"shard-1": lambda update: replace(update, passes=2**53 - 1)}), "this round ends with 1"),
    (Trainers(spoil={"shard-1": lambda update: replace(update, start="0" * 64)}), "from other weights"),
]


@pytest.mark.parametrize(("trainers", "reason"), SPOILED, ids=[reason for _, reason in SPOILED])
def test_a_client_that_fails_is_left_out_and_named_everywhere(
    trainers, reason, quick, shard_folder, tmp_path, capsys
):
    """On stderr, in the result, in run.json; the round is the average of the others."""
    out = tmp_path / "run"
    result = story.run(plan_of(shard_folder, out, rounds=1, momentum=0.0), trainers)
    (left,) = result["rounds"][0]["left_out"]
    assert left["client"] == "shard-1" and reason in left["reason"]
    assert "round 1: shard-1 is left out: " in capsys.readouterr().err
    entry = record_of(out).lineage.rounds[0].updates[1]
    assert entry.client == "shard-1" and reason in entry.left_out
    alone = load_weights(out / "updates" / "round-1" / "shard-0.npz")
    assert load_weights(out / "round-1.npz").digest() == alone.digest()


def test_a_long_reason_is_cut_and_stands_where_its_client_does(quick, shard_folder, tmp_path):
    """run.json has the clients in their order, whoever was left out."""
    story.run(plan_of(shard_folder, tmp_path / "run", rounds=1), Trainers(fail={"shard-0": "x" * 1000}))
    first, second = record_of(tmp_path / "run").lineage.rounds[0].updates
    assert (first.client, first.left_out) == ("shard-0", "x" * REASON_CHARACTERS)
    assert (second.client, second.left_out) == ("shard-1", None)


def test_too_few_updates_end_the_run_without_a_model(quick, shard_folder, tmp_path):
    """A quorum of 2 of 2: the one that is missing is named; --resume trains it, and only it."""
    out, trainers = tmp_path / "run", Trainers(fail={"shard-1": "out of memory"})
    with pytest.raises(Failed, match="1 of 2 updates can be averaged, 2 are needed; shard-1: out of memory"):
        story.run(plan_of(shard_folder, out, quorum=2), trainers)
    left = sorted(path.name for path in out.rglob("*") if path.is_file())
    assert left == ["run.lock", "settings.json", "shard-0.npz", "start-1.npz"]
    again = Trainers()
    story.run(plan_of(shard_folder, out, resume=True, quorum=2), again)
    assert again.trained == ["shard-1", "shard-0", "shard-1"]


@pytest.mark.parametrize(
    ("averaging", "said"),
    [({"rule": "krum"}, "needs 5 updates, not 2"), ({"quorum": 3}, "never give 3 updates")],
)
def test_what_can_never_be_averaged_is_not_trained(averaging, said, quick, shard_folder, tmp_path):
    """Krum, or a quorum, that needs more updates than there are shards."""
    trainers = Trainers()
    with pytest.raises(WrongUsage, match=said):
        story.run(plan_of(shard_folder, tmp_path / "run", **averaging), trainers)
    assert not trainers.trained and not (tmp_path / "run").exists()


def test_the_round_timeout_reaches_the_runner(quick, shard_folder, tmp_path):
    """In every round."""
    trainers = Trainers()
    story.run(plan_of(shard_folder, tmp_path / "run", round_timeout_s=7.5), trainers)
    assert trainers.timeouts == [7.5, 7.5]


# A round brings two updates, the server's state, the next start, its entry and its checkpoint to the disk,
# each with one sync before it becomes visible and one after; before the first round there are the settings
# and the first start.
POINTS = {"before any update": 3, "between updates": 8, "in the state": 11, "before the checkpoint": 15}
POINTS |= {"after round 1": 17, "in the second state": 23, "in the model's record": 30}


@pytest.mark.parametrize("server", ["momentum", "adam"])
@pytest.mark.parametrize("point", POINTS)
def test_a_run_that_was_killed_goes_on_to_the_same_bits(point, server, quick, shard_folder, tmp_path):
    """SIGKILL in any phase of a round; what was trained is not trained again."""
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    arguments = [str(shard_folder), str(killed), str(POINTS[point]), server]
    command = [sys.executable, "-m", "tests.cloud_train.runs.stand_ins", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=100)
    assert done.returncode == -9, done.stderr
    updates = len(list(killed.rglob("updates/*/[!.]*.npz")))
    settled = (killed / "start-1.npz").is_file()
    trainers = Trainers()
    story.run(plan_of(shard_folder, killed, resume=settled, server=server), trainers)
    assert len(trainers.trained) == 4 - updates
    story.run(plan_of(shard_folder, whole, server=server), Trainers())
    for what in ("start", "round"):
        assert digests(killed, what) == digests(whole, what)
    assert record_of(killed).lineage.rounds == record_of(whole).lineage.rounds


def test_an_update_that_was_damaged_is_trained_again(quick, shard_folder, tmp_path, truncate):
    """What lies in the folder of the round counts only when it is whole, and of that client and round."""
    out, trainers = tmp_path / "run", Trainers(fail={"shard-1": "killed"})
    with pytest.raises(Failed):
        story.run(plan_of(shard_folder, out, quorum=2), trainers)
    truncate(out / "updates" / "round-1" / "shard-0.npz")
    again = Trainers()
    story.run(plan_of(shard_folder, out, resume=True, rounds=1), again)
    assert again.trained == ["shard-0", "shard-1"]


CHANGES = [{"passes": 9}, {"client": "shard-1"}, {"num_examples": 80}, {"start": "0" * 64}]


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_an_update_of_another_round_or_client_is_trained_again(change, quick, shard_folder, tmp_path):
    """It is whole, but not what this round asked for."""
    out, trainers = tmp_path / "run", Trainers(fail={"shard-1": "killed"})
    with pytest.raises(Failed):
        story.run(plan_of(shard_folder, out, quorum=2), trainers)
    path = out / "updates" / "round-1" / "shard-0.npz"
    save_weights(replace(load_weights(path), **change), path)
    again = Trainers()
    story.run(plan_of(shard_folder, out, resume=True, rounds=1), again)
    assert again.trained == ["shard-0", "shard-1"]


def test_passes_of_a_longer_round_are_not_trained_again(quick, shard_folder, tmp_path):
    """Two passes in each round: an update that is there is known by both."""
    out = tmp_path / "run"
    longer = {"recipe": Recipe(epochs=2)}
    with pytest.raises(Failed):
        story.run(
            replace(plan_of(shard_folder, out, quorum=2), **longer), Trainers(fail={"shard-1": "killed"})
        )
    again = Trainers()
    story.run(replace(plan_of(shard_folder, out, resume=True, rounds=1), **longer), again)
    assert again.trained == ["shard-1"]


def test_an_outlier_is_left_out_of_a_round(quick, tmp_path):
    """Every round knows what its updates started from."""
    labels = tuple(f"quarter {number}" for number in range(CLASSES))
    dataset = Dataset(make_samples(90), make_samples(12, seed=9), labels)
    write_shards(dataset, "quarters", Deal(3), tmp_path / "data")
    far = Trainers(spoil={"shard-1": lambda one: replace(one, tensors=tuple(t + 9 for t in one.tensors))})
    result = story.run(plan_of(tmp_path / "data", tmp_path / "run", rounds=1), far)
    (left,) = result["rounds"][0]["left_out"]
    assert left["client"] == "shard-1" and "times as far" in left["reason"]


def huge(update):
    return replace(update, tensors=tuple(np.full_like(tensor, 3.4e38) for tensor in update.tensors))


@pytest.mark.parametrize("server", ["momentum", "adam"])
def test_an_average_that_is_no_number_ends_the_run(server, quick, shard_folder, tmp_path):
    """Of two updates none is an outlier, and each is finite; what comes of them is not, and is not kept."""
    trainers = Trainers(spoil={"shard-0": huge, "shard-1": huge})
    with pytest.raises(Failed, match="NaN or infinite"):
        story.run(plan_of(shard_folder, tmp_path / "run", server=server), trainers)
    assert not list((tmp_path / "run").glob("round-1.*"))


def test_two_processes_never_train_one_run(quick, shard_folder, tmp_path):
    """The second one is told so, and what the first one has is as it was."""
    out, second = tmp_path / "run", Trainers()
    with (
        RunFolder(Place.here(out)).alone(),
        pytest.raises(WrongUsage, match="another process trains this run"),
    ):
        story.run(plan_of(shard_folder, out), second)
    assert not second.trained and [path.name for path in out.iterdir()] == ["run.lock"]
    story.run(plan_of(shard_folder, out), second)


def test_more_updates_than_run_json_holds_are_not_trained(quick, shard_folder, tmp_path, monkeypatch):
    """Not found out after days of training."""
    monkeypatch.setattr(story, "MAX_RUN_UPDATES", 3)
    with pytest.raises(WrongUsage, match="2 shards in 2 rounds are 4 updates"):
        story.run(plan_of(shard_folder, tmp_path / "run"), Trainers())


def test_run_json_says_what_the_model_takes_and_what_it_began_with(
    quick, shard_folder, tmp_path, monkeypatch
):
    """The input's scale is that of the model, not of the data; the file of weights is known by its digest."""
    monkeypatch.setattr(model_files, "normalisation", lambda architecture: (0.25, -1.0))
    pretrained = tmp_path / "backbone.keras"
    plan = replace(plan_of(shard_folder, tmp_path / "run"), pretrained=pretrained)
    with pytest.raises(WrongUsage, match="no such file"):
        story.run(plan, Trainers())
    pretrained.write_bytes(b"weights")
    story.run(plan, Trainers())
    record = record_of(tmp_path / "run")
    assert (record.preprocessing.scale, record.preprocessing.offset) == (0.25, -1.0)
    assert record.lineage.config["pretrained_sha256"] == files.sha256_of(pretrained)


def test_a_new_run_takes_no_update_that_lies_about(quick, shard_folder, tmp_path):
    """It was trained from another start."""
    out = tmp_path / "run"
    with pytest.raises(Failed):
        story.run(plan_of(shard_folder, out, quorum=2), Trainers(fail={"shard-1": "killed"}))
    again = Trainers()
    story.run(plan_of(shard_folder, out, rounds=1), again)
    assert again.trained == ["shard-0", "shard-1"]


def break_shard(folder):
    with np.load(folder / "shard-1.npz") as archive:
        x, y = archive["x"], archive["y"]
    np.savez(folder / "shard-1.npz", x=x.astype(np.float32) * np.nan, y=y)


def remove_shard(folder):
    (folder / "shard-0.npz").unlink()


def empty(folder):
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [(break_shard, "changed after"), (remove_shard, "no such file"), (empty, r"no shards.json")],
)
def test_bad_data_is_refused_before_anything_is_written(shard_folder, tmp_path, capsys, damage, reason):
    """Exit code 2, and no folder for the run."""
    damage(shard_folder)
    command = ["run", "--data", str(shard_folder), "--out", str(tmp_path / "run"), "--json"]
    assert cli.main(command) == 2
    assert reason in json.loads(capsys.readouterr().out)["error"]["message"]
    assert not (tmp_path / "run").exists()
