"""`edge-agent classify`: one picture, one model file; flags and output of Coral's classify_image.py.

Source: google-coral/pycoral, examples/classify_image.py: its flags, their defaults, and what it prints.
"""

import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import numpy as np

from contract.artifacts import Preprocessing, TensorSpec
from contract.errors import MessageError
from contract.messages import Candidate
from edge_agent.classifier import Classifier
from edge_agent.errors import ModelError, RequestError
from edge_agent.images import ImageReader

_ANY_EDGETPU = ":0"
_WRONG_FILE = "model_"
_MAX_PIXELS = 100_000_000
_MAX_PICTURE_BYTES = 64 * 1024 * 1024
_MAX_LABEL_FILE_BYTES = 4 * 1024 * 1024
_NUMBERED_LABEL = re.compile(r"(\d+)[:\s]+(.*)")
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
    picture = _read(task.picture, _MAX_PICTURE_BYTES)
    model, reader = _load(task)
    tensor = reader.read(picture)
    times_ms: List[float] = []
    for _ in range(task.count):
        started_s = time.perf_counter()
        output = model.run(tensor)
        times_ms.append((time.perf_counter() - started_s) * 1000)
    found = (each for each in model.rank(output) if each.score >= task.threshold)
    named = tuple(Candidate(names.get(each.id, each.label), each.id, each.score) for each in found)
    return Outcome(tuple(times_ms), named, _warn_of_range(model.inputs[0], task))


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


def read_labels(path: Path) -> Dict[int, str]:
    """Read a label file: lines of `NUMBER LABEL`, `NUMBER:LABEL`, or just labels, counted from 0.

    Raises:
        RequestError: it cannot be read.
    """
    text = _read(path, _MAX_LABEL_FILE_BYTES).decode("utf-8", errors="replace")
    labels = {}
    for row, line in enumerate(text.splitlines()):
        numbered = _NUMBERED_LABEL.fullmatch(line.strip())
        number, label = (int(numbered.group(1)), numbered.group(2)) if numbered else (row, line.strip())
        labels[number] = label[:128]
    return labels


def _load(task: Task) -> Tuple[Classifier, ImageReader]:
    path, _, device = task.model.partition("@")
    try:
        model = Classifier(Path(path), None, task.top_k, device or _ANY_EDGETPU)
        return model, _build_reader(model.inputs[0], task)
    except ModelError as error:
        if not error.code.startswith(_WRONG_FILE):
            raise
        # Here a model is no release but a file that somebody names: a wrong one is theirs to change.
        raise RequestError(error.code, error.message, error.hint) from error


def _read(path: Path, max_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        message = f"cannot read {path}: {error.strerror}"
        raise RequestError("bad_input", message, "correct the path") from error
    if len(data) > max_bytes:
        raise RequestError("bad_input", f"{path} has more than {max_bytes} bytes", "give a smaller file")
    return data


def _build_reader(spec: TensorSpec, task: Task) -> ImageReader:
    try:
        _, height, width, channels = spec.shape
        preprocessing = Preprocessing(
            height=height,
            width=width,
            channels=channels,
            scale=1 / task.input_std,
            offset=-task.input_mean / task.input_std,
        )
    except (MessageError, ValueError) as error:
        message = f"the model takes no picture but {spec.dtype} {spec.shape}"
        raise ModelError("model_input", message) from error
    return ImageReader(spec, preprocessing, _MAX_PIXELS)


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
