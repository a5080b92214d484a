"""Data sets that are arrays already: MNIST and Fashion-MNIST wherever they lie, IDX files, .npz files."""

import os
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cloud_train import backend
from cloud_train.data import idx
from cloud_train.data.samples import Array, BadSamples, Samples, map_arrays
from contract.artifacts import MAX_CLASSES
from host_cli.errors import Unreachable, WrongUsage

FASHION_MNIST, MNIST = "fashion-mnist", "mnist"
FASHION_MNIST_LABELS = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
# Debian's package dataset-fashion-mnist puts its files into a folder of that name here.
DEBIAN_FOLDER = Path("/usr/share/datasets")
NPZ_HINT = (
    "give an .npz with x_train, y_train, x_test, y_test, or with x, y: "
    "images (N, H, W[, C]) uint8, labels whole numbers"
)


@dataclass(frozen=True)
class Arrays:
    """A data set that is decoded already; `test` is None when nothing is held out."""

    train: Samples
    test: Samples | None
    labels: tuple[str, ...]


def load_known(name: str, data_dir: Path | None) -> Arrays:
    """Read FASHION_MNIST or MNIST: from a folder, Debian's package, Keras' cache, or by Keras' download.

    Raises:
        WrongUsage: a file in the folder is missing or damaged.
        Unreachable: it is nowhere, and could not be downloaded.
    """
    labels = FASHION_MNIST_LABELS if name == FASHION_MNIST else None
    if data_dir is not None:
        return read_idx(data_dir, labels)
    for folder in (DEBIAN_FOLDER / name, _keras_cache() / name):
        if idx.is_idx_folder(folder):
            return read_idx(folder, labels)
    kept = _keras_cache() / f"{name}.npz"
    return read_npz(kept) if kept.is_file() else _download(name, labels)


def read_idx(folder: Path, labels: tuple[str, ...] | None = None) -> Arrays:
    """Read a folder with the four IDX files of MNIST or Fashion-MNIST; the labels are numbers if not named.

    Raises:
        WrongUsage: a file is missing or damaged.
        BadSamples: pictures and labels do not fit each other.
    """
    train, test = (idx.load_idx_samples(folder, part) for part in (idx.TRAIN, idx.TEST))
    return Arrays(train, test, labels or _numbered(train, test))


def read_npz(path: Path) -> Arrays:
    """Read x_train, y_train, x_test, y_test or x, y (and labels, their names) of an .npz.

    Raises:
        WrongUsage: it is damaged, or has other arrays.
        BadSamples: the arrays are no pictures with labels.
    """
    arrays = map_arrays(path, NPZ_HINT)
    names = ("x_train", "y_train") if "x_train" in arrays else ("x", "y")
    try:
        train = _as_samples(*(arrays[name] for name in names))
        test = _as_samples(arrays["x_test"], arrays["y_test"]) if "x_test" in arrays else None
    except KeyError as error:
        raise WrongUsage(f"there is no array {error} in it", str(path), NPZ_HINT) from error
    labels = tuple(str(name) for name in arrays["labels"]) if "labels" in arrays else None
    return Arrays(train, test, labels or _numbered(train, test))


def _as_samples(x: Array, y: Array) -> Samples:
    # Grey pictures often come without a channel axis, labels in any whole-number dtype.
    if x.dtype.kind == "f":
        raise BadSamples(
            f"the pictures are {x.dtype}, and must be uint8, 0 to 255",
            hint="if they go from 0 to 1: numpy.savez(FILE, x=(x * 255).round().astype('uint8'), y=y)",
        )
    if x.ndim == 3:
        x = x[..., np.newaxis]
    return Samples(x, y.reshape(-1).astype(np.int64) if y.dtype.kind in "iu" else y)


def _numbered(train: Samples, test: Samples | None) -> tuple[str, ...]:
    highest = max(int(part.y.max()) for part in (train, test) if part is not None)
    if highest >= MAX_CLASSES:
        raise BadSamples(f"a label is {highest}, at most {MAX_CLASSES} labels are allowed, from 0")
    return tuple(str(number) for number in range(highest + 1))


def _keras_cache() -> Path:
    # Keras' own variable, and its own default.
    return Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser() / "datasets"


def _download(name: str, labels: tuple[str, ...] | None) -> Arrays:
    module = getattr(backend.keras().datasets, name.replace("-", "_"))
    print(f"{name} is not on this computer, downloading it", file=sys.stderr)
    load: Callable[[], tuple[tuple[Array, Array], tuple[Array, Array]]] = module.load_data
    try:
        with redirect_stdout(sys.stderr):  # Keras draws its progress on stdout, where results go
            found = load()
    except Exception as error:  # Keras says a bare Exception when the line is bad
        hint = "name a folder with its IDX files by --data-dir"
        if name == FASHION_MNIST:
            hint = "install Debian's dataset-fashion-mnist, or " + hint
        what = f"{name} could not be downloaded: {error}"
        raise Unreachable(what, f"keras.datasets.{name.replace('-', '_')}", hint) from error
    train, test = (_as_samples(x, y) for x, y in found)
    return Arrays(train, test, labels or _numbered(train, test))
