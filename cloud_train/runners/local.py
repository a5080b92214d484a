"""Runs trainers as processes on this computer: as many at once as there are cores, stopped together."""

import json
import os
import selectors
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from cloud_train.training.recipe import Recipe
from host_cli.errors import Failed

Advance = Callable[[float], None]

STOP_SECONDS = 5.0
_SHOWN_ERROR_CHARACTERS = 400
_READ_BYTES = 64 * 1024


@dataclass(frozen=True)
class TrainJob:
    """One trainer's work: which shards, from which weights, how many passes, and where the update goes."""

    client: str
    shards: tuple[Path, ...]
    init: Path
    epochs: int
    out: Path


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

    def train(self, jobs: Sequence[TrainJob], recipe: Recipe, advance: Advance) -> None:
        """Run every job to its end, the first ones first.

        Args:
            jobs: what to train.
            recipe: hyperparameters, the same for all.
            advance: called with the number of pictures done since the last call, over all trainers.

        Raises:
            Failed: a trainer failed; it is named with its reason, and the others were stopped.
        """
        at_once = min(len(jobs), self._cores)
        waiting = list(jobs)
        running: list[_Trainer] = []
        with selectors.DefaultSelector() as selector:
            try:
                while waiting or running:
                    while waiting and len(running) < at_once:
                        trainer = self._start(waiting.pop(0), recipe, self._cores // at_once)
                        running.append(trainer)
                        selector.register(_stdout(trainer), selectors.EVENT_READ, trainer)
                    for key, _ in selector.select():
                        if not _listen(key.data, advance):
                            selector.unregister(key.fileobj)
                            running.remove(key.data)
                            _finish(key.data)
            finally:
                _stop(running)

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


def _command(job: TrainJob, recipe: Recipe) -> list[str]:
    command = [sys.executable, "-m", "cloud_train", "fit", "--json", "--steps"]
    for shard in job.shards:
        command += ["--shard", str(shard)]
    command += ["--client", job.client, "--init", str(job.init), "--epochs", str(job.epochs)]
    command += ["--model", recipe.model, "--batch-size", str(recipe.batch_size), "--seed", str(recipe.seed)]
    command += ["--learning-rate", repr(recipe.learning_rate), "--decay", repr(recipe.decay)]
    return [*command, "--out", str(job.out)]


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


def _finish(trainer: _Trainer) -> None:
    code = trainer.process.wait()
    reason = _reason(trainer, code)
    _close(trainer)
    if code:
        hint = (
            "look at the file it names" if trainer.said else "free memory, or run its `fit` by hand with -vv"
        )
        raise Failed(f"the trainer of {trainer.job.client} failed: {reason}", str(trainer.job.out), hint)


def _reason(trainer: _Trainer, code: int) -> str:
    error = (trainer.said or {}).get("error")
    if isinstance(error, dict):
        return str(error.get("message"))
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
