"""The story of `cloud-train evaluate`: a .keras file, what is known of it, and how good it is."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloud_train import store
from cloud_train.data.samples import BadSamples, load_samples
from cloud_train.training.examiner import Measured, Scorer
from cloud_train.training.model_files import read_run
from cloud_train.training.models import MODELS, load_model
from contract.artifacts import RUN_FILE, RunRecord
from host_cli.errors import WrongUsage
from host_cli.progress import progress

_PLAIN_SCALING = (1 / 255, 0.0)


@dataclass(frozen=True)
class Evaluated:
    """What a model file is worth.

    Attributes:
        measured: accuracy, loss, confusion.
        samples: how many pictures it was measured on.
        labels: one per class.
        scaling: scale and offset of its input = pixel * scale + offset.
        said_by: who says so.
    """

    measured: Measured
    samples: int
    labels: tuple[str, ...]
    scaling: tuple[float, float]
    said_by: str

    def to_json(self) -> dict[str, Any]:
        """Return what `evaluate --json` prints."""
        per_class = self.measured.per_class()
        return {
            **self.measured.figures(),
            "samples": self.samples,
            "per_class": [
                {"label": label, "accuracy": share}
                for label, share in zip(self.labels, per_class, strict=True)
            ],
            "confusion": self.measured.confusion.tolist(),
            "normalisation": {"scale": self.scaling[0], "offset": self.scaling[1], "said_by": self.said_by},
        }

    def to_text(self) -> str:
        """Return the same for a person, without the confusion."""
        measured = self.measured
        lines = [f"accuracy {measured.accuracy:.4f}, loss {measured.loss:.4f} on {self.samples} pictures"]
        for label, share in zip(self.labels, measured.per_class(), strict=True):
            lines.append(f"  {label}: " + ("no pictures" if share is None else f"{share:.4f}"))
        lines.append(f"input = pixel * {self.scaling[0]:.6g} + {self.scaling[1]:g}, says {self.said_by}")
        return "\n".join(lines)


def evaluate(where: str, data: str, work: Path) -> Evaluated:
    """Measure a .keras file on the pictures of an .npz.

    Args:
        where: path or URL of the model; `run.json` beside it says how its input is made.
        data: path or URL of the pictures.
        work: a folder for copies of remote files.

    Raises:
        WrongUsage: a file is missing or damaged, or they are not for each other.
    """
    model = load_model(store.fetch(where, work / "model"))
    samples = load_samples(store.fetch(data, work / "data"))
    try:
        samples.check_fits(model.input_shape[1:], model.output_shape[1])
    except BadSamples as error:
        raise WrongUsage(str(error), data, "give the test.npz of the data the model learned from") from error
    run = _run_record(where, work / "model")
    labels = tuple(map(str, range(model.output_shape[1])))
    if run is not None and len(run.labels) == len(labels):
        labels = run.labels
    scaling, said_by = _scaling(model, run)
    with progress(f"measuring {where}", len(samples.y), "pictures") as done:
        measured = Scorer(model, scaling).measure(samples, done)
    return Evaluated(measured, len(samples.y), labels, scaling, said_by)


def _scaling(model: Any, run: RunRecord | None) -> tuple[tuple[float, float], str]:
    if run is not None:
        return (run.preprocessing.scale, run.preprocessing.offset), RUN_FILE
    if model.name in MODELS:
        family = MODELS[model.name]
        return (family.scale, family.offset), f"the model's name, {model.name}"
    return _PLAIN_SCALING, f"nobody: there is no {RUN_FILE}"


def _run_record(where: str, folder: Path) -> RunRecord | None:
    # The one beside the model, if it tells of that file.
    name = store.name_of(where)
    place = store.join(where.removesuffix(name).rstrip("/") or ".", RUN_FILE)
    if not store.exists(place):
        return None
    run = read_run(store.fetch(place, folder), "train again, or remove it", place)
    return run if run.model.path == name else None
