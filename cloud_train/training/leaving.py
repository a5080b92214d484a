"""What a training leaves: weights, or a model with the record that `quantize` and `serve` read beside it."""

from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

from cloud_train import store
from cloud_train.data.shards import MANIFEST_FILE, load_manifest
from cloud_train.training.model_files import MODEL_SUFFIX, About, read_run, write_model
from cloud_train.training.recipe import Recipe
from cloud_train.training.weights import Architecture, Weights, save_weights
from contract.artifacts import RUN_FILE, Preprocessing, plain_name
from host_cli.errors import WrongUsage

WEIGHTS_SUFFIX = ".npz"
_HINT = "UPDATE.npz for a shard update, MODEL.keras for a model, FOLDER/ for a model named by its training"


def place_of(out: str, architecture: Architecture, recipe: Recipe, now_s: float) -> str:
    """Return the path or URL of the file to write, and refuse a place that is taken by another model.

    Args:
        out: a .npz, a .keras, or a folder: ends with / or is there already. In a folder every model gets one
            of its own, because `run.json` beside it tells of one model.
        architecture: names a model in a folder, with the recipe and the time.
        recipe: of the training.
        now_s: seconds since 1970.

    Raises:
        WrongUsage: it is none of these, or `run.json` there is of another model.
    """
    if out.endswith("/") or (not store.is_remote(out) and store.local_path(out).is_dir()):
        name = _name(architecture, recipe, now_s)
        return store.join(store.join(out, name), name + MODEL_SUFFIX)
    if not out.endswith((WEIGHTS_SUFFIX, MODEL_SUFFIX)):
        raise WrongUsage("it is neither .npz, nor .keras, nor a folder", out, _HINT)
    if out.endswith(MODEL_SUFFIX) and not store.is_remote(out):
        _refuse_other_model(store.local_path(out))
    return out


def leave(
    weights: Weights, place: str, work: Path, *, data: Path, history: Sequence[dict[str, float]]
) -> None:
    """Write weights or a model at `place`, whole or not at all; a model's `run.json` comes after it.

    Args:
        weights: what was learned.
        place: path or URL, as `place_of` returned it.
        work: a folder for what is written on the way to a store.
        data: folder of the shards; its `shards.json` says how labels are called and pictures were made.
        history: figures of each pass.
    """
    remote = store.is_remote(place)
    path = work / store.name_of(place) if remote else store.local_path(place)
    if path.suffix == WEIGHTS_SUFFIX:
        save_weights(weights, path)
        left = [path]
    else:
        left = _write_model(weights, path, data, history)
    if remote:
        for each in left:
            store.put(each, store.join(place.rsplit("/", 1)[0], each.name))


def _write_model(weights: Weights, path: Path, data: Path, history: Sequence[dict[str, float]]) -> list[Path]:
    labels, preprocessing = _about_data(data, weights.architecture)
    accuracy = weights.figures.get("validation_accuracy")
    about = About(plain_name(path.stem), labels, preprocessing, accuracy, history)
    return [path, write_model(weights, path, about)]


def _about_data(folder: Path, architecture: Architecture) -> tuple[tuple[str, ...], Preprocessing]:
    if (folder / MANIFEST_FILE).is_file():
        manifest = load_manifest(folder)
        if len(manifest.labels) == architecture.classes:
            return manifest.labels, manifest.preprocessing
    height, width, channels = architecture.image_shape
    return tuple(map(str, range(architecture.classes))), Preprocessing(height, width, channels)


def _refuse_other_model(path: Path) -> None:
    run = path.parent / RUN_FILE
    if not run.is_file():
        return
    other = read_run(run, "another folder for --out").model.path
    if other != path.name:
        raise WrongUsage(f"{RUN_FILE} there is of {other}", str(path), "a folder of its own for each model")


def _name(architecture: Architecture, recipe: Recipe, now_s: float) -> str:
    width = "" if architecture.width == 1 else f"-w{architecture.width:g}"
    made = datetime.fromtimestamp(now_s, timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    return f"{plain_name(architecture.model)}{width}-e{recipe.epochs}-b{recipe.batch_size}-{made}"
