"""Compares two .tflite classifiers on the same pictures: right answers, agreement, distance of scores."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.artifacts import Preprocessing, TensorSpec
from contract.codec import decode
from contract.errors import ContractError
from host_cli.errors import WrongUsage
from host_cli.progress import progress
from quantize.accuracy import ClassChange, Comparison, compare
from quantize.contents import PREPROCESSING
from quantize.data import Pixels, load_images, plain_preprocessing, require_fit
from quantize.runtime import Array, describe_tensors, prepare_pixels, run_model
from quantize.tflite_file import parse_tflite, read_model_file
from quantize.tflite_model import Tensor, TfliteModel

_TYPES = ("UINT8", "INT8", "FLOAT32")
_WORST_CLASSES = 10


@dataclass(frozen=True)
class Difference:
    """Two models on the same pictures.

    `score` is the largest difference of a score, as real values; `lsb` counts it in steps of the coarser
    output, None if both are float.
    """

    found: Comparison
    score: float
    lsb: float | None

    def to_json(self) -> dict[str, Any]:
        """Return what `quantize compare --json` prints; `a` and `b` are the models."""
        return {
            "ok": True,
            "samples": self.found.samples,
            "accuracy": {"a": round(self.found.before, 6), "b": round(self.found.after, 6)},
            "agreement": round(self.found.agreement, 6),
            "largest_difference": {"score": round(self.score, 6), "lsb": self.lsb},
            "per_class": [_figures(one) for one in self.found.per_class],
        }

    def to_text(self) -> str:
        """Return the same for a person, with the classes that differ most."""
        steps = "" if self.lsb is None else f", {self.lsb:g} LSB"
        lines = [
            f"samples    {self.found.samples}",
            f"accuracy   {self.found.before:.4f} A, {self.found.after:.4f} B",
            f"agreement  {self.found.agreement:.4f}",
            f"scores     differ by at most {self.score:.4f}{steps}",
        ]
        differing = [one for one in self.found.per_class if one.lost or one.won]
        differing.sort(key=lambda one: -(one.lost + one.won))
        head = ["", "class  samples       A       B  right in A only  right in B only"] if differing else []
        return "\n".join([*lines, *head, *(_line(one) for one in differing[:_WORST_CLASSES])])


def _figures(one: ClassChange) -> dict[str, Any]:
    before, after = (round(right / one.samples, 6) for right in (one.before, one.after))
    return {"class": one.label, "samples": one.samples, "a": before, "b": after}


def _line(one: ClassChange) -> str:
    before, after = one.before / one.samples, one.after / one.samples
    return f"{one.label:>5}  {one.samples:>7}  {before:.4f}  {after:.4f}  {one.lost:>15}  {one.won:>15}"


@dataclass(frozen=True)
class _Classifier:
    """A file that takes a picture and gives one score for each class."""

    path: Path
    content: bytes
    entry: TensorSpec
    result: TensorSpec


def compare_files(first: Path, second: Path, data: Path) -> Difference:
    """Run two classifiers on the same pictures.

    Pixels become inputs as `preprocessing.json` beside the file says, else as that beside the other one says;
    without any they are scaled to 0..1.

    Raises:
        WrongUsage: a file is no classifier, or the two and the pictures do not fit each other.
        Failed: the interpreter refuses a model.
    """
    a, b = _load(first), _load(second)
    samples = load_images(data)
    if a.result.shape[-1] != b.result.shape[-1]:
        what = f"{a.result.shape[-1]} classes in A, {b.result.shape[-1]} in B"
        raise WrongUsage(what, f"{first} and {second}", "give two models of the same classes")
    for one in (a, b):
        height, width, channels = one.entry.shape[1:]
        require_fit(samples, (height, width, channels), one.result.shape[-1], str(data))
    scores_a = _run(a, samples.images, _find_preprocessing(a, b))
    scores_b = _run(b, samples.images, _find_preprocessing(b, a))
    apart = float(np.abs(_to_real(scores_a, a.result) - _to_real(scores_b, b.result)).max())
    step = max(a.result.scale, b.result.scale)
    return Difference(
        compare(samples.labels, scores_a, scores_b), apart, round(apart / step, 2) if step else None
    )


def _load(path: Path) -> _Classifier:
    content = read_model_file(path)
    model = parse_tflite(content, str(path))
    if model.is_compiled:
        hint = "compare the files it was compiled from; on a board, its golden samples do this"
        raise WrongUsage("a compiled model runs only beside an Edge TPU", str(path), hint)
    if not _is_classifier(model):
        hint = "one input (1, height, width, channels), one output (1, classes), uint8, int8 or float32"
        raise WrongUsage("not a classifier of pictures", str(path), hint)
    return _Classifier(path, content, *describe_tensors(content))


def _is_classifier(model: TfliteModel) -> bool:
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        return False
    entry, result = model.inputs[0], model.outputs[0]
    is_picture = len(entry.shape) == 4 and entry.shape[0] == 1 and min(entry.shape) > 0
    is_scores = len(result.shape) > 0 and result.elements == result.shape[-1] > 0
    return is_picture and is_scores and _is_usable(entry) and _is_usable(result)


def _is_usable(tensor: Tensor) -> bool:
    return tensor.dtype in _TYPES and (
        tensor.dtype == "FLOAT32" or bool(tensor.scales and tensor.scales[0] > 0)
    )


def _find_preprocessing(one: _Classifier, other: _Classifier) -> Preprocessing:
    for path in (each.path.parent / PREPROCESSING for each in (one, other)):
        if path.is_file():
            try:
                return decode(Preprocessing, path.read_bytes())
            except (OSError, ContractError) as error:
                raise WrongUsage(f"cannot use it: {error}"[:200], str(path), "remove it") from error
    height, width, channels = one.entry.shape[1:]
    return plain_preprocessing((height, width, channels), one.path)


def _run(one: _Classifier, images: Pixels, preprocessing: Preprocessing) -> Array:
    with progress(f"run {one.path.name}", len(images), "images") as advance:
        return run_model(one.content, prepare_pixels(images, preprocessing, one.entry), advance)


def _to_real(scores: Array, result: TensorSpec) -> NDArray[np.float64]:
    if result.dtype == "float32":
        return scores.astype(np.float64)
    return (scores.astype(np.float64) - result.zero_point) * result.scale
