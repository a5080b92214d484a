"""Measures models on held-out pictures: accuracy and loss, per class, and which label is taken for which."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from cloud_train.data.samples import Array, Pictures
from cloud_train.training.batches import batches
from cloud_train.training.models import build_model, normalisation, put_weights
from cloud_train.training.weights import Architecture, Weights
from host_cli.progress import Advance, progress

BATCH_SIZE = 500
FIGURE_DIGITS = 6
# As Keras does: a score of 0 for the right label must not make the loss infinite.
_LEAST_SCORE = 1e-7


@dataclass(frozen=True)
class Measured:
    """What a model is worth on some pictures.

    Attributes:
        accuracy: share of right answers, 0 to 1.
        loss: mean cross-entropy in nats.
        confusion: (classes, classes) int64, [label, answer]: how many pictures.
    """

    accuracy: float
    loss: float
    confusion: Array

    def figures(self) -> dict[str, float]:
        """Return accuracy and loss."""
        return {"accuracy": self.accuracy, "loss": self.loss}

    def per_class(self) -> list[float | None]:
        """Return the share of right answers among the pictures of each label; None where there are none."""
        counts = self.confusion.sum(axis=1)
        right = np.diagonal(self.confusion)
        return [
            round(int(hit) / int(count), FIGURE_DIGITS) if count else None
            for hit, count in zip(right, counts, strict=True)
        ]


class Examiner:
    """Measures weights on held-out samples; weights of one architecture share one Keras model."""

    def __init__(self, samples: Pictures) -> None:
        self._samples = samples
        self._scorers: dict[Architecture, Scorer] = {}

    def measure(self, weights: Weights, where: str) -> dict[str, float]:
        """Return accuracy (0 to 1) and loss (mean cross-entropy in nats); `where` names the weights."""
        scorer = self._scorers.get(weights.architecture)
        if scorer is None:
            scorer = Scorer(build_model(weights.architecture), normalisation(weights.architecture))
            self._scorers[weights.architecture] = scorer
        put_weights(scorer.model, weights, where)
        with progress(f"measuring {where}", len(self._samples.y), "pictures") as done:
            return scorer.measure(self._samples, done).figures()


class Scorer:
    """Measures a Keras model as it is at the time, batch by batch.

    Args:
        model: (N, height, width, channels) float32 to (N, classes) scores.
        scaling: scale and offset of its input.
    """

    def __init__(self, model: Any, scaling: tuple[float, float]) -> None:
        import tensorflow as tf

        self.model = model
        self._scaling = scaling
        self._answer = tf.function(lambda x: model(x, training=False), reduce_retracing=True)

    def measure(self, samples: Pictures, advance: Advance = lambda _: None) -> Measured:
        """Measure on all of `samples`; only a batch of them is in memory.

        Args:
            samples: pictures and labels.
            advance: called with the number of pictures done since the last call.
        """
        classes = self.model.output_shape[1]
        confusion = np.zeros((classes, classes), np.int64)
        loss = 0.0
        for x, y in batches(samples, np.arange(len(samples.y)), BATCH_SIZE, self._scaling):
            scores, labels = self._answer(x).numpy().astype(np.float64), y.numpy()
            np.add.at(confusion, (labels, scores.argmax(axis=1)), 1)
            right = scores[np.arange(len(labels)), labels]
            loss -= float(np.log(np.clip(right, _LEAST_SCORE, 1)).sum())
            advance(len(labels))
        count = len(samples.y)
        accuracy = int(np.trace(confusion)) / count
        return Measured(round(accuracy, FIGURE_DIGITS), round(loss / count, FIGURE_DIGITS), confusion)
