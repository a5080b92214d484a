"""How fast a transfer may be, and when it is too slow to go on. Pure: it is told the time."""

FLOOR_BYTES_PER_S = 256.0
PERIOD_S = 60.0
_FIRST_PAUSE_S = 60.0
_MAX_PAUSE_S = 3600.0


class Pace:
    """One device's use of its link.

    A link below the floor is given up for a while, longer each time: what comes so slowly keeps the broker's
    memory and everything else on that link waiting.
    """

    def __init__(self, max_bytes_per_s: int, now_s: float) -> None:
        """Begin a transfer; `max_bytes_per_s` 0 is as fast as it goes."""
        self._max_bytes_per_s = max_bytes_per_s
        self._floor = min(FLOOR_BYTES_PER_S, max_bytes_per_s / 2 or FLOOR_BYTES_PER_S)
        self._free_s = self._since_s = now_s
        self._bytes = 0
        self._pause_s = _FIRST_PAUSE_S
        self.is_slow = False

    def window_bytes(self, wished_bytes: int) -> int:
        """Return how much may be asked for at once: no more than a second of the cap."""
        return min(wished_bytes, self._max_bytes_per_s or wished_bytes)

    def may_ask(self, now_s: float) -> bool:
        """Say whether more may be asked for now."""
        return now_s >= self._free_s

    def arrived(self, size_bytes: int, now_s: float) -> None:
        """So much has come; with a cap, its time must pass before more is asked for."""
        self._bytes += size_bytes
        if self._max_bytes_per_s:
            self._free_s = max(self._free_s, now_s) + size_bytes / self._max_bytes_per_s

    def rest(self, now_s: float) -> None:
        """Nothing was asked for: that time does not count."""
        self._since_s, self._bytes = now_s, 0

    def look(self, now_s: float, is_clogged: bool) -> bool:
        """Look at the link while something is asked for; True if it is to be left alone for a while.

        Args:
            now_s: monotonic seconds.
            is_clogged: the broker owes us even the answer to what we asked it. If little comes although it
                answers, it does not have what we want, and the link is not to blame.
        """
        if now_s - self._since_s < PERIOD_S:
            return False
        is_below = self._bytes < self._floor * (now_s - self._since_s)
        self.is_slow = is_below and is_clogged
        self.rest(now_s)
        if not self.is_slow:
            self._pause_s = _FIRST_PAUSE_S
            return False
        self._free_s = now_s + self._pause_s
        self._pause_s = min(2 * self._pause_s, _MAX_PAUSE_S)
        return True
