"""A run without TensorFlow: trainers that write made-up updates, and a model whose accuracy is its mean."""

import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from cloud_train.averaging.settings import Averaging
from cloud_train.runners.jobs import Failure, TrainJob
from cloud_train.runs import rounds as story
from cloud_train.runs import verification
from cloud_train.runs.place import Place
from cloud_train.training import model_files
from cloud_train.training.recipe import Recipe
from cloud_train.training.weights import Weights, load_weights, save_weights
from host_cli import files
from tests.cloud_train.conftest import make_weights


@dataclass
class Trainers:
    """A runner whose updates follow from their start and their client, as those of real trainers do.

    Attributes:
        fail: reason by client; it leaves no update.
        spoil: what becomes of a client's update before it is written.
        trained: the jobs that were run, by client, in order.
        timeouts: the limits that were given.
    """

    fail: dict[str, str] = field(default_factory=dict)
    spoil: dict[str, Callable[[Weights], Weights]] = field(default_factory=dict)
    trained: list[str] = field(default_factory=list)
    timeouts: list[float | None] = field(default_factory=list)

    def train(self, jobs: Sequence[TrainJob], recipe: Recipe, advance, *, timeout_s: float | None):
        self.timeouts.append(timeout_s)
        for job in jobs:
            if job.client not in self.fail:
                update = trained(load_weights(Path(job.init)), job)
                save_weights(self.spoil.get(job.client, lambda one: one)(update), Path(job.out))
                self.trained.append(job.client)
            advance(job.examples)
        return [Failure(job.client, self.fail[job.client]) for job in jobs if job.client in self.fail]


def trained(start: Weights, job: TrainJob) -> Weights:
    """A step that depends on the start and on the client."""
    random = np.random.default_rng([ord(letter) for letter in job.client] + [start.passes])
    tensors = tuple(
        tensor + random.normal(0, 0.1, tensor.shape).astype(np.float32) for tensor in start.tensors
    )
    return replace(
        start,
        client=job.client,
        num_examples=job.examples,
        passes=start.passes + job.epochs,
        tensors=tensors,
        figures={"seconds": 1.0},
        start=start.digest(),
    )


class Examiner:
    """Says that the accuracy of a model is what its weights are on average."""

    def __init__(self, samples):
        pass

    def measure(self, weights, where):
        accuracy = float(np.clip(np.abs(weights.tensors[0]).mean(), 0, 1))
        return {"accuracy": round(accuracy, 6), "loss": 1.0}


class Model:
    """What is left of a Keras model: its weights, in a file of our own."""

    def __init__(self, path):
        self.tensors = load_weights(path).tensors

    def get_weights(self):
        return list(self.tensors)


def without_tensorflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put stand-ins in the place of everything that needs Keras."""

    def save_model(weights, path):
        save_weights(weights, path.with_suffix(".npz"))
        path.with_suffix(".npz").replace(path)

    monkeypatch.setattr(story, "Examiner", Examiner)
    monkeypatch.setattr(
        story, "initial_weights", lambda *_: replace(make_weights("initial", 0, 0.5), passes=0)
    )
    monkeypatch.setattr(story, "warm_up", lambda initial, *_: initial)
    monkeypatch.setattr(model_files, "save_model", save_model)
    monkeypatch.setattr(verification, "load_model", Model)


def plan_of(data: Path, out: Path, resume: bool = False, **averaging) -> story.RunPlan:
    """A plan of two rounds."""
    return story.RunPlan(
        data=Place.here(data),
        shards=str(data),
        out=Place.here(out),
        name="quarters",
        recipe=Recipe(),
        averaging=Averaging(**{"rounds": 2, **averaging}),
        resume=resume,
    )


def main(data: str, out: str, point: str, server: str) -> None:
    """Run, and die by SIGKILL the `point`-th time that something is brought to the disk."""
    calls, sync = [0], files.sync

    def dying_sync(path):
        calls[0] += 1
        if calls[0] == int(point):
            os.kill(os.getpid(), signal.SIGKILL)
        sync(path)

    files.sync = dying_sync
    with pytest.MonkeyPatch.context() as patch:
        without_tensorflow(patch)
        story.run(plan_of(Path(data), Path(out), server=server), Trainers())


if __name__ == "__main__":
    main(*sys.argv[1:])
