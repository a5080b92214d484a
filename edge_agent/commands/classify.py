"""`edge-agent classify`: one picture, one model file; flags and output of Coral's classify_image.py.

Source: google-coral/pycoral, examples/classify_image.py: its flags, their defaults, and what it prints.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, Tuple

import numpy as np

from contract.artifacts import TensorSpec
from contract.messages import Candidate
from edge_agent.commands.one_picture import load_model, read_labels, read_picture, run
from edge_agent.events import CLASSES

_FULL_PIXEL = 255


@dataclass(frozen=True)
class Task:
    """What to classify, and how.

    Attributes:
        model: a .tflite file, or FILE@DEVICE to name an Edge TPU (`:0`, `pci:0`, `usb:0`).
        picture: a JPEG or PNG file.
        labels: a file of labels, None for the classes' numbers.
        top_k: how many results, at most.
        threshold: results with a lower score are left out.
        count: how often the model is run.
        input_mean: subtracted from every pixel (0 to 255) ...
        input_std: ... which is then divided by this; together the real value that the model takes.
    """

    model: str
    picture: Path
    labels: Optional[Path] = None
    top_k: int = 1
    threshold: float = 0.0
    count: int = 5
    input_mean: float = 128.0
    input_std: float = 128.0


@dataclass(frozen=True)
class Outcome:
    """How long each run took, what the last one found, and a warning if the picture hardly fits the model."""

    times_ms: Tuple[float, ...]
    results: Tuple[Candidate, ...]
    warning: str = ""


def classify(task: Task) -> Outcome:
    """Load the model, read the picture, run the model `count` times.

    Raises:
        RequestError: a file cannot be read, or the picture not be decoded.
        ModelError: the model cannot be loaded or run.
    """
    names = read_labels(task.labels) if task.labels else {}
    model, meaning = load_model(task.model, CLASSES)
    tensor = read_picture(task.picture, model, 1 / task.input_std, -task.input_mean / task.input_std)
    outputs, times_ms = run(model, tensor, task.count)
    found = (each for each in meaning.read(outputs, task.top_k, 0.0).top if each.score >= task.threshold)
    named = tuple(Candidate(names.get(each.id, each.label), each.id, each.score) for each in found)
    return Outcome(times_ms, named, _warn_of_range(model.inputs[0], task))


def format_outcome(outcome: Outcome) -> str:
    """Return what Coral's program prints."""
    lines = [
        "----INFERENCE TIME----",
        "Note: The first inference on Edge TPU is slow because it includes"
        " loading the model into Edge TPU memory.",
        *(f"{time_ms:.1f}ms" for time_ms in outcome.times_ms),
        "-------RESULTS--------",
        *(f"{result.label}: {result.score:.5f}" for result in outcome.results),
    ]
    return "\n".join(lines)


def _warn_of_range(spec: TensorSpec, task: Task) -> str:
    """Coral's defaults suit models that take -1 to 1; others would see half of every picture cut off."""
    if not spec.scale:
        return ""
    limits: Any = np.iinfo(spec.dtype)
    low, high = ((limit - spec.zero_point) * spec.scale for limit in (limits.min, limits.max))
    darkest, brightest = ((pixel - task.input_mean) / task.input_std for pixel in (0, _FULL_PIXEL))
    if darkest >= low - spec.scale and brightest <= high + spec.scale:
        return ""
    std = _FULL_PIXEL / (high - low)
    return (
        f"the model takes {low:.2f} to {high:.2f}, the picture has {darkest:.2f} to {brightest:.2f}:"
        f" try --input_mean {0 - low * std:.4g} --input_std {std:.4g}"
    )
