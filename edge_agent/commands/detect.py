"""`edge-agent detect`: one picture, one detector; flags and output of Coral's detect_image.py.

Source: google-coral/pycoral, examples/detect_image.py: its flags, their defaults, and what it prints.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Optional, Tuple

from contract.artifacts import TensorSpec
from contract.messages import DetectedObject
from edge_agent.commands.one_picture import load_model, read_file, read_labels, read_picture, run
from edge_agent.errors import RequestError
from edge_agent.events import OBJECTS
from edge_agent.inference.images import draw_boxes, read_size

_ALL = 10_000


@dataclass(frozen=True)
class Task:
    """What to look at, and how.

    Attributes:
        model: a .tflite file, or FILE@DEVICE to name an Edge TPU (`:0`, `pci:0`, `usb:0`).
        picture: a JPEG or PNG file.
        labels: a file of labels, None for the classes' numbers.
        threshold: objects with a lower score are left out.
        count: how often the model is run.
        output: where the picture with the boxes drawn into it goes; a JPEG or PNG by its name.
    """

    model: str
    picture: Path
    labels: Optional[Path] = None
    threshold: float = 0.4
    count: int = 5
    output: Optional[Path] = None


@dataclass(frozen=True)
class Outcome:
    """How long each run took, what the last one found, and the picture's width and height in pixels."""

    times_ms: Tuple[float, ...]
    objects: Tuple[DetectedObject, ...]
    size: Tuple[int, int]


def detect(task: Task) -> Outcome:
    """Load the detector, read the picture, run `count` times, and draw what was found.

    Raises:
        RequestError: a file cannot be read or written, or the picture not be decoded.
        ModelError: the model cannot be loaded or run.
    """
    names = read_labels(task.labels) if task.labels else {}
    model, meaning = load_model(task.model, OBJECTS)
    scale, offset = _choose_range(model.inputs[0])
    outputs, times_ms = run(model, read_picture(task.picture, model, scale, offset), task.count)
    found = meaning.read(meaning.clean(outputs), _ALL, task.threshold).objects
    found = tuple(replace(each, label=names.get(each.id, each.label)) for each in found)
    payload = read_file(task.picture)
    if task.output is not None:
        _write(task.output, draw_boxes(payload, found, task.output.suffix))
    return Outcome(times_ms, found, read_size(payload))


def format_outcome(outcome: Outcome) -> str:
    """Return what Coral's program prints."""
    lines = [
        "----INFERENCE TIME----",
        "Note: The first inference is slow because it includes loading the model into Edge TPU memory.",
        *(f"{time_ms:.2f} ms" for time_ms in outcome.times_ms),
        "-------RESULTS--------",
    ]
    if not outcome.objects:
        lines.append("No objects detected")
    for each in outcome.objects:
        lines += [each.label, f"  id:     {each.id}", f"  score:  {each.score}"]
        lines.append("  bbox:   BBox(xmin={}, ymin={}, xmax={}, ymax={})".format(*_scale(each, outcome.size)))
    return "\n".join(lines)


def _scale(found: DetectedObject, size: Tuple[int, int]) -> Tuple[int, ...]:
    return tuple(int(edge * size[place % 2]) for place, edge in enumerate(found.box))


def _choose_range(spec: TensorSpec) -> Tuple[float, float]:
    """Pixels go into uint8 as they are, into int8 less 128; a float model gets -1 to 1."""
    if not spec.scale:
        return 1 / 128, -1.0
    shift = spec.zero_point if spec.dtype == "uint8" else spec.zero_point + 128
    return spec.scale, -shift * spec.scale


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise RequestError(
            "bad_input", f"cannot write {path}: {error.strerror}", "correct the path"
        ) from error
