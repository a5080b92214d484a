"""The model that is served: a Keras file and the run.json beside it, checked against each other."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cloud_train import store
from cloud_train.training.model_files import MODEL_SUFFIX, read_run
from cloud_train.training.models import load_model
from contract.artifacts import RUN_FILE, Preprocessing, RunRecord, TensorSpec
from contract.messages import ModelVersion
from host_cli import files
from host_cli.errors import WrongUsage
from host_cli.quiet import quiet

RESIZE = "bilinear"  # as data.pictures does
# A trained model has no version yet, so the start of its hash stands in.
VERSION_CHARACTERS = 12

Pixels = npt.NDArray[np.uint8]
Tensor = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ServedModel:
    """A model that answers.

    Attributes:
        version: its name, the start of its hash, its hash.
        labels: one for each score.
        preprocessing: how a picture becomes its input.
        taken: its input, for one example.
        given: its output, for one example.
        run: turns inputs (N, height, width, channels) into scores (N, labels).
    """

    version: ModelVersion
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    taken: TensorSpec
    given: TensorSpec
    run: Callable[[Tensor], Tensor]

    def prepare(self, pixels: Pixels) -> Tensor:
        """Return the model's input for pictures, (N, height, width, channels) of 0 to 255."""
        wanted = self.preprocessing
        return pixels.astype(np.float32) * np.float32(wanted.scale) + np.float32(wanted.offset)


def load_served(where: str, folder: Path) -> ServedModel:
    """Load a model and what belongs to it.

    Args:
        where: a .keras file with run.json beside it, or the folder of a run; a path or URL.
        folder: where copies of remote files go.

    Raises:
        WrongUsage: a file is missing or damaged, or they do not belong together.
        Unreachable: the store is not there.
    """
    is_file = where.endswith(MODEL_SUFFIX)
    run_place = store.join(_folder_of(where) if is_file else where, RUN_FILE)
    record = read_run(
        store.fetch(run_place, folder), "give the folder of a run, or the model.keras in it", run_place
    )
    place = where if is_file else store.join(where, record.model.path)
    path = store.fetch(place, folder)
    model = load_model(path)
    if (digest := files.sha256_of(path)) != record.model.sha256:
        hint = "serve the file that the run wrote, or the folder of its run"
        raise WrongUsage(f"it is not the model that {run_place} tells of", place, hint)
    _check_fits(model, record, place)
    version = ModelVersion(record.name, digest[:VERSION_CHARACTERS], digest)
    taken = _describe(model.inputs[0].name, model.input_shape)
    given = _describe(model.layers[-1].name, model.output_shape)
    return ServedModel(version, record.labels, record.preprocessing, taken, given, _compile(model))


def _folder_of(where: str) -> str:
    return where.removesuffix(store.name_of(where)) or "."


def _check_fits(model: Any, record: RunRecord, where: str) -> None:
    wanted = record.preprocessing
    hint = "serve the folder of one run, as the run wrote it"
    if tuple(model.input_shape[1:]) != wanted.shape:
        what = f"it takes {model.input_shape[1:]}, run.json makes pictures of {wanted.shape}"
        raise WrongUsage(what, where, hint)
    if wanted.resize != RESIZE:
        raise WrongUsage(f"pictures are resized {RESIZE} here, run.json says {wanted.resize}", where, hint)
    if model.output_shape[1] != len(record.labels):
        what = f"it gives {model.output_shape[1]} scores, run.json has {len(record.labels)} labels"
        raise WrongUsage(what, where, hint)


def _describe(name: str, shape: tuple[Any, ...]) -> TensorSpec:
    return TensorSpec(name, (1, *shape[1:]), "float32")


def _compile(model: Any) -> Callable[[Tensor], Tensor]:
    import tensorflow as tf

    # One trace for every batch size; `model.predict` would build a data pipeline for each call.
    signature = [tf.TensorSpec((None, *model.input_shape[1:]), tf.float32)]
    traced = tf.function(lambda inputs: model(inputs, training=False), input_signature=signature)

    def run(inputs: Tensor) -> Tensor:
        scores: Tensor = np.asarray(traced(inputs), np.float32)
        return scores

    with quiet():
        run(np.zeros((1, *model.input_shape[1:]), np.float32))  # the first call takes most of a second
    return run
