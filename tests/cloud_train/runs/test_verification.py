"""`cloud-train verify`: an honest run passes, and a change anywhere in the chain is named."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from cloud_train import cli
from cloud_train.runs import rounds as story
from cloud_train.training.weights import load_weights, save_weights
from contract.artifacts import MAX_RUN_BYTES
from host_cli import files
from tests.cloud_train.runs.stand_ins import Trainers, plan_of, without_tensorflow


@pytest.fixture
def finished(shard_folder, tmp_path, monkeypatch):
    """A run of two rounds; one client was left out of it."""
    without_tensorflow(monkeypatch)
    out = tmp_path / "run"
    story.run(plan_of(shard_folder, out), Trainers())
    return out


def verify(out, capsys, *options):
    code = cli.main(["verify", str(out), "--json", *options])
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("averaging", [{}, {"server": "adam"}, {"rule": "median"}], ids=str)
def test_an_honest_run_passes(averaging, shard_folder, tmp_path, monkeypatch, capsys):
    """By every server and rule; who was left out has no part in it."""
    without_tensorflow(monkeypatch)
    trainers = Trainers(spoil={"shard-1": lambda one: replace(one, num_examples=-5)})
    story.run(plan_of(shard_folder, tmp_path / "run", **averaging), trainers)
    code, found = verify(tmp_path / "run", capsys)
    assert (code, found) == (0, {"ok": True, "rounds": 2, "updates": 2, "wrong": []})


def change_weights(path):
    weights = load_weights(path)
    save_weights(replace(weights, tensors=tuple(tensor + 1e-3 for tensor in weights.tensors)), path)


def change_count(path):
    weights = load_weights(path)
    save_weights(replace(weights, num_examples=weights.num_examples + 1), path)


def change_bytes(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def change_text(old, new):
    def change(path):
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return change


def rewrite_all_counts(path):
    # A careful forger: the entry in run.json follows the file.
    change_count(path.parent / "updates" / "round-2" / "shard-0.npz")
    record = json.loads(path.read_text())
    record["lineage"]["rounds"][1]["updates"][0]["num_examples"] += 1
    path.write_text(json.dumps(record))


def break_the_chain(path):
    record = json.loads(path.read_text())
    record["lineage"]["rounds"][1]["before"] = "0" * 64
    path.write_text(json.dumps(record))


def change_record(change):
    def rewrite(path):
        record = json.loads(path.read_text())
        change(record)
        path.write_text(json.dumps(record))

    return rewrite


def replace_shard(path):
    # The entry in run.json follows the file; shards.json does not.
    shard = path.parent / ".." / "data" / "shard-1.npz"
    change_bytes(shard)
    digest = files.sha256_of(shard)
    change_record(lambda record: record["lineage"]["data"]["shards"][1].update(sha256=digest))(path)


def leave_out_silently(record):
    record["lineage"]["rounds"][1]["updates"].pop()


def count_twice(record):
    updates = record["lineage"]["rounds"][1]["updates"]
    updates.append(updates[0])


def shorten(record):
    record["lineage"]["rounds"].pop()


def of_another_start(path):
    weights = load_weights(path.parent / "updates" / "round-2" / "shard-0.npz")
    save_weights(replace(weights, start="0" * 64), path.parent / "updates" / "round-2" / "shard-0.npz")


LINKS = {
    "a shard": ("../data/shard-1.npz", change_bytes, "shard-1.npz: its content"),
    "the test data": ("../data/test.npz", change_bytes, "test.npz: its content"),
    "the manifest": (
        "../data/shards.json",
        change_text('"seed":0', '"seed":1'),
        "shards.json: it is another",
    ),
    "the start": ("start-1.npz", change_weights, "start-1.npz: its weights"),
    "an update": ("updates/round-1/shard-1.npz", change_weights, "round 1, shard-1: its weights"),
    "a damaged update": ("updates/round-2/shard-0.npz", change_bytes, "round 2, shard-0: "),
    "a count": ("updates/round-1/shard-1.npz", change_count, "round 1, shard-1: it counts otherwise"),
    "a count and its entry": ("run.json", rewrite_all_counts, "round 2: its updates give other weights"),
    "a later start": ("start-2.npz", change_weights, "start-2.npz: its weights"),
    "a checkpoint": ("round-1.npz", change_weights, "round-1.npz: its weights"),
    "the last checkpoint": ("round-2.npz", change_weights, "round-2.npz: its weights"),
    "the order of rounds": ("run.json", break_the_chain, "round 2: it does not start"),
    "the rule": ("run.json", change_text('"rule":"fedavg"', '"rule":"median"'), "give other weights"),
    "the server": (
        "run.json",
        change_text('"momentum":0.7', '"momentum":0.4'),
        "round 2: it does not start where",
    ),
    "a shard and its entry": ("run.json", replace_shard, "shards.json: it has other files"),
    "no shards at all": (
        "run.json",
        change_record(lambda record: record["lineage"]["data"].update(shards=[])),
        "shards.json: it has other files",
    ),
    "the config's data": (
        "run.json",
        change_record(lambda record: record["lineage"]["config"].update(data_sha256="0" * 64)),
        "config: it is of another shard manifest",
    ),
    "a count in both": (
        "run.json",
        rewrite_all_counts,
        "round 2, shard-0: it counts otherwise than shards.json",
    ),
    "a shard without update": ("run.json", change_record(leave_out_silently), "round 2: its clients are not"),
    "an update that counts twice": ("run.json", change_record(count_twice), "round 2: its clients are not"),
    "the number of rounds": ("run.json", change_record(shorten), "config: it is of 2 rounds"),
    "a round's number": (
        "run.json",
        change_record(lambda record: record["lineage"]["rounds"][1].update(round=3)),
        "round 2: it does not start where",
    ),
    "an update of another start": (
        "run.json",
        of_another_start,
        "round 2, shard-0: it was trained from other",
    ),
    "the labels": (
        "run.json",
        change_record(lambda record: record["labels"].reverse()),
        "labels: they are not those of the data",
    ),
    "the model's input": (
        "run.json",
        change_record(lambda record: record["preprocessing"].update(scale=2.0)),
        "preprocessing: it is not that",
    ),
    "the name": ("run.json", change_text('"quarters"', '"thirds"'), "name: it is not that of the config"),
    "the accuracy": (
        "run.json",
        change_record(lambda record: record.update(accuracy=1.0)),
        "history: it has other figures",
    ),
    "the figures": (
        "run.json",
        change_record(lambda record: record["history"][0].update(accuracy=1.0)),
        "history: it has other figures",
    ),
    "the model": ("model.keras", change_bytes, "model.keras: its content"),
}


@pytest.mark.parametrize("link", LINKS)
def test_a_change_anywhere_in_the_chain_is_named(link, finished, capsys):
    """Exit code 4, and what does not match, by name."""
    place, change, named = LINKS[link]
    change(finished / place)
    code, found = verify(finished, capsys)
    assert (code, found["ok"]) == (4, False)
    assert any(named in wrong for wrong in found["wrong"]), found["wrong"]
    assert found["error"]["code"] == "gate_not_met"


def test_a_model_that_is_not_of_the_last_round_is_named(finished, capsys):
    """Even when run.json has the hash of the file that was put in its place."""
    shutil.copy(finished / "round-1.npz", finished / "model.keras")
    record = json.loads((finished / "run.json").read_text())
    record["model"]["sha256"] = files.sha256_of(finished / "model.keras")
    (finished / "run.json").write_text(json.dumps(record))
    code, found = verify(finished, capsys)
    assert (code, found["wrong"]) == (4, ["model.keras: its weights are not those of the last round"])


@pytest.mark.parametrize(
    "name", ["updates/round-1/shard-0.npz", "round-1.npz", "model.keras", "../data/shard-0.npz"]
)
def test_a_file_that_is_missing_is_named(name, finished, capsys):
    """It is wrong, and the rest is still checked."""
    (finished / name).unlink()
    code, found = verify(finished, capsys)
    assert code == 4
    assert any(name.rsplit("/", 1)[-1].split(".")[0] in wrong for wrong in found["wrong"])


def test_shards_that_were_moved_are_named_by_an_option(finished, capsys):
    """Without them nothing is checked: exit code 2."""
    data = finished.parent / "data"
    data.rename(finished.parent / "elsewhere")
    code, found = verify(finished, capsys)
    assert code == 2 and "shards are not there" in found["error"]["message"]
    assert verify(finished, capsys, "--data", str(finished.parent / "elsewhere"))[0] == 0


def test_what_is_no_run_is_wrong_usage(tmp_path, finished, capsys):
    """An empty folder, a damaged run.json, one of an older version: exit code 2."""
    assert verify(tmp_path / "nothing", capsys)[0] == 2
    record = json.loads((finished / "run.json").read_text())
    del record["lineage"]
    (finished / "run.json").write_text(json.dumps(record))
    code, found = verify(finished, capsys)
    assert code == 2 and "says nothing of its descent" in found["error"]["message"]
    (finished / "run.json").write_text("{")
    assert verify(finished, capsys)[0] == 2


def test_run_json_leads_nowhere_else(finished, capsys):
    """A client whose name is a path, or a run.json without end: exit code 2, and no such file is opened."""
    path = finished / "run.json"
    change_record(lambda record: record["lineage"]["rounds"][0]["updates"][0].update(client="../../x"))(path)
    code, found = verify(finished, capsys)
    assert code == 2 and "client must be text like" in found["error"]["message"]
    with path.open("wb") as file:
        file.truncate(2 * MAX_RUN_BYTES)
    code, found = verify(finished, capsys)
    assert code == 2 and f"at most {MAX_RUN_BYTES} are allowed" in found["error"]["message"]


def test_a_whole_run_that_is_not_finite_is_refused(finished, capsys):
    """NaN in an update is named as such."""
    path = finished / "updates" / "round-1" / "shard-0.npz"
    weights = load_weights(path)
    save_weights(replace(weights, tensors=tuple(tensor * np.nan for tensor in weights.tensors)), path)
    code, found = verify(finished, capsys)
    assert code == 4 and "round 1, shard-0: tensor 0 has NaN" in found["wrong"][0]
