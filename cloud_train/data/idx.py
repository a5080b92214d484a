"""Reads IDX, the file format of MNIST and Fashion-MNIST, plain or gzipped.

Source: yann.lecun.com/exdb/mnist, section "FILE FORMATS FOR THE MNIST DATABASE".
"""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from cloud_train.data.samples import Array, BadSamples, Samples
from host_cli.errors import WrongUsage

TRAIN, TEST = "train", "t10k"
_UNSIGNED_BYTE = 0x08
_HINT = "name a folder with train-images-idx3-ubyte[.gz] and its three companions"


def is_idx_folder(folder: Path) -> bool:
    """Say whether the training images lie in `folder`."""
    return _find(folder, f"{TRAIN}-images-idx3-ubyte") is not None


def load_idx_samples(folder: Path, part: str) -> Samples:
    """Read one part of a data set.

    Args:
        folder: where the four files lie.
        part: TRAIN or TEST.

    Raises:
        WrongUsage: a file is missing, cut short or not what its name says.
    """
    images = _load(folder, f"{part}-images-idx3-ubyte", dimensions=3)  # (N, height, width) uint8
    labels = _load(folder, f"{part}-labels-idx1-ubyte", dimensions=1)  # (N,) uint8
    try:
        return Samples(images[..., np.newaxis], labels.astype(np.int64))
    except BadSamples as error:
        raise WrongUsage(str(error), f"{folder}/{part}-*", _HINT) from error


def _load(folder: Path, name: str, dimensions: int) -> Array:
    path = _find(folder, name)
    if path is None:
        raise WrongUsage(f"there is no {name}[.gz]", str(folder), _HINT)
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        return _parse(data, dimensions)
    except (OSError, EOFError, zlib.error, ValueError, struct.error) as error:
        raise WrongUsage(f"it is not a whole IDX file: {error}", str(path), _HINT) from error


def _parse(data: bytes, dimensions: int) -> Array:
    zero, kind, found = struct.unpack_from(">HBB", data)
    if (zero, kind, found) != (0, _UNSIGNED_BYTE, dimensions):
        raise ValueError(f"magic number {data[:4].hex()}")
    shape = struct.unpack_from(f">{dimensions}I", data, 4)
    start = 4 + 4 * dimensions
    if len(data) - start != math.prod(shape):
        raise ValueError(f"{len(data) - start} bytes for shape {shape}")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def _find(folder: Path, name: str) -> Path | None:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    return None
