"""Pictures that are taken by their places: several shards in a row, or a part of them, without a copy."""

from collections.abc import Sequence

import numpy as np

from cloud_train.data.samples import Array, BadSamples, Pictures, Samples


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


class Chosen:
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
