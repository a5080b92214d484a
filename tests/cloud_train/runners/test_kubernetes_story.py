"""A whole run on a cluster: real trainers as pods, a real object store, the same bits as here."""

import json
import os

import pytest

from cloud_train import cli, store
from cloud_train.training.weights import load_weights

DEFINITION = """
name = "quarters"
[averaging]
rounds = 2
[runner]
kind = "kubernetes"
secret = "store-keys"
"""


def run(capsys, *options):
    """Run `cloud-train run --json`; return its exit code and what it printed."""
    code = cli.main(["run", "--json", *map(str, options)])
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_on_a_cluster_gives_the_same_bits_as_one_here(
    reef, shard_folder, object_store, tmp_path, capsys, monkeypatch
):
    """Two shards, two rounds: run -> API -> Indexed Job -> `work` -> `fit` -> store -> average -> model."""
    reef.runs_commands(object_store.environment)
    monkeypatch.setenv("KUBECONFIG", reef.kubeconfig)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)  # a thread for each trainer here, as a pod with one core
    for path in shard_folder.iterdir():
        store.put(path, f"{reef.bucket}/data/{path.name}")
    (tmp_path / "train.toml").write_text(DEFINITION)
    monkeypatch.setenv("REEFLINE_JOB_NAME", "collect")
    monkeypatch.setenv("REEFLINE_JOB_UID", "the-collectors-uid")

    there = f"{reef.bucket}/run"
    code, result = run(capsys, "-c", tmp_path / "train.toml", "--data", f"{reef.bucket}/data", "--out", there)
    assert (code, [one["left_out"] for one in result["rounds"]]) == (0, [[], []]), reef.logs()
    assert sorted(reef.cluster.started) == [(0, 0), (0, 0), (1, 0), (1, 0)]
    assert {"model.keras", "run.json"} <= set(store.names(there))
    for job in reef.cluster.objects.all("jobs"):
        assert job["metadata"]["ownerReferences"][0]["uid"] == "the-collectors-uid"

    # What follows a round follows from its bits, so one round here is enough.
    options = ("--name", "quarters", "--rounds", "1", "--data", shard_folder, "--out", tmp_path / "here")
    assert run(capsys, *options)[0] == 0
    found = load_weights(store.fetch(f"{there}/round-1.npz", tmp_path))
    assert found.digest() == load_weights(tmp_path / "here" / "round-1.npz").digest()


@pytest.mark.timeout(300)
def test_a_trainer_says_in_one_line_why_it_failed(reef, object_store):
    """What `fit` says on the pod's stdout is the reason of the failure, all the way."""
    reef.runs_commands(object_store.environment)
    reason = reef.train(1)["shard-0"]
    assert "there is no bucket b" in reason, reef.logs()
