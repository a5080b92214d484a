"""`cloud-train fit` from the command line: what it takes, what it leaves, and what it refuses."""

import json
import re

import numpy as np
import pytest

from cloud_train import cli
from cloud_train.training.weights import load_weights
from contract.artifacts import RunRecord
from contract.codec import decode
from host_cli import files
from tests.cloud_train.conftest import make_samples


@pytest.fixture
def fit(shard_folder, capsys):
    """Run `fit --json` on a shard; return its exit code, its result and its errors."""

    def run(*options, shard="shard-0.npz"):
        where = ["--shard", str(shard_folder / shard)] if shard else []
        code = cli.main(["fit", *where, *map(str, options), "--json"])
        said = capsys.readouterr()
        return code, json.loads(said.out.splitlines()[-1]), said.err

    return run


def test_a_part_is_held_out_and_measured_after_each_pass(fit, tmp_path):
    """The update counts what was learned from; each pass is told."""
    code, result, err = fit("--validation", 0.2, "--epochs", 2, "--out", tmp_path / "w.npz")
    assert code == 0 and result["num_examples"] == 65  # of 81
    assert [figures["pass"] for figures in result["history"]] == [1, 2]
    assert re.search(r"pass 2: loss .*held out: loss .*accuracy", err)
    assert load_weights(tmp_path / "w.npz").figures["validation_accuracy"] == result["validation_accuracy"]


def test_a_folder_of_shards_is_learned_and_a_model_is_named(fit, shard_folder, tmp_path):
    """All shards, its test.npz to measure with, and the parameters and the time in the name."""
    out = f"{tmp_path}/models/"
    code, result, _ = fit("--data", shard_folder, "--batch-size", 64, "--out", out, shard=None)
    assert code == 0 and result["num_examples"] == 161 and "validation_accuracy" in result
    (folder,) = (tmp_path / "models").iterdir()
    assert re.fullmatch(r"cnn3-e1-b64-\d{8}T\d{6}Z", folder.name)
    assert result["out"] == f"{folder}/{folder.name}.keras"
    record = decode(RunRecord, (folder / "run.json").read_bytes())
    assert record.model == files.describe(folder / f"{folder.name}.keras")
    assert record.labels[3] == "quarter 3" and record.accuracy == result["validation_accuracy"]
    assert record.history == tuple(result["history"])


def test_a_model_says_what_its_input_is(fit, tmp_path, capsys, shard_folder):
    """`evaluate` reads it from run.json, and names each label."""
    assert fit("--out", tmp_path / "quarters.keras")[0] == 0
    evaluate = ["evaluate", str(tmp_path / "quarters.keras"), "--data", str(shard_folder / "test.npz")]
    assert cli.main([*evaluate, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["normalisation"] == {"scale": 1 / 255, "offset": 0.0, "said_by": "run.json"}
    assert [one["label"] for one in found["per_class"]] == [f"quarter {number}" for number in range(4)]
    assert np.array(found["confusion"]).sum() == found["samples"] == 40
    right = sum(found["confusion"][label][label] for label in range(4))
    assert found["accuracy"] == right / 40


def test_a_model_does_not_take_the_record_of_another(fit, tmp_path):
    """run.json tells of one model; a second one needs a folder of its own."""
    assert fit("--out", tmp_path / "first.keras")[0] == 0
    before = (tmp_path / "run.json").read_bytes()
    code, result, _ = fit("--out", tmp_path / "second.keras")
    assert code == 2 and "run.json there is of first.keras" in result["error"]["message"]
    assert (tmp_path / "run.json").read_bytes() == before and not (tmp_path / "second.keras").exists()


def test_the_width_of_the_start_counts(fit, shard_folder, tmp_path, capsys):
    """Another one is refused, none means the same."""
    start = tmp_path / "start.npz"
    assert cli.main(["init", "--like", str(shard_folder), "--out", str(start)]) == 0
    capsys.readouterr()
    code, result, _ = fit("--init", start, "--width", 0.5, "--out", tmp_path / "w.npz")
    assert code == 2 and "of width 1, not 0.5" in result["error"]["message"]


def grow(folder):
    samples = make_samples(9)
    np.savez(folder / "odd.npz", x=np.zeros((9, 4, 8, 1), np.uint8), y=samples.y)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--validation", "0"], "a share is above 0"),
        (["--validation", "1.5"], "below 1, not 1.5"),
        (["--validation", "nowhere.npz"], "no such file"),
        (["--validation", "ODD"], r"(4, 8, 1), expected (8, 8, 1)"),
        (["--shard", "ODD"], r"(4, 8, 1), expected (8, 8, 1)"),
        (["--data", "."], "in one of two ways"),
        (["--out", "w.txt"], "neither .npz, nor .keras, nor a folder"),
        (["--pretrained", "nowhere.h5"], "no such file"),
        (["--width", "0.5"], "one width only"),
        (["--proximal", "-1"], "proximal"),
        (["--epochs", "0"], "--epochs"),
        (["--out", "ftp://host/w.npz"], "no place for files"),
    ],
)
def test_an_order_that_does_not_fit_together_is_refused(fit, shard_folder, tmp_path, options, reason):
    """Exit code 2, three lines, and nothing is written."""
    grow(shard_folder)
    options = [option.replace("ODD", str(shard_folder / "odd.npz")) for option in options]
    code, result, err = fit("--out", str(tmp_path / "w.npz"), *options)
    assert (code, result["ok"]) == (2, False) and reason in result["error"]["message"]
    assert [line[:6] for line in err.splitlines()] == ["error:", "   at:", "  try:"]
    assert not list(tmp_path.glob("w.*"))
