"""Pictures with their labels, checked once, and the .npz files that hold them."""

import math
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
import numpy.typing as npt

from cloud_train.data import npz
from host_cli import files
from host_cli.errors import WrongUsage

Array = npt.NDArray[Any]

# What numpy, zipfile and zlib say of a file that is cut short, damaged, or holds pickled objects.
UNREADABLE = (
    *(OSError, EOFError, ValueError, KeyError, NotImplementedError, OverflowError, MemoryError),
    *(RuntimeError, TypeError, SyntaxError, tokenize.TokenError, zipfile.BadZipFile, zlib.error),
)
# Compressed arrays have to be in memory; others are read where they lie.
MAX_UNPACKED_BYTES = 8 * 1024**3
# What is in memory of pictures that pass from file to file.
BLOCK_BYTES = 8 * 1024 * 1024
_REMAKE = "write it again with `cloud-train split`"


class BadSamples(ValueError):
    """What is no labelled pictures; the text says why, and `hint` what to try, where that is known."""

    def __init__(self, reason: str, hint: str = "") -> None:
        super().__init__(reason)
        self.hint = hint


@dataclass(frozen=True)
class Samples:
    """Labelled pictures.

    Attributes:
        x: (N, height, width, channels) uint8, N >= 1; it may lie in a file (numpy.memmap), so take a part
            of it at a time.
        y: (N,) int64, every label >= 0.

    Raises:
        BadSamples: other shapes, dtypes or labels, or no picture at all.
    """

    x: Array
    y: Array

    def __post_init__(self) -> None:
        if self.x.dtype != np.uint8 or self.x.ndim != 4 or self.x.shape[3] not in (1, 3):
            expected = "uint8 of shape (N, height, width, 1 or 3)"
            raise BadSamples(f"x must be {expected}, it is {_kind_of(self.x)}{_not_finite(self.x)}")
        if self.y.dtype != np.int64 or self.y.ndim != 1:
            raise BadSamples(f"y must be int64 of shape (N,), it is {_kind_of(self.y)}")
        if len(self.x) != len(self.y):
            raise BadSamples(f"x has {len(self.x)} pictures but y has {len(self.y)} labels")
        if 0 in self.x.shape:
            raise BadSamples("it has no pictures")
        if self.y.min() < 0:
            raise BadSamples(f"a label is {self.y.min()}, labels start at 0")

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of every picture."""
        _, height, width, channels = self.x.shape
        return height, width, channels

    def take(self, chosen: Array) -> "Samples":
        """Return the samples at the places `chosen`, (K,) integers, in that order."""
        return Samples(self.x[chosen], self.y[chosen])

    def check_fits(self, image_shape: tuple[int, ...], classes: int) -> None:
        """Refuse samples that a model of this input and so many labels cannot learn from.

        Raises:
            BadSamples: another picture shape, or a label that is not below `classes`.
        """
        if self.image_shape != tuple(image_shape):
            raise BadSamples(f"pictures are {self.image_shape}, expected {tuple(image_shape)}")
        if self.y.max() >= classes:
            raise BadSamples(
                f"a label is {self.y.max()}, with {classes} classes the last one is {classes - 1}"
            )


class Pictures(Protocol):
    """Labelled pictures that may be larger than memory: labels at hand, pictures by their places."""

    @property
    def y(self) -> Array:
        """Labels, (N,) int64."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of every picture."""

    def take(self, chosen: Array) -> Samples:
        """Return the samples at the places `chosen`, (K,) integers, in that order, in memory."""


def save_samples(samples: Pictures, path: Path, places: Array | None = None) -> None:
    """Write samples as .npz with arrays x and y, block by block; equal samples give equal bytes.

    Args:
        samples: what to write.
        path: the file; it is complete when it is visible.
        places: which of them, (K,) integers, in this order; None: all.
    """
    places = np.arange(len(samples.y)) if places is None else places
    shape = (len(places), *samples.image_shape)
    pictures = (samples.take(block).x for block in blocks(places, shape))
    arrays = {
        "x": npz.ArrayBlocks(np.dtype(np.uint8), shape, pictures),
        "y": npz.ArrayBlocks(samples.y.dtype, shape[:1], [samples.y[places]]),
    }
    files.write_with(path, lambda temporary: npz.write_arrays(temporary, arrays))


def blocks(places: Array, shape: tuple[int, ...]) -> Iterator[Array]:
    """Cut places into parts whose pictures, uint8 of `shape[1:]`, take BLOCK_BYTES or less."""
    step = max(1, BLOCK_BYTES // max(1, math.prod(shape[1:])))
    for start in range(0, len(places), step):
        yield places[start : start + step]


def load_samples(path: Path) -> Samples:
    """Read what `save_samples` wrote; large pictures stay in the file until they are needed.

    Raises:
        WrongUsage: the file is missing, cut short, holds pickled objects, or other arrays.
    """
    arrays = map_arrays(path, _REMAKE)
    try:
        return Samples(arrays["x"], np.array(arrays["y"]))
    except KeyError as error:
        raise WrongUsage(f"there is no array {error} in it", str(path), _REMAKE) from error
    except BadSamples as error:
        raise WrongUsage(str(error), str(path), _REMAKE) from error


def map_arrays(path: Path, hint: str) -> dict[str, Array]:
    """Read an .npz file like `read_arrays`; large uncompressed arrays stay in it until they are used."""
    try:
        if path.is_file() and npz.check_sums(path):
            return {name: array.map(path) for name, array in npz.stored_arrays(path).items()}
    except npz.NotStored:
        pass
    except UNREADABLE as error:
        raise WrongUsage(_why_unreadable(error), str(path), hint) from error
    return read_arrays(path, hint)


def read_arrays(path: Path, hint: str) -> dict[str, Array]:
    """Read every array of an .npz file; never unpickles.

    Args:
        path: the file.
        hint: what to try when it cannot be read.

    Raises:
        WrongUsage: the file is missing, not a whole .npz, or holds pickled objects.
    """
    if not path.is_file():
        raise WrongUsage("there is no such file", str(path), hint)
    try:
        # Opened here, because np.load leaves a damaged file open.
        with path.open("rb") as stream, _npz(stream, path) as archive:
            return {name: archive[name] for name in archive.files}
    except UNREADABLE as error:
        raise WrongUsage(_why_unreadable(error), str(path), hint) from error


def _npz(stream: IO[bytes], path: Path) -> Any:
    if not zipfile.is_zipfile(stream):
        raise zipfile.BadZipFile  # np.load would also take a bare .npy, or try to unpickle
    with zipfile.ZipFile(stream) as archive:
        unpacked_bytes = sum(entry.file_size for entry in archive.infolist())
    if unpacked_bytes > MAX_UNPACKED_BYTES:
        what = f"its arrays take {unpacked_bytes} bytes unpacked, at most {MAX_UNPACKED_BYTES} are allowed"
        raise WrongUsage(what, str(path), "write it with numpy.savez, which does not compress")
    stream.seek(0)
    return np.load(stream, allow_pickle=False)


def _why_unreadable(error: Exception) -> str:
    if isinstance(error, ValueError) and "allow_pickle" in str(error):
        return "it holds pickled objects"
    return f"it is cut short or no .npz file ({type(error).__name__})"


def _kind_of(array: Array) -> str:
    return f"{array.dtype} of shape {array.shape}"


def _not_finite(array: Array) -> str:
    if array.dtype.kind != "f" or not array.ndim:
        return ""
    parts = blocks(np.arange(len(array)), (*array.shape, array.itemsize))
    finite = all(np.isfinite(array[part]).all() for part in parts)
    return "" if finite else " with NaN or infinite values"
