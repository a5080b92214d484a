"""Where a data set comes from: Fashion-MNIST, a folder of IDX files, or an .npz file."""

import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cloud_train import backend
from cloud_train.data import idx
from cloud_train.data.samples import Array, BadSamples, Samples, read_arrays
from host_cli.errors import Unreachable, WrongUsage

FASHION_MNIST = "fashion-mnist"
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
# Where Debian's package dataset-fashion-mnist puts it.
DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")

_NPZ_HINT = (
    "give an .npz with x_train, y_train, x_test, y_test: images (N, H, W[, C]) uint8, labels whole numbers"
)


@dataclass(frozen=True)
class Dataset:
    """A data set with its held-out part, and what its labels are called."""

    train: Samples
    test: Samples
    labels: tuple[str, ...]

    def __post_init__(self) -> None:
        for part in (self.train, self.test):
            part.check_fits(self.train.image_shape, len(self.labels))


def load_dataset(source: str, data_dir: Path | None = None) -> Dataset:
    """Read a data set.

    Args:
        source: `fashion-mnist`, the path of an .npz file, or of a folder with IDX files.
        data_dir: a folder with the IDX files of Fashion-MNIST, used before any other place.

    Raises:
        WrongUsage: there is no such data set, or its files are damaged.
        Unreachable: Fashion-MNIST is not on this computer and could not be downloaded.
    """
    path = Path(source)
    try:
        if source == FASHION_MNIST:
            return _load_fashion_mnist(data_dir)
        if path.is_dir():
            return _from_idx(path, labels=None)
        if path.suffix == ".npz":
            return _from_npz(path)
    except BadSamples as error:
        raise WrongUsage(str(error), source, _NPZ_HINT) from error
    raise WrongUsage(
        "there is no such data set", source, f"{FASHION_MNIST}, FILE.npz, or a folder with IDX files"
    )


def _load_fashion_mnist(data_dir: Path | None) -> Dataset:
    folder = data_dir or DEBIAN_FASHION_MNIST
    if data_dir or idx.is_idx_folder(folder):
        return _from_idx(folder, FASHION_MNIST_LABELS)
    return _download_fashion_mnist()


def _from_idx(folder: Path, labels: tuple[str, ...] | None) -> Dataset:
    train, test = (idx.load_idx_samples(folder, part) for part in (idx.TRAIN, idx.TEST))
    return Dataset(train, test, labels or _numbered(train, test))


def _from_npz(path: Path) -> Dataset:
    arrays = read_arrays(path, _NPZ_HINT)
    try:
        train = _as_samples(arrays["x_train"], arrays["y_train"])
        test = _as_samples(arrays["x_test"], arrays["y_test"])
    except KeyError as error:
        raise WrongUsage(f"there is no array {error} in it", str(path), _NPZ_HINT) from error
    names = tuple(str(name) for name in arrays["labels"]) if "labels" in arrays else None
    return Dataset(train, test, names or _numbered(train, test))


def _as_samples(x: Array, y: Array) -> Samples:
    # Grey pictures often come without a channel axis, labels in any whole-number dtype.
    if x.ndim == 3:
        x = x[..., np.newaxis]
    return Samples(x, y.reshape(-1).astype(np.int64) if y.dtype.kind in "iu" else y)


def _numbered(train: Samples, test: Samples) -> tuple[str, ...]:
    return tuple(str(number) for number in range(int(max(train.y.max(), test.y.max())) + 1))


def _download_fashion_mnist() -> Dataset:
    fashion_mnist = backend.keras().datasets.fashion_mnist
    print("Fashion-MNIST is not on this computer, downloading it (30 MB)", file=sys.stderr)
    load: Callable[[], tuple[tuple[Array, Array], tuple[Array, Array]]] = fashion_mnist.load_data
    try:
        with redirect_stdout(sys.stderr):  # Keras draws its progress on stdout, where results go
            train, test = load()
    except Exception as error:  # Keras says a bare Exception when the line is bad
        raise Unreachable(
            f"Fashion-MNIST could not be downloaded: {error}",
            "keras.datasets.fashion_mnist",
            "install Debian's dataset-fashion-mnist, or name a folder with --data-dir",
        ) from error
    return Dataset(_as_samples(*train), _as_samples(*test), FASHION_MNIST_LABELS)
