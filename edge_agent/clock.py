"""Time and ids on a board whose clock starts in 1970."""

import os
import time

from contract.stamps import build_ulid, format_time

# 2024-01-01: an older clock has not been set yet, this program did not exist then.
_EARLIEST_TRUE_S = 1704067200.0


class Clock:
    """The wall clock for stamps, the monotonic clock for durations."""

    def now_s(self) -> float:
        """Return seconds since 1970, as the board believes."""
        return time.time()

    def monotonic_s(self) -> float:
        """Return seconds that never jump."""
        return time.monotonic()

    def is_synced(self) -> bool:
        """Say whether the wall clock can be right."""
        return self.now_s() >= _EARLIEST_TRUE_S

    def local_minute(self) -> int:
        """Return how many minutes of the day have passed where the board stands, 0 to 1439."""
        here = time.localtime(self.now_s())
        return 60 * here.tm_hour + here.tm_min

    def stamp(self) -> str:
        """Return the time now as it stands in messages."""
        return format_time(self.now_s())

    def new_id(self) -> str:
        """Return a new ULID."""
        return build_ulid(self.now_s(), os.urandom(10))
