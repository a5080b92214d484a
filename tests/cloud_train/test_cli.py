"""The command line: exit codes, three-line errors, and nothing heavy before it is needed."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from cloud_train import cli
from cloud_train.training.models import initial_weights
from cloud_train.training.weights import load_weights, save_weights
from tests.cloud_train.conftest import ARCHITECTURE, make_samples, make_weights


@pytest.fixture
def updates(tmp_path):
    """Two good updates and one of another shape, as files."""
    for name, examples, value in (("shard-0", 30, 1.0), ("shard-1", 10, 5.0)):
        save_weights(make_weights(name, examples, value), tmp_path / f"{name}.npz")
    odd = replace(make_weights("shard-2"), tensors=(np.zeros((9,), np.float32),), roles=())
    save_weights(odd, tmp_path / "shard-2.npz")
    return tmp_path


def test_help_imports_nothing_heavy():
    """`cloud-train --help` must not wait for TensorFlow, nor numpy."""
    code = (
        "import sys; from cloud_train.cli import main; main(['--help']);"
        "sys.exit(len({'tensorflow', 'keras', 'numpy'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (found.stderr, found.returncode) == ("", 0)
    assert "split" in found.stdout


def test_split_says_what_it_made(tmp_path, capsys):
    """Counts on stdout as JSON, the files in the folder."""
    samples = make_samples(30)
    np.savez(tmp_path / "d.npz", x_train=samples.x, y_train=samples.y, x_test=samples.x, y_test=samples.y)
    out = tmp_path / "out"
    arguments = ["split", "--dataset", str(tmp_path / "d.npz"), "--shards", "4", "--out", str(out), "--json"]
    assert cli.main(arguments) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["ok"], result["shards"], result["test"]) == (True, [8, 8, 7, 7], 30)
    assert len(list(out.iterdir())) == 6


def test_average_weighs_by_examples(updates, capsys):
    """30 examples of 1 and 10 of 5 are 2."""
    files = [str(updates / f"shard-{index}.npz") for index in (1, 0)]
    assert cli.main(["average", *files, "-o", str(updates / "a.npz")]) == 0
    averaged = load_weights(updates / "a.npz")
    assert averaged.tensors[0][0, 0] == 2.0 and averaged.num_examples == 40


def test_average_tells_in_three_lines_who_was_left_out(updates, capsys):
    """What, where, what to try; exit code 5, because the average is not of all."""
    files = [str(updates / f"shard-{index}.npz") for index in (0, 1, 2)]
    assert cli.main(["average", *files, "-o", str(updates / "a.npz")]) == 5
    lines = capsys.readouterr().err.splitlines()[-3:]
    assert lines[0].startswith("error: 1 of 3 updates are left out: shard-2: it has layers of the shapes")
    assert lines[1] == f"   at: {updates / 'a.npz'}" and lines[2].startswith("  try: ")


def test_average_of_nothing_that_is_whole_writes_nothing(updates, truncate, capsys):
    """The file is named, because nobody can read who sent it; exit code 1."""
    path = truncate(updates / "shard-0.npz")
    assert cli.main(["average", str(path), "-o", str(updates / "a.npz")]) == 1
    assert "shard-0.npz is no whole weights file" in capsys.readouterr().err
    assert not (updates / "a.npz").exists()


def test_average_writes_a_model_and_evaluate_measures_it(shard_folder, tmp_path, capsys):
    """Weights become a .keras file that can be measured."""
    update = replace(initial_weights(ARCHITECTURE, 0), num_examples=5)
    save_weights(update, tmp_path / "u.npz")
    assert cli.main(["average", str(tmp_path / "u.npz"), "-o", str(tmp_path / "m.keras")]) == 0
    capsys.readouterr()
    data = str(shard_folder / "test.npz")
    assert cli.main(["evaluate", str(tmp_path / "m.keras"), "--data", data, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["samples"] == 40 and 0 <= result["accuracy"] <= 1


def test_fit_starts_from_the_seed_or_from_given_weights(shard_folder, tmp_path, capsys):
    """`init` and `fit` without --init start at the same place."""
    start, shard = tmp_path / "init.npz", str(shard_folder / "shard-0.npz")
    assert cli.main(["init", "--like", str(shard_folder), "--seed", "7", "--out", str(start)]) == 0
    options = ["fit", "--shard", shard, "--seed", "7", "--out"]
    assert cli.main([*options, str(tmp_path / "a.npz")]) == 0
    assert cli.main([*options, str(tmp_path / "b.npz"), "--init", str(start)]) == 0
    first, second = (load_weights(tmp_path / name) for name in ("a.npz", "b.npz"))
    assert (first.client, first.num_examples) == ("shard-0", 81)
    for one, other in zip(first.tensors, second.tensors, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_fit_refuses_labels_out_of_range(shard_folder, tmp_path, capsys):
    """A label that the model has no output for is named, and no update is written."""
    samples = make_samples(8)
    np.savez(tmp_path / "bad.npz", x=samples.x, y=samples.y + 1)
    start = tmp_path / "init.npz"
    save_weights(initial_weights(ARCHITECTURE, 0), start)
    out = tmp_path / "u.npz"
    assert (
        cli.main(["fit", "--shard", str(tmp_path / "bad.npz"), "--init", str(start), "--out", str(out)]) == 2
    )
    assert "a label is 4" in capsys.readouterr().err
    assert not out.exists()


def test_fit_without_manifest_asks_for_a_start(tmp_path, capsys):
    """A lone shard does not say how many labels there are."""
    samples = make_samples(8)
    np.savez(tmp_path / "s.npz", x=samples.x, y=samples.y)
    assert cli.main(["fit", "--shard", str(tmp_path / "s.npz"), "--out", str(tmp_path / "u.npz")]) == 2
    assert "--init" in capsys.readouterr().err


@pytest.mark.parametrize(
    "wrong", [["--batch-size", "0"], ["--learning-rate", "-1"], ["--model", "cnn9"], ["--name", "Ä"]]
)
def test_wrong_options_are_wrong_usage(shard_folder, tmp_path, capsys, wrong):
    """Exit code 2, and nothing is written."""
    assert cli.main(["run", "--data", str(shard_folder), "--out", str(tmp_path / "run"), *wrong]) == 2
    assert "error: " in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
