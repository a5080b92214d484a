"""Checkpoints: a killed training goes on and gives the same bits; what is no checkpoint of it is refused."""

import os
import subprocess
import sys

import numpy as np
import pytest

from cloud_train import cli
from cloud_train.training.checkpoint import Checkpoints, Standing
from cloud_train.training.weights import load_weights
from host_cli.errors import WrongUsage
from tests.cloud_train.conftest import make_samples

JOB, OTHER_JOB = "a" * 64, "b" * 64
ONE_THREAD = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1", "OMP_NUM_THREADS": "1"}
# Continues a training that was killed, then does the whole of it again, in one process.
BOTH = """
import sys
from cloud_train.cli import main
out, checkpoint, *options = sys.argv[1:]
code = main([*options, "--out", out, "--checkpoint", checkpoint])
sys.exit(code or main([*options, "--out", out + ".npz"]))
"""


def test_a_training_that_was_killed_goes_on_to_the_same_bits(shard_folder, tmp_path):
    """SIGKILL in the middle of a pass; on one thread not a bit differs, figures included."""
    samples, environment = make_samples(801), {**os.environ, **ONE_THREAD}
    np.savez(shard_folder / "shard-0.npz", x=samples.x, y=samples.y)
    out, folder = tmp_path / "w.npz", tmp_path / "checkpoints"
    options = ["fit", "--shard", str(shard_folder / "shard-0.npz"), "--model", "mnist_cnn", "--epochs", "2"]
    options += ["--batch-size", "4", "--steps", "--checkpoint-every", "20"]
    command = [sys.executable, "-m", "cloud_train", *options, "--out", str(out), "--checkpoint", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as killed:
        for _ in range(15):  # of 20 steps each: in the second pass
            assert "examples_done" in killed.stdout.readline()
        killed.kill()
    assert killed.returncode == -9 and not out.exists()
    with np.load(folder / "checkpoint.npz") as left:
        assert b'"step":0' not in left["meta"].tobytes()

    command = [sys.executable, "-c", BOTH, str(out), str(folder), *options]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    first_line = done.stdout.splitlines()[0]
    assert int(first_line.split(":")[1].strip("} ")) >= 801 + 80, "it started anew"
    resumed, whole = load_weights(out), load_weights(tmp_path / "w.npz.npz")
    assert resumed.digest() == whole.digest()
    assert resumed.figures["loss"] == whole.figures["loss"]
    # Who was killed while it wrote one has left a hidden file.
    assert not list(folder.glob("[!.]*")), "the checkpoint outlives its use"


def test_a_checkpoint_comes_back_as_it_was(tmp_path):
    """And there is none before the first."""
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.load(JOB) is None
    standing = Standing(JOB, 2, 40, 1, ({"loss": 0.5},))
    checkpoints.save(standing, [np.arange(3)])
    found, values = checkpoints.load(JOB)
    assert found == standing and values[0].tolist() == [0, 1, 2]
    checkpoints.clear()
    assert checkpoints.load(JOB) is None


def test_a_long_history_comes_back(tmp_path):
    """As many passes as a recipe may have."""
    passes = tuple({"pass": float(number), "loss": 0.123456789, "accuracy": 0.5} for number in range(10_000))
    standing = Standing(JOB, 10_000, 0, 0, passes)
    Checkpoints(tmp_path).save(standing, [])
    assert Checkpoints(tmp_path).load(JOB) == (standing, [])


def test_a_checkpoint_of_another_training_is_refused(tmp_path):
    """Other options, weights or pictures: nothing is mixed."""
    Checkpoints(tmp_path).save(Standing(OTHER_JOB, 0, 0, 0), [])
    with pytest.raises(WrongUsage, match="of another training"):
        Checkpoints(tmp_path).load(JOB)


def test_a_damaged_checkpoint_is_refused(tmp_path, truncate):
    """It says which file to remove."""
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(Standing(JOB, 0, 0, 1), [np.zeros(500)])
    with pytest.raises(WrongUsage, match="cut short") as found:
        Checkpoints(truncate(checkpoints.path).parent).load(JOB)
    assert found.value.where == str(checkpoints.path)


def test_a_folder_that_cannot_be_written_is_known_before_the_work(shard_folder, tmp_path, capsys):
    """Not after the first 500 steps."""
    (tmp_path / "file").write_text("")
    arguments = ["fit", "--shard", str(shard_folder / "shard-0.npz"), "--out", str(tmp_path / "w.npz")]
    assert cli.main([*arguments, "--steps", "--checkpoint", str(tmp_path / "file")]) == 1
    said = capsys.readouterr()
    assert "examples_done" not in said.out
    lines = said.err.splitlines()
    assert len([line for line in lines if line.startswith(("error:", "   at:", "  try:"))]) == 3
    assert not (tmp_path / "w.npz").exists()
