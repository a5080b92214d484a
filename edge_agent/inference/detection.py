"""The four outputs of an SSD detector, in whatever order, and the objects that they tell of. Pure numpy.

Sources: TensorFlow, tensorflow/lite/kernels/detection_postprocess.cc: boxes (1, N, 4) as ymin, xmin, ymax and
xmax in parts of the picture, classes (1, N), scores (1, N), count (1). google-coral/pycoral,
adapters/detect.py: models of the older exporter give them in that order, those of the newer one as scores,
boxes, count, classes, and its signature has them as count, scores, classes, boxes.
"""

from typing import Any, Dict, Optional, Sequence, Tuple

import numpy as np

from contract.artifacts import TensorSpec
from contract.messages import DetectedObject
from edge_agent.errors import ModelError

MAX_OBJECTS = 100
_PARTS = ("boxes", "classes", "scores", "count")
# Where boxes and count stand says which exporter it was.
_ORDERS = (
    ("boxes", "classes", "scores", "count"),
    ("scores", "boxes", "count", "classes"),
    ("count", "scores", "classes", "boxes"),
)
_BACKGROUND = "???"
_MAX_ID = 2**31 - 1


# The number of the output that holds each part.
Places = Dict[str, int]


def find_places(outputs: Sequence[TensorSpec]) -> Optional[Places]:
    """Recognise a detector's outputs, by their names if these tell them apart, else by their shapes.

    Returns:
        Which is which, None if this is no such detector.
    """
    if len(outputs) != len(_PARTS):
        return None
    order = _read_names(outputs)
    if order is None:
        order = next((each for each in _ORDERS if _fit(outputs, each)), None)
    elif not _fit(outputs, order):
        return None
    return {part: order.index(part) for part in _PARTS} if order else None


def find_objects(
    places: Places, answers: Sequence[Any], labels: Optional[Sequence[str]], min_score: float
) -> Tuple[DetectedObject, ...]:
    """Return what was detected.

    Args:
        places: which output is which.
        answers: the outputs' real values, ndarrays.
        labels: one a class, None for the classes' numbers. Detectors leave the background out of their
            numbers; a label file that begins with it (`???`) is one ahead. A class beyond them is its number.
        min_score: what is below is left out.

    Returns:
        At most 100 objects, best first, boxes cut to the picture; what lies outside of it is left out.

    Raises:
        ModelError: NaN or infinity among what the model says that it found.
    """
    count = _read_count(places, answers)
    boxes = answers[places["boxes"]].reshape(-1, 4)[:count]
    classes = answers[places["classes"]].reshape(-1)[:count]
    scores = answers[places["scores"]].reshape(-1)[:count]
    told = answers[places["count"]]
    if not all(np.isfinite(part).all() for part in (told, boxes, classes, scores)):
        raise ModelError("model_not_finite", "the model answered NaN or infinity")
    boxes = np.clip(boxes[:, [1, 0, 3, 2]], 0.0, 1.0)
    has_area = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    best = [place for place in np.argsort(-scores, kind="stable") if scores[place] >= min_score]
    offset = 1 if labels and labels[0] == _BACKGROUND else 0
    return tuple(
        DetectedObject(
            label=_name(labels, int(classes[place]) + offset, int(classes[place])),
            id=min(max(0, int(classes[place])), _MAX_ID),
            score=float(np.clip(scores[place], 0.0, 1.0)),
            box=tuple(float(edge) for edge in boxes[place]),
        )
        for place in best
        if has_area[place]
    )[:MAX_OBJECTS]


def blank_unfilled(places: Places, answers: Sequence[Any]) -> Tuple[Any, ...]:
    """Return the outputs with 0 beyond the count, where the model leaves what was in memory before."""
    count = _read_count(places, answers)
    cleaned = [answer if place == places["count"] else answer.copy() for place, answer in enumerate(answers)]
    for place in (places["boxes"], places["classes"], places["scores"]):
        cleaned[place][:, count:] = 0
    return tuple(cleaned)


def _read_count(places: Places, answers: Sequence[Any]) -> int:
    told = float(answers[places["count"]].reshape(-1)[0])
    return int(np.clip(np.nan_to_num(told), 0, answers[places["boxes"]].shape[1]))


def _name(labels: Optional[Sequence[str]], place: int, number: int) -> str:
    return labels[place] if labels and 0 <= place < len(labels) else str(number)


def _read_names(outputs: Sequence[TensorSpec]) -> Optional[Tuple[str, ...]]:
    """Return the parts that the names tell, None unless each of the four is told once."""
    told = tuple("".join(part for part in _PARTS if part in spec.name.lower()) for spec in outputs)
    return told if set(told) == set(_PARTS) else None


def _fit(outputs: Sequence[TensorSpec], order: Sequence[str]) -> bool:
    by_part = {part: spec.shape for part, spec in zip(order, outputs)}
    boxes = by_part["boxes"]
    return (
        len(boxes) == 3
        and boxes[0] == 1
        and boxes[2] == 4
        and by_part["classes"] == by_part["scores"] == boxes[:2]
        and int(np.prod(by_part["count"])) == 1
        and len(by_part["count"]) < 2
    )
