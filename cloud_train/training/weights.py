"""Weights on disk: a shard update, or what a round leaves; one .npz file, checked on the way in."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cloud_train.data.recorded import load_recorded, save_recorded
from cloud_train.data.samples import Array
from contract.artifacts import SHA256_PATTERN
from contract.records import Integer, Items, Maybe, Nested, Number, Record, Table, Text, rule
from host_cli.errors import WrongUsage

_HINT = "make it again with `cloud-train fit`"
_MAX_TENSORS = 2000

# What a tensor is: learned, or the statistics that a BatchNorm layer keeps of what passes through it.
WEIGHT = "weight"
MOVING_MEAN = "moving_mean"
MOVING_VARIANCE = "moving_variance"
ROLES = (WEIGHT, MOVING_MEAN, MOVING_VARIANCE)

# A model's own name, or MODULE:FUNC.
MODEL = Text(max_length=128)


@dataclass(frozen=True)
class Architecture(Record):
    """Which model the weights are for: enough to build it again without the file that trained it.

    Attributes:
        model: one of `training.models.MODELS`, or MODULE:FUNC.
        image_shape: height, width and channels of a picture.
        classes: how many labels there are.
        width: factor of the number of filters, for models that come in several; else 1.
    """

    model: str = rule(MODEL)
    image_shape: tuple[int, ...] = rule(Items(Integer(1, 4096), max_items=3, min_items=3))
    classes: int = rule(Integer(1, 2000))
    width: float = rule(Number(0.01, 10.0), default=1.0)


@dataclass(frozen=True)
class Weights:
    """Weights and what is known of them.

    Attributes:
        architecture: what they are for.
        client: who made them, `shard-0`; the average of several is `average`.
        num_examples: how many pictures they were trained on, their weight in an average; 0 for a fresh
            initialisation, which no average takes.
        passes: how often every picture has been seen on the way here; it sets the learning rate of the next.
        tensors: float32 arrays in the order of Keras' `get_weights()`.
        figures: loss, seconds, accuracy ... of what made them.
        roles: what each tensor is, one of ROLES; when none are given, every tensor is a `weight`.
        start: digest of the weights that they were trained from; None: nothing is known of it.
    """

    architecture: Architecture
    client: str
    num_examples: int
    passes: int
    tensors: tuple[Array, ...]
    figures: dict[str, float]
    roles: tuple[str, ...] = ()
    start: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "roles", self.roles or (WEIGHT,) * len(self.tensors))

    def digest(self) -> str:
        """Return the SHA-256 over shapes and values of all tensors, 64 hex digits."""
        return digest_of(self.tensors)


@dataclass(frozen=True)
class Meta(Record):
    """What stands beside the tensors in the file, as META; fields as in Weights."""

    architecture: Architecture = rule(Nested(Architecture))
    client: str = rule(Text(max_length=128))
    num_examples: int = rule(Integer(-(2**53), 2**53))
    passes: int = rule(Integer())
    tensors: int = rule(Integer(0, _MAX_TENSORS))
    sha256: str = rule(Text(SHA256_PATTERN))
    figures: dict[str, float] = rule(Table(Number()), default={})
    roles: tuple[str, ...] = rule(Items(Text(choices=ROLES), max_items=_MAX_TENSORS), default=())
    start: str | None = rule(Maybe(Text(SHA256_PATTERN)), default=None, omit=True)


def save_weights(weights: Weights, path: Path) -> None:
    """Write weights as .npz; equal weights give equal bytes.

    The arrays are `meta` (UTF-8 JSON as uint8) and tensor-000, tensor-001 ... (float32).
    """
    meta = Meta(
        architecture=weights.architecture,
        client=weights.client,
        num_examples=weights.num_examples,
        passes=weights.passes,
        tensors=len(weights.tensors),
        sha256=weights.digest(),
        figures=weights.figures,
        roles=weights.roles,
        start=weights.start,
    )
    save_recorded(path, meta, {tensor_name(index): tensor for index, tensor in enumerate(weights.tensors)})


def load_weights(path: Path) -> Weights:
    """Read what `save_weights` wrote.

    Raises:
        WrongUsage: the file is missing, cut short, changed, or holds something else.
    """
    meta, arrays = load_recorded(Meta, path, "weights file", _HINT)
    try:
        tensors = tuple(arrays[tensor_name(index)] for index in range(meta.tensors))
    except KeyError as error:
        raise WrongUsage(f"it is no weights file, there is no {error} in it", str(path), _HINT) from error
    found = Weights(
        architecture=meta.architecture,
        client=meta.client,
        num_examples=meta.num_examples,
        passes=meta.passes,
        tensors=tensors,
        figures=meta.figures,
        roles=meta.roles,
        start=meta.start,
    )
    if len(found.roles) != len(tensors):
        raise WrongUsage(f"it has {len(tensors)} tensors but {len(found.roles)} roles", str(path), _HINT)
    if found.digest() != meta.sha256:
        raise WrongUsage("its tensors are not those that were written", str(path), _HINT)
    return found


class Digest:
    """The SHA-256 over shapes and values of tensors, from blocks in their order."""

    def __init__(self) -> None:
        self._found = hashlib.sha256()

    def begin(self, dtype: str, shape: tuple[int, ...]) -> None:
        """Take a tensor's kind; its blocks follow."""
        self._found.update(json.dumps([dtype, *shape]).encode())

    def add(self, block: Array) -> None:
        """Take a block of values."""
        self._found.update(np.ascontiguousarray(block).data)

    def hex(self) -> str:
        """Return 64 hex digits."""
        return self._found.hexdigest()


def digest_of(tensors: Iterable[Array]) -> str:
    """Return the SHA-256 over shapes and values of tensors, 64 hex digits."""
    found = Digest()
    for tensor in tensors:
        found.begin(str(tensor.dtype), tensor.shape)
        found.add(tensor)
    return found.hex()


def tensor_name(index: int) -> str:
    """Return the name of a tensor in the file."""
    return f"tensor-{index:03d}"
