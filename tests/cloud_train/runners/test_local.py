"""Trainer processes: one that fails is named with its reason, and the others are stopped."""

import json
import os
import sys
import time

import pytest

from cloud_train.runners import local as runner_local
from cloud_train.runners.local import LocalRunner, TrainJob
from cloud_train.training.recipe import Recipe
from host_cli.errors import Failed

# Stands in for `cloud-train fit`: says its pid and threads, then does what its name asks.
FAKE_TRAINER = """
import json, os, pathlib, signal, sys, time
name, folder = sys.argv[1], pathlib.Path(sys.argv[2])
(folder / f"{name}.pid").write_text(str(os.getpid()))
(folder / f"{name}.threads").write_text(os.environ["TF_NUM_INTRAOP_THREADS"])
print("a library talks", flush=True)
sys.stdout.write('{"examples_'); sys.stdout.flush(); time.sleep(0.05); print('done": 5}', flush=True)
if name == "refuses":
    print(json.dumps({"ok": False, "error": {"code": "x", "message": "a label is 12", "hint": ""}}))
    sys.exit(2)
if name == "crashes":
    sys.exit("MemoryError: no memory left")
if name == "dies":
    os.kill(os.getpid(), signal.SIGKILL)
if name == "hangs":
    time.sleep(60)
(folder / name).write_text("update")
"""


@pytest.fixture
def train(tmp_path, monkeypatch):
    """Run jobs of these names with fake trainers; return the pictures that were reported."""
    monkeypatch.setattr(
        runner_local,
        "_command",
        lambda job, recipe: [sys.executable, "-c", FAKE_TRAINER, job.client, str(tmp_path)],
    )

    def run(*names, cores=2):
        done = []
        jobs = [TrainJob(name, (), tmp_path / "init.npz", 1, tmp_path / name) for name in names]
        LocalRunner(cores, os.environ).train(jobs, Recipe(), done.append)
        return sum(done)

    return run


def test_every_job_runs_and_reports(train, tmp_path):
    """Three jobs on two cores all end, and their progress is added up."""
    assert train("a", "b", "c") == 15
    assert all((tmp_path / name).exists() for name in "abc")


@pytest.mark.parametrize(("cores", "threads"), [(1, "1"), (2, "1"), (8, "4")])
def test_trainers_share_the_cores(train, tmp_path, cores, threads):
    """Two trainers on eight cores take four threads each."""
    train("a", "b", cores=cores)
    assert (tmp_path / "a.threads").read_text() == threads


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("refuses", "a label is 12"),
        ("crashes", "exit code 1; .*no memory left"),
        ("dies", "killed by signal 9"),
    ],
)
def test_a_trainer_that_fails_is_named_and_the_others_are_stopped(train, tmp_path, name, reason):
    """The run does not wait for a trainer whose work is lost anyway, and leaves no process behind."""
    started = time.monotonic()
    with pytest.raises(Failed, match=f"trainer of {name} failed: {reason}"):
        train("hangs", name)
    assert time.monotonic() - started < 10
    if (tmp_path / "hangs.pid").exists():
        with pytest.raises(ProcessLookupError):
            os.kill(int((tmp_path / "hangs.pid").read_text()), 0)


def test_the_command_line_carries_the_whole_recipe(tmp_path):
    """A trainer gets every hyperparameter from its command line, none from a default of its own."""
    recipe = Recipe(batch_size=7, learning_rate=0.1 + 0.2, decay=0.9, seed=3)
    job = TrainJob("shard-0", (tmp_path / "s.npz",), tmp_path / "i.npz", 2, tmp_path / "o.npz")
    command = runner_local._command(job, recipe)
    for name, value in (
        ("batch-size", 7),
        ("learning-rate", 0.1 + 0.2),
        ("decay", 0.9),
        ("seed", 3),
        ("epochs", 2),
    ):
        assert json.loads(command[command.index(f"--{name}") + 1]) == value
