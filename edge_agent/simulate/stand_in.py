"""Stands in for the inference process of a simulated device: it takes a while, and does as its orders say."""

from pathlib import Path
from typing import Any, Callable, NamedTuple, Optional

from contract.manifest import ReleaseManifest
from contract.messages import GoldenResult, Problem
from edge_agent.events import Event, WorkerFailed, WorkerReady, WorkerTested
from edge_agent.simulate.loop import Loop

RUNTIME = "simulated"
LOAD_S = 0.02
TEST_S = 0.05
_GOOD = GoldenResult(samples=10, top1_agreement=1.0, max_lsb=0, p95_ms=1.0)
_BAD = GoldenResult(samples=10, top1_agreement=0.0, max_lsb=255, p95_ms=1.0)
_CRASH = Problem("worker_died", "the simulated inference process was told to crash")


class Orders(NamedTuple):
    """What becomes of a model: whether it passes its self-test, and how long it answers before it crashes."""

    passes: bool = True
    crash_after_s: Optional[float] = None


class StandIn:
    """What edge_agent.inference.workers.Worker offers to the rooms of updates and recovery.

    Attributes:
        number: names it in its events.
        is_running: it has not been let go and has not crashed.
    """

    def __init__(
        self,
        number: int,
        manifest: ReleaseManifest,
        orders: Orders,
        loop: Loop,
        post: Callable[[Event], None],
    ) -> None:
        """Begin to load; `WorkerReady` follows."""
        self.number = number
        self.is_running = True
        self._orders = orders
        self._loop = loop
        self._post_event = post
        model = manifest.model
        ready = WorkerReady(number, RUNTIME, "cpu", model.inputs, model.outputs)
        loop.after(LOAD_S, lambda: self._post(ready))
        if orders.crash_after_s is not None:
            loop.after(LOAD_S + TEST_S + orders.crash_after_s, self._crash)

    def test(self, _golden: Path, _timeout_s: float) -> None:
        """Run the golden samples; `WorkerTested` follows."""
        result = _GOOD if self._orders.passes else _BAD
        self._loop.after(TEST_S, lambda: self._post(WorkerTested(self.number, result)))

    def submit(self, *_arguments: Any) -> None:
        """Nobody asks a simulated device."""

    def sample(self, *_arguments: Any) -> None:
        """Nobody asks a simulated device."""

    def resident_bytes(self) -> int:
        """It has no memory of its own."""
        return 0

    def let_go(self) -> None:
        """Leave; no event follows."""
        self.is_running = False

    def _post(self, event: Event) -> None:
        if self.is_running:
            self._post_event(event)

    def _crash(self) -> None:
        self._post(WorkerFailed(self.number, _CRASH))
        self.is_running = False
