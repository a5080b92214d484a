"""When what could not be done is tried again. Pure, but for the dice, so that no fleet moves in step."""

import random
from typing import Optional

from contract.messages import Problem
from edge_agent.inference.host import SHARED

_FIRST_PAUSE_S = 10.0
_MAX_PAUSE_S = 3600.0
_WITHOUT_EDGETPU_S = 300.0
# Said of the candidate, but not its fault: it waits until the Edge TPU is there. An old runtime is its fault.
_NOT_THE_MODEL = (
    "edgetpu_absent",
    "edgetpu_dead",
    "edgetpu_library_missing",
    "edgetpu_no_driver",
    "edgetpu_no_right",
    "edgetpu_owned",
    "edgetpu_refused",
)
_NO_ROOM = "worker_not_started"


def is_temporary(problem: Problem) -> bool:
    """Say whether it is not the release that failed, but what it needs."""
    return problem.code in (*_NOT_THE_MODEL, SHARED, _NO_ROOM)


def uses_no_attempt(problem: Problem) -> bool:
    """Say whether the release has not even been tried."""
    return problem.code in (*_NOT_THE_MODEL, _NO_ROOM)


class Retry:
    """Growing pauses, from 10 s to an hour, each longer or shorter by up to a half."""

    def __init__(self) -> None:
        self._pause_s = _FIRST_PAUSE_S

    def reset(self) -> None:
        """Something went well, or something else is begun."""
        self._pause_s = _FIRST_PAUSE_S

    def next_pause_s(self, problem: Optional[Problem] = None) -> float:
        """Return how long to wait now; for an Edge TPU, which somebody has to plug in, always as long."""
        if problem is not None and problem.code in _NOT_THE_MODEL:
            return _WITHOUT_EDGETPU_S * random.uniform(0.5, 1.5)
        pause_s, self._pause_s = self._pause_s, min(2 * self._pause_s, _MAX_PAUSE_S)
        return pause_s * random.uniform(0.5, 1.5)


def pause_after_s(attempts: int) -> float:
    """Return how long to wait after a restart: what perhaps took the board down lets it live first."""
    return _FIRST_PAUSE_S * (2.0**attempts - 1)
