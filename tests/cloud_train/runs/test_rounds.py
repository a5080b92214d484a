"""The story of a run with real trainer processes: rounds, references, resuming, failing without a trace."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from cloud_train import cli
from cloud_train.averaging.fedavg import advance, average
from cloud_train.runners import local as runner_local
from cloud_train.training.weights import load_weights
from contract.artifacts import RunRecord
from contract.codec import decode
from host_cli import files


def run(capsys, data, out, *options):
    """Run `cloud-train run --json`; return its exit code and what it printed."""
    arguments = ["run", "--data", str(data), "--out", str(out), "--name", "quarters", "--json", *options]
    code = cli.main(arguments)
    return code, json.loads(capsys.readouterr().out)


def test_a_run_trains_averages_and_can_be_continued(shard_folder, tmp_path, capsys):
    """Two rounds with references, then one more round that trains nothing again."""
    out = tmp_path / "run"
    code, result = run(capsys, shard_folder, out, "--rounds", "2", "--alone", "--central")
    assert code == 0
    assert [one["round"] for one in result["rounds"]] == [1, 2]
    assert result["shards"][0]["shard"] == "shard-0" and result["shards"][0]["examples"] == 81
    assert all(0 <= one["accuracy"] <= 1 for one in [*result["shards"], result["central"]])
    _assert_round_follows_from_updates(out)
    _assert_run_record_fits(out, rounds=2)

    old = {path: path.read_bytes() for path in out.glob("round-[012].npz")}
    code, result = run(capsys, shard_folder, out, "--rounds", "3", "--resume")
    assert code == 0
    assert [one["round"] for one in result["rounds"]] == [1, 2, 3]
    assert {path: path.read_bytes() for path in old} == old
    assert load_weights(out / "round-3.npz").passes == 3
    _assert_run_record_fits(out, rounds=3)


def _assert_round_follows_from_updates(out):
    # Unequal shards, so a plain mean would show.
    updates = [load_weights(out / "updates" / "round-1" / f"shard-{index}.npz") for index in (0, 1)]
    assert [update.num_examples for update in updates] == [81, 80]
    expected, _ = advance(load_weights(out / "round-0.npz"), average(updates), None, 0.5)
    assert load_weights(out / "round-1.npz").digest() == expected.digest()


def _assert_run_record_fits(out, rounds):
    record = decode(RunRecord, (out / "run.json").read_bytes())
    assert record.model == files.describe(out / "model.keras")
    assert [figures["round"] for figures in record.history] == list(range(1, rounds + 1))
    assert record.accuracy == record.history[-1]["accuracy"]
    assert not list(out.glob(".*")), "temporary files are left"


def test_a_trainer_that_fails_leaves_no_model(shard_folder, tmp_path, capsys, monkeypatch):
    """The run ends with the trainer's name and reason; no checkpoint, no model, no run.json."""
    out, bad = tmp_path / "run", tmp_path / "bad.npz"
    np.savez(bad, x=np.full((9, 8, 8, 1), np.nan, np.float32), y=np.zeros(9, np.int64))
    build = runner_local._command

    def give_bad_shard(job, recipe):  # as if the disk had changed it after it was verified
        return build(replace(job, shards=(bad,)) if job.client == "shard-1" else job, recipe)

    monkeypatch.setattr(runner_local, "_command", give_bad_shard)
    code, result = run(capsys, shard_folder, out, "--rounds", "1")
    assert code == 1
    assert "trainer of shard-1 failed: x must be uint8" in result["error"]["message"]
    assert "NaN" in result["error"]["message"]
    left = sorted(path.name for path in out.rglob("*") if path.is_file())
    assert set(left) <= {"round-0.npz", "settings.json", "shard-0.npz"}


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
    code, result = run(capsys, shard_folder, tmp_path / "run")
    assert (code, result["ok"]) == (2, False)
    assert reason in result["error"]["message"]
    assert not (tmp_path / "run").exists()
