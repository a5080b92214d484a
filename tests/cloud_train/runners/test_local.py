"""Trainer processes: one that fails or is late is named with its reason, and the others go on."""

import os
import sys

import pytest

from cloud_train.runners import local as runner_local
from cloud_train.runners.jobs import Failure, TrainJob
from cloud_train.runners.local import LocalRunner
from cloud_train.training.recipe import Recipe

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


class Trainers:
    """Runs jobs with fake trainers and remembers what they reported."""

    def __init__(self, folder):
        self.folder = folder
        self.pictures = 0.0

    def train(self, *names, cores=2, timeout_s=None):
        jobs = [TrainJob(name, (), "init.npz", 1, str(self.folder / name), 5) for name in names]
        return LocalRunner(cores, os.environ).train(jobs, Recipe(), self.advance, timeout_s=timeout_s)

    def advance(self, pictures):
        self.pictures += pictures

    def is_gone(self, name):
        """A trainer that was never started is gone, too."""
        try:
            os.kill(int((self.folder / f"{name}.pid").read_text()), 0)
        except (FileNotFoundError, ProcessLookupError):
            return True
        return False


@pytest.fixture
def trainers(tmp_path, monkeypatch):
    """Fake trainers, which write into the test's folder."""

    def command(job, recipe):
        return [sys.executable, "-c", FAKE_TRAINER, job.client, str(tmp_path)]

    monkeypatch.setattr(runner_local, "_command", command)
    return Trainers(tmp_path)


def test_every_job_runs_and_reports(trainers, tmp_path):
    """Three jobs on two cores all end, and their progress is added up."""
    assert trainers.train("a", "b", "c") == []
    assert trainers.pictures == 15
    assert all((tmp_path / name).exists() for name in "abc")


@pytest.mark.parametrize(("cores", "threads"), [(1, "1"), (2, "1"), (8, "4")])
def test_trainers_share_the_cores(trainers, tmp_path, cores, threads):
    """Two trainers on eight cores take four threads each."""
    trainers.train("a", "b", cores=cores)
    assert (tmp_path / "a.threads").read_text() == threads


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("refuses", "a label is 12"),
        ("crashes", "exit code 1; MemoryError: no memory left"),
        ("dies", "killed by signal 9"),
    ],
)
def test_a_trainer_that_fails_is_named_and_the_others_go_on(trainers, tmp_path, name, reason):
    """What to do without its update is for the caller to decide; the others' updates are there."""
    assert trainers.train("a", name, "b", cores=1) == [Failure(name, reason)]
    assert (tmp_path / "a").exists() and (tmp_path / "b").exists()


def test_who_is_not_done_in_time_is_named_and_stopped(trainers, tmp_path):
    """One hangs, one is never started; who was done before the limit keeps its update."""
    failures = trainers.train("a", "hangs", "b", cores=1, timeout_s=2)
    reason = "not done within 2 s"
    assert failures == [Failure("hangs", reason), Failure("b", reason)]
    assert (tmp_path / "a").exists() and trainers.is_gone("hangs") and trainers.is_gone("b")


def test_ctrl_c_stops_every_trainer(trainers):
    """Whatever ends the run, no process is left behind."""

    def interrupted(pictures):
        raise KeyboardInterrupt

    trainers.advance = interrupted
    with pytest.raises(KeyboardInterrupt):
        trainers.train("hangs", "hangs too")
    assert trainers.is_gone("hangs") and trainers.is_gone("hangs too")
