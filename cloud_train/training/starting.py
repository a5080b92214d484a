"""What a trainer starts from: shards read in a row, and weights that fit them."""

from collections.abc import Sequence
from pathlib import Path

from cloud_train.data.samples import BadSamples, load_samples
from cloud_train.data.shards import MANIFEST_FILE, load_manifest
from cloud_train.data.views import Chain
from cloud_train.training.models import initial_weights
from cloud_train.training.weights import Architecture, Weights, load_weights
from host_cli.errors import WrongUsage


def load_start(
    shards: Sequence[Path],
    init: Path | None,
    *,
    model: str,
    seed: int,
    width: float | None = None,
    backbone: Path | None = None,
) -> tuple[Chain, Weights]:
    """Read the shards and the weights, and check that they belong together.

    Args:
        shards: at least one .npz.
        init: weights to start from; without them a fresh initialisation, made for the data set that
            `shards.json` beside the first shard describes.
        model: its name, as in `cloud_train.training.models.MODELS`, or MODULE:FUNC.
        seed: of the fresh initialisation.
        width: of a model that has several; None: as `init` has it, else 1.
        backbone: weights for all but the head of a fresh initialisation.

    Raises:
        WrongUsage: a file is missing or damaged, or shards and weights do not fit each other.
    """
    if init and backbone:
        raise WrongUsage("there is nothing to initialise", str(init), "either --init or --pretrained")
    parts = [load_samples(path) for path in shards]
    if init:
        weights = load_weights(init)
        _check_model(weights.architecture, model, width, init)
    else:
        weights = initial_weights(architecture_like(shards[0].parent, model, width or 1.0), seed, backbone)
    for path, part in zip(shards, parts, strict=True):
        try:
            part.check_fits(weights.architecture.image_shape, weights.architecture.classes)
        except BadSamples as error:
            raise WrongUsage(str(error), str(path), "a shard and --init of the same data set") from error
    return Chain(parts), weights


def architecture_like(folder: Path, model: str, width: float = 1.0) -> Architecture:
    """Return the architecture for the data set in `folder`.

    Raises:
        WrongUsage: there is no shard manifest, which alone knows how many labels there are.
    """
    if not (folder / MANIFEST_FILE).is_file():
        # A shard may lack the last labels, so its own highest label proves nothing.
        what = f"without {MANIFEST_FILE} the number of labels is not known"
        raise WrongUsage(what, str(folder), "--init WEIGHTS.npz, or a folder made by `cloud-train split`")
    manifest = load_manifest(folder)
    return Architecture(model, manifest.preprocessing.shape, len(manifest.labels), width)


def _check_model(found: Architecture, model: str, width: float | None, init: Path) -> None:
    if found.model != model:
        raise WrongUsage(f"it holds {found.model}, not {model}", str(init), "another --model or --init")
    if width is not None and found.width != width:
        what = f"it holds {model} of width {found.width:g}, not {width:g}"
        raise WrongUsage(what, str(init), "another --width or --init")
