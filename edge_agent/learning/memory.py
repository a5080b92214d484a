"""The newest inputs and what was said about them, in bounded memory: feedback comes later than the answer."""

import collections
from typing import NamedTuple, Optional, OrderedDict

from contract.messages import Prediction


class Seen(NamedTuple):
    """An input and its prediction; `kind`, `payload` and `model` are those of `InferenceAsked`."""

    prediction: Prediction
    kind: str
    payload: bytes
    model: str


class Memory:
    """Remembers at most so many inputs of at most so many bytes together; the oldest go first."""

    def __init__(self, max_inputs: int, max_bytes: int) -> None:
        self._max_inputs, self._max_bytes = max_inputs, max_bytes
        self._seen: OrderedDict[str, Seen] = collections.OrderedDict()
        self._bytes = 0

    def keep(self, seen: Seen) -> None:
        """Remember an input, unless it alone is too large."""
        if len(seen.payload) > self._max_bytes:
            return
        self._seen[seen.prediction.id] = seen
        self._bytes += len(seen.payload)
        while len(self._seen) > self._max_inputs or self._bytes > self._max_bytes:
            self.take(next(iter(self._seen)))

    def find(self, prediction: str) -> Optional[Seen]:
        """Return the input of a prediction by its id, None if it is not remembered."""
        return self._seen.get(prediction)

    def take(self, prediction: str) -> Optional[Seen]:
        """Return the same, and forget it."""
        seen = self._seen.pop(prediction, None)
        if seen is not None:
            self._bytes -= len(seen.payload)
        return seen
