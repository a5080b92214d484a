"""What each task of the pipeline does: fetch by URL, call one of our programs, put by URL.

A `definition` is a run definition as JSON: tasks on a cluster do not see the file that it was read from.
"""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from cloud_train import store
from cloud_train.data.shards import MANIFEST_FILE, TEST_FILE, load_manifest
from cloud_train.pipeline.programs import call
from cloud_train.runners.jobs import TrainJob, fit_arguments
from cloud_train.runs.definition import RunDefinition
from cloud_train.runs.place import Place
from cloud_train.runs.run_folder import RunFolder
from cloud_train.training.model_files import MODEL_FILE
from contract.artifacts import BUNDLE_FILE, RUN_FILE, BundleManifest
from contract.codec import encode
from contract.records import Number, Record, Text, load_record, rule
from host_cli import files
from host_cli.documents import read_document

STATE_FILE = "pushed.json"
# Of the held-out pictures, half at most set the ranges of the int8 model; the others measure it.
MAX_CALIBRATION_SAMPLES = 200
# Options of `split`, by the key of `[data]`.
_SPLIT_KEYS = ("shards", "strategy", "alpha", "classes_per_shard", "size", "test_share", "limit", "seed")

R = TypeVar("R", bound=Record)


@dataclass(frozen=True)
class Pushed(Record):
    """`pushed.json`: the bundle that the fleet got last, and its int8 accuracy."""

    bundle: str = rule(Text(max_length=4096))
    accuracy: float = rule(Number(0, 1))


def split(definition: str, dataset: str, out: str) -> str:
    """Deal a data set out into `out`; return it."""
    part = _read(definition).data
    arguments = ["split", "--dataset", dataset, "--out", out]
    for key in _SPLIT_KEYS:
        value = getattr(part, key)
        if value is not None:
            arguments += ["--" + key.replace("_", "-"), str(value)]
    if part.dir is not None:
        arguments += ["--data-dir", part.dir]
    call("cloud-train", arguments)
    return out


def start(definition: str, data: str, run: str) -> str:
    """Make the folder of the run; return the weights that the first round starts from."""
    _run(definition, data, run, "--prepare")
    return _place(run, RunFolder.start, 1)


def fit(definition: str, number: int, shard: int, data: str, run: str) -> str:
    """Train a shard in round `number`; return where its update lies."""
    recipe = _read(definition).recipe()
    client = f"shard-{shard}"
    job = TrainJob(
        client=client,
        shards=(store.join(data, f"{client}.npz"),),
        init=_place(run, RunFolder.start, number),
        epochs=recipe.epochs,
        out=_place(run, RunFolder.update, number, client),
        examples=0,
    )
    call("cloud-train", fit_arguments(job, recipe))
    return job.out


def average(definition: str, number: int, data: str, run: str) -> tuple[str, dict[str, float]]:
    """Average the updates of round `number`, which lie in the folder of the run, and measure the result.

    Returns:
        Where the weights lie, and the figures of the round.
    """
    said = _run(definition, data, run, "--resume", "--rounds", str(number))
    figures = said["rounds"][number - 1]
    return _place(run, RunFolder.checkpoint, number), {key: figures[key] for key in ("accuracy", "loss")}


def evaluate(data: str, run: str) -> dict[str, float]:
    """Measure the model that the last round left."""
    said = call(
        "cloud-train", ["evaluate", store.join(run, MODEL_FILE), "--data", store.join(data, TEST_FILE)]
    )
    return {key: said[key] for key in ("accuracy", "loss")}


def quantize(data: str, run: str, bundle: str, max_drop: float) -> dict[str, float]:
    """Make the int8 bundle for the boards in `bundle`; return the accuracy before and after."""
    with tempfile.TemporaryDirectory(prefix="quantize-") as work:
        model, _ = (store.fetch(store.join(run, name), Path(work)) for name in (MODEL_FILE, RUN_FILE))
        test = store.fetch(store.join(data, TEST_FILE), Path(work))
        made = Path(work, "bundle")
        examples = load_manifest(
            store.fetch(store.join(data, MANIFEST_FILE), Path(work)).parent
        ).test.examples
        options = ["--data", str(test), "--max-drop", str(max_drop), "-o", str(made)]
        options += ["--calibration-samples", str(min(MAX_CALIBRATION_SAMPLES, max(1, examples // 2)))]
        said = call("quantize", [str(model), *options])
        names = sorted(path.name for path in made.iterdir())
        for name in sorted(names, key=lambda name: name == BUNDLE_FILE):  # the manifest says all is there
            store.put(made / name, store.join(bundle, name))
    return {"float": said["accuracy"]["float"], "int8": said["accuracy"]["int8"]}


def is_better(bundle: str, minimum_gain: float, out: str) -> bool:
    """Say whether the int8 model is more than `minimum_gain` better than the last that was pushed."""
    last = pushed(out)
    return last is None or _accuracy(bundle) - last.accuracy > minimum_gain


def push(bundle: str, arguments: list[str], out: str) -> str:
    """Send the bundle to the fleet, and remember how good it is; return the release."""
    with tempfile.TemporaryDirectory(prefix="push-") as work:
        said = call("deploy", ["push", str(_fetched(bundle, Path(work, "bundle"))), *arguments])
        state = Path(work, STATE_FILE)
        files.write_bytes(state, encode(Pushed(bundle, _accuracy(bundle))))
        store.put(state, store.join(out, STATE_FILE))
    return json.dumps(said)


def pushed(out: str) -> Pushed | None:
    """Return what was pushed last; None before the first.

    Raises:
        WrongUsage: the file does not say it.
    """
    where = store.join(out, STATE_FILE)
    return _load(Pushed, where) if store.exists(where) else None


def _accuracy(bundle: str) -> float:
    return _load(BundleManifest, store.join(bundle, BUNDLE_FILE)).accuracy.int8


def _load(kind: type[R], where: str) -> R:
    with tempfile.TemporaryDirectory() as work:
        path = store.fetch(where, Path(work))
        return read_document(kind, path, "remove it, and run the pipeline again")


def _read(definition: str) -> RunDefinition:
    return load_record(RunDefinition, json.loads(definition))


def _run(definition: str, data: str, run: str, *options: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="run-") as work:
        config = Path(work, "definition.json")
        config.write_text(definition)
        places = ["--runner", "local", "--data", data, "--out", run]
        return call("cloud-train", ["run", "-c", str(config), *places, *options])


def _fetched(where: str, folder: Path) -> Path:
    if not store.is_remote(where):
        return store.local_path(where)
    for name in store.names(where):
        store.fetch(store.join(where, name), folder)
    return folder


def _place(run: str, path_of: Any, *where: Any) -> str:
    folder = RunFolder(Place.of(run, Path()))
    return folder.place.address(path_of(folder, *where))
