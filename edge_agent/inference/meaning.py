"""What a model's outputs mean: scores of classes, detected objects, or nothing that we know. Pure numpy.

A model with one (1, N) output of as many classes as it has labels classifies; four outputs of a detector's
shapes are one (`detection.py`); everything else is raw and is handed on as it is.
"""

from typing import Any, Dict, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from contract.artifacts import TensorSpec
from contract.messages import Candidate, DetectedObject
from edge_agent.errors import ModelError
from edge_agent.events import CLASSES, OBJECTS, RAW
from edge_agent.inference.detection import Places, blank_unfilled, find_objects, find_places

_SCORE_DTYPES = ("uint8", "int8", "float32")


class Found(NamedTuple):
    """What one run found: the best labels first, and what a detector saw, best first."""

    top: Tuple[Candidate, ...] = ()
    objects: Tuple[DetectedObject, ...] = ()


class Meaning:
    """Reads the outputs of one model.

    Attributes:
        kind: CLASSES, OBJECTS or RAW.
    """

    def __init__(self, outputs: Tuple[TensorSpec, ...], labels: Optional[Sequence[str]]) -> None:
        """Recognise a model by the shapes and names of its outputs.

        Args:
            outputs: they, in the model's order.
            labels: one a class; a classifier that has not exactly as many classes is told so. None for the
                classes' numbers.

        Raises:
            ModelError: a classifier with other classes than the labels name.
        """
        self._outputs = outputs
        self._places: Optional[Places] = find_places(outputs)
        self._labels = tuple(labels) if labels is not None else None
        self.kind = OBJECTS if self._places else _name_kind(outputs)
        classes = outputs[0].shape[-1] if outputs[0].shape else 0
        if self.kind == CLASSES and labels is not None and len(labels) != classes:
            raise ModelError(
                "labels_mismatch", f"model tells {classes} classes apart, labels name {len(labels)}"
            )

    def clean(self, answers: Tuple[Any, ...]) -> Tuple[Any, ...]:
        """Return the outputs of one run without what a detector never wrote: that is 0 then."""
        return blank_unfilled(self._places, answers) if self._places else answers

    def read(self, answers: Sequence[Any], top_k: int, min_score: float) -> Found:
        """Read the outputs of one run.

        Args:
            answers: ndarrays in the shapes and dtypes of the outputs.
            top_k: how many labels to name, at most.
            min_score: objects with a lower score are left out.

        Returns:
            Labels, best first, the lower class first among equals; scores 0 to 1. Of a detector each label's
            best object. Nothing for a raw model.

        Raises:
            ModelError: the model answered NaN or infinity.
        """
        if self.kind == RAW:
            return Found()
        if self._places is None:
            return Found(self._rank(dequantize(self._outputs[0], answers[0])[0], top_k))
        real = [dequantize(spec, answer) for spec, answer in zip(self._outputs, answers)]
        objects = find_objects(self._places, real, self._labels, min_score)
        return Found(_rank_labels(objects)[:top_k], objects)

    def _rank(self, scores: Any, top_k: int) -> Tuple[Candidate, ...]:
        # Whole numbers are always finite.
        if self._outputs[0].dtype == "float32" and not np.isfinite(scores).all():
            raise ModelError("model_not_finite", "the model answered NaN or infinity")
        best = np.argsort(-scores, kind="stable")[:top_k]
        return tuple(
            Candidate(self._label(number), number, min(1.0, max(0.0, score)))
            for number, score in zip(best.tolist(), scores[best].tolist())
        )

    def _label(self, number: int) -> str:
        return self._labels[number] if self._labels is not None else str(number)


def dequantize(spec: TensorSpec, answer: Any) -> Any:
    """Return an output's real values, float64 ndarray: (q - zero_point) * scale."""
    real = answer.astype(np.float64)
    return (real - spec.zero_point) * spec.scale if spec.scale else real


def _name_kind(outputs: Tuple[TensorSpec, ...]) -> str:
    is_row = len(outputs[0].shape) == 2 and outputs[0].shape[0] == 1
    return CLASSES if len(outputs) == 1 and is_row and outputs[0].dtype in _SCORE_DTYPES else RAW


def _rank_labels(objects: Sequence[DetectedObject]) -> Tuple[Candidate, ...]:
    best: Dict[int, Candidate] = {}
    for each in objects:
        best.setdefault(each.id, Candidate(each.label, each.id, each.score))
    return tuple(best.values())
