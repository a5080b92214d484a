"""Runs trainers as processes on this computer: as many at once as there are cores."""

import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

from cloud_train.runners.jobs import Advance, Failure, TrainJob, error_told_in, fit_arguments, too_late
from cloud_train.training.recipe import Recipe

STOP_SECONDS = 5.0
_SHOWN_ERROR_CHARACTERS = 400
_READ_BYTES = 64 * 1024


@dataclass
class _Trainer:
    """A process that trains, its answers so far, and where it writes its errors."""

    job: TrainJob
    process: subprocess.Popen[bytes]
    errors: IO[bytes]
    unread: bytes = b""
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
                    selector.register(_stdout(trainer), selectors.EVENT_READ, trainer)
                for trainer in _heard(selector, until_s):
                    if not _listen(trainer, advance):
                        selector.unregister(_stdout(trainer))
                        running.remove(trainer)
                        reasons[trainer.job.client] = _finish(trainer)
                if until_s is not None and time.monotonic() >= until_s:
                    break
        left = None if timeout_s is None else too_late(timeout_s)
        ends = [(job.client, reasons.get(job.client, left)) for job in jobs]
        return [Failure(client, reason) for client, reason in ends if reason is not None]

    def _start(self, job: TrainJob, recipe: Recipe, threads: int) -> _Trainer:
        errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process, closed in _close
        environment = {**self._environment, **_share_of_cores(threads)}
        process = subprocess.Popen(
            _command(job, recipe),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment,
        )
        return _Trainer(job, process, errors)


@contextmanager
def _running() -> Iterator[tuple[selectors.BaseSelector, list[_Trainer]]]:
    # However the block ends, by its end, the time limit or Ctrl-C: no process is left.
    trainers: list[_Trainer] = []
    with selectors.DefaultSelector() as selector:
        try:
            yield selector, trainers
        finally:
            _stop(trainers)


def _heard(selector: selectors.BaseSelector, until_s: float | None) -> list[_Trainer]:
    patience_s = None if until_s is None else max(0.0, until_s - time.monotonic())
    return [key.data for key, _ in selector.select(patience_s)]


def _command(job: TrainJob, recipe: Recipe) -> list[str]:
    return [sys.executable, "-m", "cloud_train", *fit_arguments(job, recipe)]


def _share_of_cores(threads: int) -> dict[str, str]:
    # Left alone, every trainer would start a thread per core, and they would wait for each other.
    names = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")
    return {name: str(max(1, threads)) for name in names}


def _stdout(trainer: _Trainer) -> IO[bytes]:
    assert trainer.process.stdout is not None  # it was started with a pipe
    return trainer.process.stdout


def _listen(trainer: _Trainer, advance: Advance) -> bool:
    # One read never blocks after select() and may end in the middle of a line. False: the trainer is gone.
    block = os.read(_stdout(trainer).fileno(), _READ_BYTES)
    *lines, trainer.unread = (trainer.unread + block).split(b"\n")
    for line in lines:
        try:
            said = json.loads(line)
        except ValueError:
            continue  # a library's chatter
        if isinstance(said, dict) and "examples_done" in said:
            advance(said["examples_done"])
        elif isinstance(said, dict):
            trainer.said = said
    return bool(block)


def _finish(trainer: _Trainer) -> str | None:
    code = trainer.process.wait()
    reason = _reason(trainer, code) if code else None
    _close(trainer)
    return reason


def _reason(trainer: _Trainer, code: int) -> str:
    told = error_told_in(trainer.said)
    if told is not None:
        return told
    trainer.errors.seek(0)
    last = trainer.errors.read().decode("utf-8", "replace").strip()[-_SHOWN_ERROR_CHARACTERS:]
    ending = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
    return f"{ending}; {last}" if last else ending


def _stop(trainers: Sequence[_Trainer]) -> None:
    for trainer in trainers:
        trainer.process.terminate()
    for trainer in trainers:
        try:
            trainer.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            trainer.process.kill()
            trainer.process.wait()
        _close(trainer)


def _close(trainer: _Trainer) -> None:
    _stdout(trainer).close()
    trainer.errors.close()
