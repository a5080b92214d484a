"""When a board is left as it is: in its quiet hours, and while somebody there holds the update lock."""

import fcntl
from pathlib import Path

from contract.messages import Problem
from edge_agent.clock import Clock
from edge_agent.config import UpdateConfig

LOCK = "update.lock"
UPDATE_LOCKED = Problem(
    "update_locked",
    f"a release waits until nobody holds {LOCK} in state_dir any more",
    "on the board: fuser update.lock names who holds it",
)


class Hold:
    """Asked before anything is fetched, and before a candidate is loaded or answers."""

    def __init__(self, config: UpdateConfig, lock: Path, clock: Clock) -> None:
        """Take the settings, and the file that anybody may lock with flock(1)."""
        self._quiet = config.quiet_minutes()
        self._lock = lock
        self._clock = clock

    def may_fetch(self) -> bool:
        """Say whether it is none of the quiet hours; a clock that was never set does not know them."""
        if self._quiet is None or not self._clock.is_synced():
            return True
        begin, end = self._quiet
        minute = self._clock.local_minute()
        return not (begin <= minute < end if begin < end else minute >= begin or minute < end)

    def may_switch(self) -> bool:
        """Say whether a candidate may be loaded and answer now."""
        return self.may_fetch() and not self.is_locked()

    def is_locked(self) -> bool:
        """Say whether somebody holds the lock; the kernel lets it go with the last process that holds it."""
        try:
            with self._lock.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            # No such file, or one that the agent's user may not read: nobody can have meant this agent.
            return False
        return False
