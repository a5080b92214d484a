"""Whether a model that answers does so well: errors in a row, and the newest latencies. Pure."""

import collections
import statistics
from typing import Deque, NamedTuple, Optional, Union

from contract.messages import Problem
from edge_agent.events import Classified
from edge_agent.recovery.ladder import Kind

_ERRORS = ("model_run", "model_not_finite")
_ERRORS_IN_A_ROW = 3
_NEWEST = 20


class Fault(NamedTuple):
    """What the answers show."""

    kind: Kind
    why: Problem


class Health:
    """Watches the answers of one model."""

    def __init__(self) -> None:
        self._errors = 0
        self._latencies_ms: Deque[float] = collections.deque(maxlen=_NEWEST)

    def forget(self) -> None:
        """Begin anew; what was before says nothing about what is loaded now."""
        self._errors = 0
        self._latencies_ms.clear()

    def observe(self, result: Union[Classified, Problem], limit_ms: float, is_hot: bool) -> Optional[Fault]:
        """Look at one more answer; return the fault that shows by it.

        Args:
            result: what the worker found.
            limit_ms: what half of the inferences must stay below.
            is_hot: the chip is slow because it is hot, which is no fault.
        """
        if isinstance(result, Problem):
            return self._count(result)
        self._errors = 0
        self._latencies_ms.append(result.inference_ms)
        median_ms = statistics.median(self._latencies_ms)
        if is_hot or len(self._latencies_ms) < _NEWEST or median_ms <= limit_ms:
            return None
        return Fault(
            Kind.SLOW,
            Problem(
                "model_slow",
                f"half of the newest inferences took {median_ms:.1f} ms or more, {limit_ms:g} allowed",
                "look at the load and the temperature of the board",
            ),
        )

    def _count(self, problem: Problem) -> Optional[Fault]:
        if problem.code not in _ERRORS:
            return None
        self._errors += 1
        return Fault(Kind.WRONG, problem) if self._errors >= _ERRORS_IN_A_ROW else None
