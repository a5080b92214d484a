"""The story of a training: pass after pass from given weights to a shard update."""

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cloud_train.data.samples import Pictures
from cloud_train.training.batches import batches, shuffled_places
from cloud_train.training.checkpoint import Checkpoints, Standing
from cloud_train.training.examiner import Scorer
from cloud_train.training.learner import Learner
from cloud_train.training.models import normalisation, roles_of
from cloud_train.training.recipe import Recipe
from cloud_train.training.scalars import Scalars
from cloud_train.training.weights import Weights
from contract.codec import encode
from host_cli.errors import Failed
from host_cli.progress import Advance

Figures = dict[str, float]

# Pictures that are hashed to tell one shard from another; reading all of a large one would take minutes.
PICTURES_IN_JOB_HASH = 64


@dataclass(frozen=True)
class Watching:
    """What goes on beside the learning; none of it changes the weights.

    Attributes:
        validation: pictures that each pass is measured on.
        passed: called after each pass with its figures: pass, loss, accuracy, and with `validation`
            validation_loss and validation_accuracy.
        checkpoints: where the training can be continued from.
        tensorboard: folder for TensorBoard.
    """

    validation: Pictures | None = None
    passed: Callable[[Figures], None] | None = None
    checkpoints: Checkpoints | None = None
    tensorboard: Path | None = None


def fit(
    samples: Pictures,
    start: Weights,
    recipe: Recipe,
    *,
    epochs: int,
    client: str,
    advance: Advance,
    watching: Watching | None = None,
) -> Weights:
    """Train from `start` and return the shard update.

    A pass depends on nothing but the weights, the recipe and the number of passes before it: Adam starts
    afresh, shuffle, dropout and learning rate follow from that number. So two calls of one epoch give what
    one call of two gives, and a run can be continued from its weights alone.

    Args:
        samples: x (N, height, width, channels) uint8, y (N,) int64, as the architecture of `start` says.
        start: where training begins.
        recipe: hyperparameters; its `epochs` is for the caller.
        epochs: passes over `samples`, at least 1.
        client: who trains; names the update.
        advance: called with the number of pictures done since the last call.
        watching: what else happens on the way.

    Raises:
        Failed: the loss or a weight is no longer a number, or the memory is too small for a batch.
        WrongUsage: the checkpoint that lies there is damaged, or of another training.
    """
    started = time.monotonic()
    watching = watching or Watching()
    learner = Learner(start, recipe, client)
    scaling = normalisation(start.architecture)
    training = _Training(learner, samples, recipe, watching, advance)
    training.continue_from_checkpoint(_job_hash(samples, start, recipe, epochs))
    scorer = Scorer(learner.model, scaling)
    with _named_failures(client, recipe), _scalars(watching.tensorboard) as scalars:
        for number in range(len(training.history), epochs):
            figures = training.run_pass(start.passes + number, scaling, scalars)
            learner.check_finite(figures["loss"])
            if watching.validation is not None:
                measured = scorer.measure(watching.validation).figures()
                figures.update({f"validation_{name}": value for name, value in measured.items()})
            training.end_pass(figures, scalars)
    last = {name: value for name, value in training.history[-1].items() if name != "pass"}
    return Weights(
        architecture=start.architecture,
        client=client,
        num_examples=len(samples.y),
        passes=start.passes + epochs,
        tensors=learner.tensors(),
        figures={**last, "seconds": round(time.monotonic() - started, 3)},
        roles=roles_of(learner.model),
        start=start.digest(),
    )


class _Training:
    """Where a training stands, and who is told."""

    def __init__(
        self, learner: Learner, samples: Pictures, recipe: Recipe, watching: Watching, advance: Advance
    ) -> None:
        self.history: list[Figures] = []
        self._learner, self._samples, self._recipe = learner, samples, recipe
        self._watching, self._advance = watching, advance
        self._steps_in_pass = math.ceil(len(samples.y) / recipe.batch_size)
        self._step = 0  # of the pass under way
        self._saved_at = 0
        self._job = ""

    def continue_from_checkpoint(self, job: str) -> None:
        """Go to where the last checkpoint of this job was written, or write the first one."""
        self._job = job
        if self._watching.checkpoints is None:
            return
        found = self._watching.checkpoints.load(job)
        if found is None:
            self._save()  # now, so that a folder that cannot be written is known before the work
            return
        standing, values = found
        self._learner.put_state(values)
        self.history = list(standing.history)
        self._step = self._saved_at = standing.step
        self._advance(len(self.history) * len(self._samples.y) + self._pictures(standing.step))

    def run_pass(self, passes: int, scaling: tuple[float, float], scalars: Scalars | None) -> Figures:
        """Learn what is left of a pass and return its figures; `passes` are behind the weights."""
        if self._step == 0:
            self._learner.begin_pass(passes)
        first, size = self._step, self._recipe.batch_size
        places = shuffled_places(len(self._samples.y), self._recipe.seed, passes)[first * size :]

        def stepped(steps: int, figures: Mapping[str, float]) -> None:
            self._stepped(first + steps, figures, scalars)

        found = self._learner.learn(batches(self._samples, places, size, scaling), stepped)
        return {"pass": passes + 1, **found}

    def end_pass(self, figures: Figures, scalars: Scalars | None) -> None:
        """Note the figures of a whole pass, and tell of them."""
        self.history.append(figures)
        self._step = 0
        if self._watching.checkpoints is not None:
            self._save()
        if scalars is not None:
            scalars.passed(len(self.history), {name: figures[name] for name in figures if name != "pass"})
        if self._watching.passed is not None:
            self._watching.passed(figures)

    def _stepped(self, step: int, figures: Mapping[str, float], scalars: Scalars | None) -> None:
        self._advance(self._pictures(step) - self._pictures(self._step))
        self._step = step
        if scalars is not None:
            scalars.steps(len(self.history) * self._steps_in_pass + step, figures)
        checkpoints = self._watching.checkpoints
        due = checkpoints is not None and step - self._saved_at >= checkpoints.every_steps
        # At the end of a pass its figures are still missing: end_pass saves.
        if due and step < self._steps_in_pass:
            self._save()

    def _pictures(self, steps: int) -> int:
        # The last batch of a pass may be short.
        return min(len(self._samples.y), steps * self._recipe.batch_size)

    def _save(self) -> None:
        assert self._watching.checkpoints is not None  # only called when there are some
        values = self._learner.state()
        standing = Standing(self._job, len(self.history), self._step, len(values), tuple(self.history))
        self._watching.checkpoints.save(standing, values)
        self._saved_at = self._step


def _scalars(folder: Path | None) -> Any:
    return nullcontext() if folder is None else Scalars(folder)


@contextmanager
def _named_failures(client: str, recipe: Recipe) -> Iterator[None]:
    import tensorflow as tf

    try:
        yield
    except (tf.errors.ResourceExhaustedError, MemoryError) as error:
        what = f"the memory is too small for a batch of {recipe.batch_size} pictures"
        raise Failed(what, client, "a smaller --batch-size") from error


def _job_hash(samples: Pictures, start: Weights, recipe: Recipe, epochs: int) -> str:
    # Of all that decides the result.
    count = len(samples.y)
    seen = np.unique(np.linspace(0, count - 1, min(count, PICTURES_IN_JOB_HASH)).astype(np.int64))
    found = hashlib.sha256(encode(recipe))
    found.update(f"{epochs} {start.passes} {start.digest()} {samples.image_shape}".encode())
    found.update(np.ascontiguousarray(samples.y).tobytes())
    found.update(np.ascontiguousarray(samples.take(seen).x).tobytes())
    return found.hexdigest()
