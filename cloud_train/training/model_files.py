"""A trained model on disk: a .keras file, and beside it run.json, which tells of it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cloud_train.training.models import normalisation, save_model
from cloud_train.training.weights import Weights
from contract.artifacts import MAX_RUN_BYTES, RUN_FILE, Lineage, Preprocessing, RunRecord
from contract.codec import encode
from contract.stamps import format_time
from host_cli import files
from host_cli.documents import read_document

MODEL_FILE = "model.keras"
MODEL_SUFFIX = ".keras"


@dataclass(frozen=True)
class About:
    """What run.json tells of a model beside its file.

    Attributes:
        name: what it is called.
        labels: one per class.
        preprocessing: how pictures were made; scale and offset are the model's own.
        accuracy: on what was held out, 0 to 1.
        history: figures of each pass or round.
        lineage: how it came to be, where that is written down.
    """

    name: str
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    accuracy: float | None
    history: Sequence[dict[str, float]]
    lineage: Lineage | None = None


def write_model(weights: Weights, path: Path, about: About) -> Path:
    """Write a model, then run.json, which says that it is complete; return the path of run.json."""
    save_model(weights, path)
    scale, offset = normalisation(weights.architecture)
    record = RunRecord(
        name=about.name,
        model=files.describe(path),
        labels=about.labels,
        preprocessing=replace(about.preprocessing, scale=scale, offset=offset),
        created=format_time(time.time()),
        accuracy=about.accuracy,
        history=tuple(about.history),
        lineage=about.lineage,
    )
    run = path.parent / RUN_FILE
    files.write_bytes(run, encode(record))
    return run


def read_run(path: Path, hint: str, where: str | None = None) -> RunRecord:
    """Return what a run.json tells; `where` is what an error names when `path` is a copy.

    Raises:
        WrongUsage: it is missing, or no run record.
    """
    return read_document(RunRecord, path, hint, max_bytes=MAX_RUN_BYTES, where=where)
