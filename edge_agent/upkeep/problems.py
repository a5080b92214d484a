"""What is wrong now, and since when. Telemetry lists it; each new occurrence is told once on `error`."""

from typing import Callable, Dict, Tuple

from contract.telemetry import ActiveProblem, ErrorReport
from edge_agent.clock import Clock

MAX_PROBLEMS = 32
_TOLD_EVERY_S = 60.0
_MAX_MESSAGE = 1000


class Problems:
    """Set while something is true, cleared when it is not. It belongs to the agent's loop.

    A code that comes and goes is told at most once a minute, and at most 32 codes are kept.
    """

    def __init__(self, boot: str, clock: Clock, tell: Callable[[ErrorReport], None]) -> None:
        """Begin with nothing wrong; `tell` publishes a new occurrence."""
        self._boot = boot
        self._clock = clock
        self._tell = tell
        self._active: Dict[str, ActiveProblem] = {}
        self._told_s: Dict[str, float] = {}

    def set(self, code: str, message: str, hint: str = "") -> None:
        """Say that something is wrong; `code` is one of docs/agent.md. Again is no new occurrence."""
        known = self._active.get(code)
        if known is None and len(self._active) >= MAX_PROBLEMS:
            return
        since = known.since if known else self._clock.stamp()
        self._active[code] = ActiveProblem(code, message[:_MAX_MESSAGE], since)
        if known is None:
            self._tell_new(code, message, hint)

    def clear(self, code: str) -> None:
        """Say that it is not wrong, or no longer."""
        self._active.pop(code, None)

    def active(self) -> Tuple[ActiveProblem, ...]:
        """Return what is wrong now, oldest first."""
        return tuple(self._active.values())

    def _tell_new(self, code: str, message: str, hint: str) -> None:
        now_s = self._clock.monotonic_s()
        if now_s - self._told_s.get(code, now_s - _TOLD_EVERY_S) < _TOLD_EVERY_S:
            return
        self._told_s[code] = now_s
        self._tell(
            ErrorReport(
                ts=self._clock.stamp(),
                boot=self._boot,
                code=code,
                message=message[:_MAX_MESSAGE],
                hint=hint[:_MAX_MESSAGE],
                clock_synced=self._clock.is_synced(),
            )
        )
