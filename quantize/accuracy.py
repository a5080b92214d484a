"""Compares a float model with its int8 form on the same samples, over all and class by class."""

from dataclasses import dataclass

import numpy as np

from host_cli.errors import GateNotMet
from quantize.data import Indices
from quantize.runtime import Array


@dataclass(frozen=True)
class Comparison:
    """Share of right answers, 0 to 1. `per_class` holds (samples, float, int8) of each class that occurs."""

    samples: int
    float32: float
    int8: float
    per_class: dict[int, tuple[int, float, float]]

    @property
    def drop(self) -> float:
        """Return what quantization cost; below zero if int8 happens to be better."""
        return self.float32 - self.int8


def compare(labels: Indices, float_scores: Array, int8_scores: Array) -> Comparison:
    """Compare two sets of scores, each (N, classes), against the true classes (N,)."""
    right = np.stack([float_scores.argmax(axis=1) == labels, int8_scores.argmax(axis=1) == labels])
    per_class = {}
    for label in np.unique(labels):
        own = right[:, labels == label]
        per_class[int(label)] = (own.shape[1], float(own[0].mean()), float(own[1].mean()))
    return Comparison(len(labels), float(right[0].mean()), float(right[1].mean()), per_class)


def require_small_drop(found: Comparison, max_drop: float, where: str) -> None:
    """Refuse a model that lost too much.

    Raises:
        GateNotMet: the drop is larger than `max_drop`.
    """
    if found.drop > max_drop:
        what = f"accuracy fell from {found.float32:.4f} to {found.int8:.4f}, by more than {max_drop:g}"
        hint = "give more --calibration-samples of the kind the model will see, or allow more with --max-drop"
        raise GateNotMet(what, where, hint)
