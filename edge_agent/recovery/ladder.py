"""The recovery ladder: which step follows which fault, how often, and when. Pure: it is told the time.

A step whose budget is used up leads to the next one; when none is left, it waits and looks again. So a fault
that comes back within the window climbs, and one that does not starts at the bottom.
"""

import collections
from dataclasses import dataclass
from enum import Enum
from typing import Deque, Dict, NamedTuple, Optional, Sequence

from contract.messages import Problem

_MINUTE_S = 60.0
_FIRST_PAUSE_S = 0.5
_LOOK_AGAIN_S = 60.0


class Rung(Enum):
    """What can be done, in the order of how much it disturbs."""

    RELOAD_MODEL = "reload the model"
    RELOAD_DELEGATE = "reload the delegate"
    RESTART_WORKER = "restart the worker"
    RESET_DEVICE = "reset the device"
    RESTART_SERVICE = "restart the service"
    LOOK_AGAIN = "wait, then look again"


class Kind(Enum):
    """What was seen. Only the first two leave a process in which something can be loaded again."""

    WRONG = "the model answers nonsense"
    SLOW = "the model is slow"
    LOST = "the model's process hung, died or could not load it"


class Budget(NamedTuple):
    """How many tries are allowed in how many seconds."""

    tries: int
    window_s: float


BUDGETS = {
    Rung.RELOAD_MODEL: Budget(1, 10 * _MINUTE_S),
    Rung.RELOAD_DELEGATE: Budget(1, 10 * _MINUTE_S),
    Rung.RESTART_WORKER: Budget(4, 10 * _MINUTE_S),
    Rung.RESET_DEVICE: Budget(1, 60 * _MINUTE_S),
    Rung.RESTART_SERVICE: Budget(1, 60 * _MINUTE_S),
}
_RUNGS = {
    Kind.WRONG: tuple(BUDGETS),
    # What answers, though slowly, is not stopped together with everything else.
    Kind.SLOW: (Rung.RELOAD_MODEL, Rung.RELOAD_DELEGATE, Rung.RESTART_WORKER, Rung.RESET_DEVICE),
    Kind.LOST: (Rung.RESTART_WORKER, Rung.RESET_DEVICE, Rung.RESTART_SERVICE),
}
_NEEDS_EDGETPU = (Rung.RELOAD_DELEGATE, Rung.RESET_DEVICE)
# No step of ours mends these; somebody plugs, installs or stops something.
_FOR_A_PERSON = (
    "edgetpu_absent",
    "edgetpu_library_missing",
    "edgetpu_no_driver",
    "edgetpu_no_right",
    "edgetpu_owned",
    "edgetpu_runtime_old",
)
_DEAD_CHIP = "edgetpu_dead"
# Whatever else keeps a model from being loaded lies in its files.
_PERHAPS_THE_DEVICE = ("edgetpu_", "worker_", "model_run")


@dataclass(frozen=True)
class Step:
    """What to do next, and the evidence for it.

    Attributes:
        rung: what.
        due_s: when, in monotonic seconds.
        seen_s: when the fault was seen.
        why: the fault.
    """

    rung: Rung
    due_s: float
    seen_s: float
    why: Problem


class Ladder:
    """The recovery of one model."""

    def __init__(self, service_restarted_s: Optional[float] = None, may_restart_service: bool = True) -> None:
        """Begin at the bottom.

        Args:
            service_restarted_s: when the service was last restarted as a step, in monotonic seconds.
            may_restart_service: whether this model is worth that everything else stops with it.
        """
        self._may_restart_service = may_restart_service
        self._tried: Dict[Rung, Deque[float]] = {
            rung: collections.deque(maxlen=budget.tries) for rung, budget in BUDGETS.items()
        }
        if service_restarted_s is not None:
            self._tried[Rung.RESTART_SERVICE].append(service_restarted_s)
        self._has_worked = False
        self._next_pause_s = 0.0

    def worked(self) -> None:
        """The model is loaded and has run."""
        self._has_worked = True
        self._next_pause_s = 0.0

    def forgive(self) -> None:
        """Give the newest try to restart the worker back: the model was not to blame."""
        if self._tried[Rung.RESTART_WORKER]:
            self._tried[Rung.RESTART_WORKER].pop()

    def next(self, kind: Kind, why: Problem, now_s: float, has_edgetpu: bool) -> Step:
        """Return what to do about a fault.

        Args:
            kind: what was seen.
            why: the same in words.
            now_s: monotonic seconds.
            has_edgetpu: whether the model runs on an Edge TPU: there is a delegate and a device then.
        """
        for rung in self._choose(kind, why, has_edgetpu):
            tried = self._tried[rung]
            if len(tried) < BUDGETS[rung].tries or now_s - tried[0] >= BUDGETS[rung].window_s:
                tried.append(now_s)
                return Step(rung, now_s + self._pause_s(rung), now_s, why)
        return Step(Rung.LOOK_AGAIN, now_s + _LOOK_AGAIN_S, now_s, why)

    def _choose(self, kind: Kind, why: Problem, has_edgetpu: bool) -> Sequence[Rung]:
        if why.code in _FOR_A_PERSON:
            return ()
        if why.code == _DEAD_CHIP:
            return (Rung.RESET_DEVICE,)
        if kind is Kind.LOST and not why.code.startswith(_PERHAPS_THE_DEVICE):
            return (Rung.RESTART_WORKER,)
        return tuple(rung for rung in _RUNGS[kind] if self._makes_sense(rung, has_edgetpu))

    def _makes_sense(self, rung: Rung, has_edgetpu: bool) -> bool:
        if rung is Rung.RESTART_SERVICE:
            # A service in which the model never worked would only start into the same again.
            return self._has_worked and self._may_restart_service
        return has_edgetpu or rung not in _NEEDS_EDGETPU

    def _pause_s(self, rung: Rung) -> float:
        """The first try comes at once; a worker that fails again and again gets growing pauses."""
        if rung is not Rung.RESTART_WORKER:
            return 0.0
        pause_s = self._next_pause_s
        self._next_pause_s = min(2 * pause_s + _FIRST_PAUSE_S, _LOOK_AGAIN_S)
        return pause_s
