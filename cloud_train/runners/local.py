"""Runs trainers as processes on this computer: as many at once as there are cores."""

import selectors
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

from cloud_train.runners.children import Child, cloud_train, share_of_cores, stop_all
from cloud_train.runners.jobs import (
    SAID_IN_JSON,
    Failure,
    TrainJob,
    error_told_in,
    fit_arguments,
    too_late,
)
from cloud_train.training.recipe import Recipe
from host_cli.progress import Advance

STOP_SECONDS = 5.0
_SHOWN_ERROR_CHARACTERS = 400


@dataclass
class _Trainer:
    """A process that trains, its last answer, and where it writes its errors."""

    job: TrainJob
    child: Child
    errors: IO[bytes]
    said: dict[str, Any] | None = None


class LocalRunner:
    """Trains jobs with `cloud-train fit` processes that share the cores of this computer."""

    def __init__(self, cores: int, environment: Mapping[str, str]) -> None:
        self._cores = max(1, cores)
        self._environment = environment

    def train(
        self, jobs: Sequence[TrainJob], recipe: Recipe, advance: Advance, *, timeout_s: float | None
    ) -> list[Failure]:
        """Run every job to its end, the first ones first; see `cloud_train.runners.jobs.Runner`."""
        at_once = max(1, min(len(jobs), self._cores))
        until_s = None if timeout_s is None else time.monotonic() + timeout_s
        waiting = list(jobs)
        reasons: dict[str, str | None] = {}  # of every job that is over; None: it left its update
        with _running() as (selector, running):
            while waiting or running:
                while waiting and len(running) < at_once:
                    trainer = self._start(waiting.pop(0), recipe, self._cores // at_once)
                    running.append(trainer)
                    selector.register(trainer.child, selectors.EVENT_READ, trainer)
                for trainer in _heard(selector, until_s):
                    if not _listen(trainer, advance):
                        selector.unregister(trainer.child)
                        running.remove(trainer)
                        reasons[trainer.job.client] = _finish(trainer)
                if until_s is not None and time.monotonic() >= until_s:
                    break
        left = None if timeout_s is None else too_late(timeout_s)
        ends = [(job.client, reasons.get(job.client, left)) for job in jobs]
        return [Failure(client, reason) for client, reason in ends if reason is not None]

    def _start(self, job: TrainJob, recipe: Recipe, threads: int) -> _Trainer:
        errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process, closed when that ends
        environment = {**self._environment, **share_of_cores(threads)}
        return _Trainer(job, Child(_command(job, recipe), environment, errors), errors)


@contextmanager
def _running() -> Iterator[tuple[selectors.BaseSelector, list[_Trainer]]]:
    # However the block ends, by its end, the time limit or Ctrl-C: no process is left.
    trainers: list[_Trainer] = []
    with selectors.DefaultSelector() as selector:
        try:
            yield selector, trainers
        finally:
            stop_all([trainer.child for trainer in trainers], STOP_SECONDS)
            for trainer in trainers:
                trainer.errors.close()


def _heard(selector: selectors.BaseSelector, until_s: float | None) -> list[_Trainer]:
    patience_s = None if until_s is None else max(0.0, until_s - time.monotonic())
    return [key.data for key, _ in selector.select(patience_s)]


def _command(job: TrainJob, recipe: Recipe) -> list[str]:
    return cloud_train([*fit_arguments(job, recipe), *SAID_IN_JSON])


def _listen(trainer: _Trainer, advance: Advance) -> bool:
    # Returns False when the trainer is at its end.
    heard = trainer.child.hear()
    for said in heard or []:
        if "examples_done" in said:
            advance(said["examples_done"])
        else:
            trainer.said = said
    return heard is not None


def _finish(trainer: _Trainer) -> str | None:
    code = trainer.child.process.wait()
    reason = _reason(trainer, code) if code else None
    trainer.child.stop(STOP_SECONDS)
    trainer.errors.close()
    return reason


def _reason(trainer: _Trainer, code: int) -> str:
    told = error_told_in(trainer.said)
    if told is not None:
        return told
    trainer.errors.seek(0)
    last = trainer.errors.read().decode("utf-8", "replace").strip()[-_SHOWN_ERROR_CHARACTERS:]
    ending = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
    return f"{ending}; {last}" if last else ending
