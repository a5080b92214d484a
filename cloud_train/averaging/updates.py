"""Shard updates as an average sees them: what they say of themselves, and their tensors block by block."""

import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from cloud_train.data.npz import StoredArray, stored_arrays
from cloud_train.data.recorded import META
from cloud_train.data.samples import UNREADABLE, Array
from cloud_train.training.weights import (
    WEIGHT,
    Architecture,
    Meta,
    Weights,
    tensor_name,
)
from contract.codec import MAX_PAYLOAD_BYTES, decode
from contract.errors import MessageError

# Values that are read at a time: fits a processor's cache, and makes the cost of a call small.
BLOCK_VALUES = 32 * 1024


class BadUpdate(ValueError):
    """An update that must not be averaged.

    Attributes:
        client: whose update it is.
        reason: why it is refused.
    """

    def __init__(self, client: str, reason: str) -> None:
        super().__init__(f"{client}: {reason}")
        self.client, self.reason = client, reason


@dataclass(frozen=True)
class Header:
    """What is known of an update before its tensors are read; nothing of it has been believed yet.

    Attributes:
        client: who made it.
        num_examples: how many pictures it says it was trained on.
        passes: as in Weights.
        architecture: what it is for.
        roles: of each tensor, as in Weights.
        dtypes: of each tensor, as numpy spells them.
        shapes: of each tensor.
        sha256: the digest that its file says; None for weights in memory.
        start: as in Weights.
    """

    client: str
    num_examples: int
    passes: int
    architecture: Architecture
    roles: tuple[str, ...]
    dtypes: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    sha256: str | None
    start: str | None = None


class Update(Protocol):
    """An update, in memory or in a file."""

    @property
    def header(self) -> Header:
        """What it says of itself."""

    def read(self, index: int, start: int, stop: int) -> Array:
        """Return the values `start` to `stop` of the flattened tensor `index`, (stop - start,)."""


class HeldUpdate:
    """An update in memory."""

    def __init__(self, weights: Weights) -> None:
        self.header = Header(
            client=weights.client,
            num_examples=weights.num_examples,
            passes=weights.passes,
            architecture=weights.architecture,
            roles=weights.roles,
            dtypes=tuple(str(tensor.dtype) for tensor in weights.tensors),
            shapes=tuple(tensor.shape for tensor in weights.tensors),
            sha256=None,
            start=weights.start,
        )
        self._flat = [tensor.reshape(-1) for tensor in weights.tensors]

    def read(self, index: int, start: int, stop: int) -> Array:
        """Return a view of the values."""
        return self._flat[index][start:stop]


class StoredUpdate:
    """An update in a file, of which only the block that is asked for is ever in memory."""

    def __init__(self, path: Path, header: Header, arrays: tuple[StoredArray, ...]) -> None:
        self.path, self.header, self._arrays = path, header, arrays

    def read(self, index: int, start: int, stop: int) -> Array:
        """Read the values.

        Raises:
            BadUpdate: the file is no longer as long as it was.
        """
        try:
            return self._arrays[index].read(self.path, start, stop)
        except UNREADABLE as error:
            raise BadUpdate(self.header.client, f"{self.path.name} cannot be read: {error}") from error


def open_update(path: Path, client: str) -> StoredUpdate:
    """Read the header of an update in a file.

    Args:
        path: what `save_weights` wrote.
        client: who is blamed for a file that cannot be read.

    Raises:
        BadUpdate: the file is missing, cut short, or no weights file.
    """
    try:
        arrays = stored_arrays(path)
        meta = _read_meta(path, arrays[META])
        tensors = tuple(arrays[tensor_name(index)] for index in range(meta.tensors))
        roles = meta.roles or (WEIGHT,) * meta.tensors
        if len(roles) != len(tensors):
            raise ValueError(f"it has {len(tensors)} tensors but {len(roles)} roles")
    except (*UNREADABLE, MessageError) as error:
        raise BadUpdate(client, f"{path.name} is no whole weights file: {_reason(error)}") from error
    header = Header(
        client=meta.client,
        num_examples=meta.num_examples,
        passes=meta.passes,
        architecture=meta.architecture,
        roles=roles,
        dtypes=tuple(str(array.dtype) for array in tensors),
        shapes=tuple(array.shape for array in tensors),
        sha256=meta.sha256,
        start=meta.start,
    )
    return StoredUpdate(path, header, tensors)


def size_of(shape: tuple[int, ...]) -> int:
    """Return how many values a tensor of this shape has."""
    return int(np.prod(shape, dtype=np.int64))


def blocks(shape: tuple[int, ...], length: int = BLOCK_VALUES) -> Iterator[tuple[int, int]]:
    """Yield start and stop of each block of a flattened tensor."""
    size = size_of(shape)
    for start in range(0, size, length):
        yield start, min(size, start + length)


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "it is not there"
    if isinstance(error, KeyError):
        return f"there is no {error} in it"
    return " ".join(str(error).split())[:200] or type(error).__name__


def _read_meta(path: Path, array: StoredArray) -> Meta:
    if array.dtype != np.uint8 or size_of(array.shape) > MAX_PAYLOAD_BYTES:
        raise ValueError(f"its {META} is {array.dtype} of shape {array.shape}")
    # Through zipfile, which checks its sum: the digest is of the tensors only.
    with zipfile.ZipFile(path) as archive:
        member = archive.read(f"{META}.npy")
    return decode(Meta, np.load(io.BytesIO(member), allow_pickle=False).tobytes())
