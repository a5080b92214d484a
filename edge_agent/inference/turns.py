"""Whose turn it is on the Edge TPU when its memory does not hold all models: the one used last goes first."""

from typing import Dict, NamedTuple, Optional

# What an Edge TPU keeps of the parameters, of its 8 MiB. Source: what the compiler reports for one that fits.
ON_CHIP_BYTES = int(7.67 * 1024 * 1024)
# Another model waits at most this long while the one used last has more to do.
TURN_S = 0.1


class Load(NamedTuple):
    """A model on the Edge TPU: the size of its file, and whether somebody waits for it."""

    size_bytes: int
    has_work: bool


class Turns:
    """Keeps a model on the chip for a while, because a change of models uploads the parameters anew."""

    def __init__(self) -> None:
        """Begin with an empty chip."""
        # Not a name: the main model's is "".
        self._last: Optional[str] = None
        self._since_s = 0.0
        self._ended_s: Dict[str, float] = {}

    def may_start(self, name: str, loads: Dict[str, Load], now_s: float) -> bool:
        """Say whether a model may run now; if so it is the one used last.

        Args:
            name: the model's, which has work.
            loads: every model on the Edge TPU, by name.
            now_s: seconds that never jump.
        """
        if sum(load.size_bytes for load in loads.values()) <= ON_CHIP_BYTES:
            return True
        waiting = [other for other, load in loads.items() if other != self._last and load.has_work]
        last = loads.get(self._last) if self._last is not None else None
        is_turn_over = last is None or not last.has_work or now_s - self._since_s >= TURN_S
        if name == self._last:
            return not (is_turn_over and waiting)
        # The longest without a turn is next; those that never had one come first.
        if not is_turn_over or name != min(waiting, key=lambda other: self._ended_s.get(other, -1.0)):
            return False
        if self._last is not None:
            self._ended_s[self._last] = now_s
        self._last, self._since_s = name, now_s
        return True
