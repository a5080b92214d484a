"""Pictures with their labels, checked once, and the .npz files that hold them."""

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from host_cli import files
from host_cli.errors import WrongUsage

Array = npt.NDArray[Any]

# What numpy, zipfile and zlib say of a file that is cut short, damaged, or holds pickled objects.
UNREADABLE = (OSError, EOFError, ValueError, KeyError, NotImplementedError, zipfile.BadZipFile, zlib.error)
_REMAKE = "write it again with `cloud-train split`"


class BadSamples(ValueError):
    """Arrays that are no labelled pictures; the text says why."""


@dataclass(frozen=True)
class Samples:
    """Labelled pictures.

    Attributes:
        x: (N, height, width, channels) uint8, N >= 1.
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
        if not len(self.x):
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


def join(parts: list[Samples]) -> Samples:
    """Return all samples of `parts` (at least one, of one picture shape), in order.

    Raises:
        BadSamples: the parts have different picture shapes.
    """
    for part in parts:
        if part.image_shape != parts[0].image_shape:
            raise BadSamples(f"pictures are {part.image_shape} and {parts[0].image_shape}")
    return Samples(np.concatenate([part.x for part in parts]), np.concatenate([part.y for part in parts]))


def save_samples(samples: Samples, path: Path) -> None:
    """Write samples as .npz with arrays x and y; equal samples give equal bytes."""
    files.write_with(path, lambda temporary: np.savez(temporary, x=samples.x, y=samples.y))


def load_samples(path: Path) -> Samples:
    """Read what `save_samples` wrote.

    Raises:
        WrongUsage: the file is missing, cut short, holds pickled objects, or other arrays.
    """
    arrays = read_arrays(path, _REMAKE)
    try:
        return Samples(arrays["x"], arrays["y"])
    except KeyError as error:
        raise WrongUsage(f"there is no array {error} in it", str(path), _REMAKE) from error
    except BadSamples as error:
        raise WrongUsage(str(error), str(path), _REMAKE) from error


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
        with path.open("rb") as stream, _npz(stream) as archive:
            return {name: archive[name] for name in archive.files}
    except UNREADABLE as error:
        raise WrongUsage(_why_unreadable(error), str(path), hint) from error


def _npz(stream: IO[bytes]) -> Any:
    if not zipfile.is_zipfile(stream):
        raise zipfile.BadZipFile  # np.load would also take a bare .npy, or try to unpickle
    stream.seek(0)
    return np.load(stream, allow_pickle=False)


def _why_unreadable(error: Exception) -> str:
    if isinstance(error, ValueError) and "allow_pickle" in str(error):
        return "it holds pickled objects"
    return f"it is cut short or no .npz file ({type(error).__name__})"


def _kind_of(array: Array) -> str:
    return f"{array.dtype} of shape {array.shape}"


def _not_finite(array: Array) -> str:
    bad = array.dtype.kind == "f" and not np.isfinite(array).all()
    return " with NaN or infinite values" if bad else ""
