"""Reads IDX, the file format of MNIST and Fashion-MNIST, plain or gzipped.

Source: yann.lecun.com/exdb/mnist, section "FILE FORMATS FOR THE MNIST DATABASE".
"""

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from cloud_train.data.samples import Array, BadSamples, Samples
from host_cli.errors import WrongUsage

TRAIN, TEST = "train", "t10k"
# MNIST has 47 MB; these files are read into memory.
MAX_IDX_BYTES = 4 * 1024**3
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
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            return _parse(cast(BinaryIO, stream), dimensions)
    except (OSError, EOFError, zlib.error, ValueError, struct.error) as error:
        raise WrongUsage(f"it is not a whole IDX file: {error}", str(path), _HINT) from error


def _parse(stream: BinaryIO, dimensions: int) -> Array:
    head = stream.read(4 + 4 * dimensions)
    if head[:4] != bytes((0, 0, _UNSIGNED_BYTE, dimensions)):
        raise ValueError(f"magic number {head[:4].hex()}")
    shape = struct.unpack(f">{dimensions}I", head[4:])
    wanted_bytes = math.prod(shape)
    if wanted_bytes > MAX_IDX_BYTES:
        raise ValueError(f"shape {shape} takes more than {MAX_IDX_BYTES} bytes")
    data = stream.read(wanted_bytes + 1)
    if len(data) != wanted_bytes:
        raise ValueError(f"{len(data)} bytes for shape {shape}")
    return np.frombuffer(data, np.uint8).reshape(shape)


def _find(folder: Path, name: str) -> Path | None:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    return None
