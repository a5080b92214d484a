"""One model that learns as samples come: a step for each part, measured on what was set aside."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cloud_train import backend
from cloud_train.bus.choices import ModelChoice
from cloud_train.data.recorded import load_recorded, save_recorded
from cloud_train.data.samples import Array, Pictures, Samples
from cloud_train.training.examiner import Scorer
from cloud_train.training.models import build_model, normalisation
from cloud_train.training.weights import Architecture, Weights
from contract.artifacts import MAX_ROUNDS, MAX_RUN_BYTES, SHA256_PATTERN
from contract.records import Integer, Items, Nested, Number, Record, Table, Text, rule
from host_cli.errors import Failed, WrongUsage


@dataclass(frozen=True)
class Position(Record):
    """Where a model stands in its stream: it lies with the weights, and both change together.

    Attributes:
        choice: the model and how it learns.
        stream: SHA-256 of what it learns from.
        next: the part that it learns next.
        samples: how many it has learned from.
        seconds: how long that took.
        history: figures of the last MAX_ROUNDS measurements: step, samples, accuracy, loss, seconds.
    """

    choice: ModelChoice = rule(Nested(ModelChoice))
    stream: str = rule(Text(SHA256_PATTERN))
    next: int = rule(Integer(1))
    samples: int = rule(Integer(), default=0)
    seconds: float = rule(Number(0, 1e12, digits=3), default=0.0)
    history: tuple[dict[str, float], ...] = rule(Items(Table(Number()), max_items=MAX_ROUNDS), default=())


@dataclass
class Learner:
    """A Keras model with its optimizer; `scale` and `offset` make its input: pixel * scale + offset."""

    architecture: Architecture
    choice: ModelChoice
    scale: float = field(init=False)
    offset: float = field(init=False)
    _model: Any = field(init=False)
    _scorer: Scorer = field(init=False)

    def __post_init__(self) -> None:
        keras = backend.keras()
        self.scale, self.offset = normalisation(self.architecture)
        keras.utils.set_random_seed(self.choice.seed)
        self._model = build_model(self.architecture)
        optimizer = keras.optimizers.Adam(learning_rate=self.choice.learning_rate)
        self._model.compile(optimizer=optimizer, loss="sparse_categorical_crossentropy")
        optimizer.build(self._model.trainable_variables)
        self._scorer = Scorer(self._model, (self.scale, self.offset))

    def learn(self, samples: Samples) -> None:
        """Take one step of the optimizer on these samples."""
        self._model.train_on_batch(self._input(samples.x), samples.y)

    def measure(self, samples: Pictures) -> dict[str, float]:
        """Return accuracy (0 to 1) and loss (mean cross-entropy in nats).

        Raises:
            Failed: the weights are no longer numbers.
        """
        # Not the scores: ReLU6 makes a number of a NaN.
        if not all(np.isfinite(tensor).all() for tensor in self._model.get_weights()):
            raise Failed("the weights are no longer numbers", self.choice.name, "a smaller learning_rate")
        return self._scorer.measure(samples).figures()

    def weights(self, position: Position, passes: int) -> Weights:
        """Return the weights as they are at `position`, after `passes` over the data."""
        return Weights(
            architecture=self.architecture,
            client=self.choice.name,
            num_examples=position.samples,
            passes=passes,
            tensors=tuple(self._model.get_weights()),
            figures=position.history[-1],
        )

    def save(self, position: Position, path: Path) -> None:
        """Write everything that the next step needs, with the position it belongs to, as one .npz file."""
        arrays = {_name(index): np.asarray(one) for index, one in enumerate(self._variables())}
        save_recorded(path, position, arrays)

    def load(self, arrays: dict[str, Array], path: Path) -> None:
        """Go on from what `save` wrote.

        Raises:
            WrongUsage: it is of another model.
        """
        variables = self._variables()
        found = [arrays[name].shape for name in map(_name, range(len(arrays))) if name in arrays]
        if found != [tuple(one.shape) for one in variables]:
            raise WrongUsage("it holds other layers than the model has", str(path), "another --out")
        for index, variable in enumerate(variables):
            variable.assign(arrays[_name(index)])

    def _variables(self) -> list[Any]:
        # With the state of random layers: so the continuation is the same as if nothing had happened.
        return [*self._model.variables, *self._model.optimizer.variables]

    def _input(self, pictures: Array) -> Array:
        return pictures.astype(np.float32) * np.float32(self.scale) + np.float32(self.offset)


def load_position(path: Path) -> tuple[Position, dict[str, Array]] | None:
    """Read a checkpoint: where the model stood, and the arrays for `Learner.load`; None if there is none.

    Raises:
        WrongUsage: the file is damaged.
    """
    if not path.exists():
        return None
    hint = "remove it to begin from the first part again, or give another --out"
    return load_recorded(Position, path, "checkpoint of a follower", hint, MAX_RUN_BYTES)


def _name(index: int) -> str:
    return f"variable-{index:04d}"
