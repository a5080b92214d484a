"""Pictures that are taken by their places: several shards in a row, or a part of them, without a copy."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from cloud_train.data.samples import Array, BadSamples, Samples

# Keeps the draw of the held-out part apart from the draws that shuffle the passes.
_HOLD_OUT = 0x686F6C64


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


class Chain:
    """All pictures of several parts, one part after the other; each stays where it is, on disk if need be.

    Raises:
        BadSamples: the parts have different picture shapes.
    """

    def __init__(self, parts: Sequence[Samples]) -> None:
        for part in parts:
            if part.image_shape != parts[0].image_shape:
                raise BadSamples(f"pictures are {part.image_shape} and {parts[0].image_shape}")
        self._parts = tuple(parts)
        self._starts = np.cumsum([0, *(len(part.y) for part in parts)])
        self.y: Array = np.concatenate([part.y for part in parts])

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of every picture."""
        return self._parts[0].image_shape

    def take(self, chosen: Array) -> Samples:
        """Return the samples at the places `chosen`, (K,) integers, in that order, in memory."""
        if len(self._parts) == 1:
            return self._parts[0].take(chosen)
        x = np.empty((len(chosen), *self.image_shape), np.uint8)
        owner = np.searchsorted(self._starts, chosen, side="right") - 1
        for number in np.unique(owner):
            mine = owner == number
            x[mine] = self._parts[number].x[chosen[mine] - self._starts[number]]
        return Samples(x, self.y[chosen])


class Part:
    """Some of other pictures, without a copy."""

    def __init__(self, whole: Pictures, places: Array) -> None:
        self._whole, self._places = whole, places
        self.y: Array = whole.y[places]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of every picture."""
        return self._whole.image_shape

    def take(self, chosen: Array) -> Samples:
        """Return the samples at the places `chosen`, (K,) integers, in that order, in memory."""
        return self._whole.take(self._places[chosen])


def hold_out(pictures: Pictures, share: float, seed: int) -> tuple[Part, Part]:
    """Split at random into what is learned from and what is held out to measure with.

    Args:
        pictures: N of them.
        share: of the held-out part, above 0 and below 1; its size is rounded.
        seed: the same seed holds out the same pictures.

    Raises:
        BadSamples: one of the two would be empty.
    """
    count = len(pictures.y)
    held = round(share * count) if 0 < share < 1 else 0
    if not 0 < held < count:
        raise BadSamples(
            f"{share:g} of {count} pictures leaves {count - held} to learn and {held} to measure"
        )
    order = np.random.default_rng((seed, _HOLD_OUT)).permutation(count)
    # In their order on disk, so that measuring reads a file from front to back.
    return Part(pictures, np.sort(order[held:])), Part(pictures, np.sort(order[:held]))
