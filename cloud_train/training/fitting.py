"""The story of `cloud-train fit`: fetch what it learns from, train, leave what it learned."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path

from cloud_train import store
from cloud_train.data.samples import BadSamples, Pictures, Samples, load_samples
from cloud_train.data.selection import hold_out
from cloud_train.data.shards import MANIFEST_FILE, load_manifest
from cloud_train.data.views import Chosen
from cloud_train.training import leaving
from cloud_train.training.checkpoint import Checkpoints
from cloud_train.training.models import initial_weights
from cloud_train.training.recipe import Recipe
from cloud_train.training.starting import architecture_like, load_start
from cloud_train.training.trainer import Figures, Watching, fit
from cloud_train.training.weights import Architecture, Weights, save_weights
from host_cli.errors import WrongUsage
from host_cli.progress import Advance

MAX_CLIENT_CHARACTERS = 128

# Shows how far a training of so many pictures by this client is.
Meter = Callable[[str, int], AbstractContextManager[Advance]]


@dataclass(frozen=True)
class FitOrder:
    """What `fit` is to do; files are paths or URLs.

    Attributes:
        shards: what it learns from.
        data: a folder of shards in their place: learns from all, and measures on its test.npz.
        init: weights to start from.
        pretrained: weights for all but the head of a fresh start.
        out: a .npz, a .keras, or a folder.
        recipe: hyperparameters.
        width: of a model that has several.
        client: names the update.
        validation: a share of the pictures, above 0 and below 1, or an .npz.
        checkpoints: where the training can be continued from.
        tensorboard: folder for TensorBoard.
    """

    shards: tuple[str, ...]
    data: str | None
    init: str | None
    pretrained: str | None
    out: str
    recipe: Recipe
    width: float | None
    client: str | None
    validation: str | None
    checkpoints: Checkpoints | None
    tensorboard: Path | None


@dataclass(frozen=True)
class Fitted:
    """What came of it: the weights, where they lie, and the figures of each pass."""

    weights: Weights
    place: str
    history: list[Figures]


def carry_out(order: FitOrder, work: Path, meter: Meter, passed: Callable[[Figures], None]) -> Fitted:
    """Train as ordered.

    Args:
        order: what to do.
        work: an empty folder for copies of remote files.
        meter: shows progress.
        passed: called with the figures of each pass when it is over.

    Raises:
        WrongUsage: the order does not fit together, or a file of it is missing or damaged.
        Failed: training failed; nothing is written.
    """
    shards, test = _fetch_shards(order, work)
    init, pretrained = (_fetch(where, work / "start") for where in (order.init, order.pretrained))
    pictures, start = load_start(
        shards,
        init,
        model=order.recipe.model,
        seed=order.recipe.seed,
        width=order.width,
        backbone=pretrained,
    )
    place = leaving.place_of(order.out, start.architecture, order.recipe, time.time())
    learned, held = _held_out(order, pictures, test, start.architecture, work)
    history: list[Figures] = []

    def over(figures: Figures) -> None:
        history.append(figures)
        passed(figures)

    watching = Watching(held, over, order.checkpoints, order.tensorboard)
    client = order.client or "+".join(path.stem for path in shards)[:MAX_CLIENT_CHARACTERS]
    with meter(client, order.recipe.epochs * len(learned.y)) as advance:
        weights = fit(
            learned,
            start,
            order.recipe,
            epochs=order.recipe.epochs,
            client=client,
            advance=advance,
            watching=watching,
        )
    leaving.leave(weights, place, work, data=shards[0].parent, history=history)
    if order.checkpoints is not None:
        order.checkpoints.clear()
    return Fitted(weights, place, history)


def initialise(
    like: str, out: str, work: Path, *, model: str, width: float | None, pretrained: str | None, seed: int
) -> Weights:
    """Write the weights that all shards of the folder `like` start from to `out`, .npz, and return them.

    Raises:
        WrongUsage: there is no such model, no shard manifest, or `pretrained` does not fit.
    """
    manifest = store.fetch(store.join(like, MANIFEST_FILE), work / "data")
    backbone = _fetch(pretrained, work / "start")
    architecture = architecture_like(manifest.parent, model, width or 1.0)
    weights = initial_weights(architecture, seed, backbone)
    path = work / "weights.npz"
    save_weights(weights, path)
    store.put(path, out)
    return weights


def _fetch_shards(order: FitOrder, work: Path) -> tuple[list[Path], str | None]:
    # Shards of several folders may have the same name, so each copy gets a folder of its own.
    if bool(order.shards) == bool(order.data):
        what = "it needs shards to learn from, in one of two ways"
        raise WrongUsage(what, "command line", "either --shard FILE.npz (several times), or --data FOLDER")
    if order.data is None:
        return [_fetch_shard(where, work / str(index)) for index, where in enumerate(order.shards)], None
    manifest = load_manifest(_fetch_shard(store.join(order.data, MANIFEST_FILE), work / "data").parent)
    names = [entry.file.path for entry in manifest.shards]
    shards = [store.fetch(store.join(order.data, name), work / "data") for name in names]
    return shards, store.join(order.data, manifest.test.file.path)


def _fetch_shard(where: str, folder: Path) -> Path:
    # With the manifest beside it, where there is one: it knows the labels.
    if store.is_remote(where):
        with suppress(store.NoSuchObject):
            store.fetch(store.join(where.rsplit("/", 1)[0], MANIFEST_FILE), folder)
    return store.fetch(where, folder)


def _fetch(where: str | None, folder: Path) -> Path | None:
    return None if where is None else store.fetch(where, folder)


def _held_out(
    order: FitOrder, pictures: Pictures, test: str | None, architecture: Architecture, work: Path
) -> tuple[Pictures, Pictures | None]:
    wanted = order.validation or test
    if wanted is None:
        return pictures, None
    share = _share(wanted)
    try:
        if share is not None:
            learned, measured = hold_out(pictures.y, share, order.recipe.seed)
            return Chosen(pictures, learned), Chosen(pictures, measured)
        held: Samples = load_samples(store.fetch(wanted, work / "validation"))
        held.check_fits(architecture.image_shape, architecture.classes)
    except BadSamples as error:
        hint = "a share such as 0.2, or an .npz of the same data set"
        raise WrongUsage(str(error), f"--validation {wanted}", hint) from error
    return pictures, held


def _share(wanted: str) -> float | None:
    try:
        return float(wanted)
    except ValueError:
        return None
