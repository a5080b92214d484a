"""Keeps the CPU fallback of a compiled model running while the Edge TPU does not answer."""

import logging
from typing import Callable, Optional

from contract.messages import Problem
from edge_agent.clock import Clock
from edge_agent.errors import AgentError
from edge_agent.events import WorkerReady
from edge_agent.inference.predictor import Predictor, Serving
from edge_agent.inference.runnable_model import RunnableModel
from edge_agent.inference.workers import ModelFiles, Worker

_log = logging.getLogger(__name__)
_FIRST_PAUSE_S = 0.5
_MAX_PAUSE_S = 60.0


class Standby:
    """One process at most, from `begin` to `end`; started again with growing pauses when it dies."""

    def __init__(
        self, clock: Clock, predictor: Predictor, start_worker: Callable[[ModelFiles], Worker]
    ) -> None:
        self._clock = clock
        self._predictor = predictor
        self._start_worker = start_worker
        self._runnable: Optional[RunnableModel] = None
        self._worker: Optional[Worker] = None
        self._failures = 0
        self._pause_s = _FIRST_PAUSE_S
        self._start_at_s = 0.0

    def begin(self, runnable: RunnableModel) -> None:
        """Load a fallback, unless one is there already."""
        if self._runnable is None:
            self._runnable = runnable
            self._failures = 0
            self._pause_s = _FIRST_PAUSE_S
            self._start_at_s = self._clock.monotonic_s()
            self.tick()

    def end(self) -> None:
        """Let it go as soon as it has answered what it was given."""
        if self._worker is not None:
            serving = self._predictor.serving
            if serving is not None and serving.worker is self._worker:
                self._predictor.suspend()
            self._predictor.retire(self._worker)
        self._runnable = self._worker = None

    def owns(self, worker: int) -> bool:
        """Say whether a worker is the fallback's."""
        return self._worker is not None and self._worker.number == worker

    def ready(self, event: WorkerReady) -> None:
        """It is loaded; it answers, unless another does."""
        assert self._worker is not None and self._runnable is not None
        self._failures = 0
        self._pause_s = _FIRST_PAUSE_S
        if self._predictor.serving is None:
            self._predictor.switch(Serving(self._worker, event, self._runnable))

    def failed(self, problem: Problem) -> None:
        """It could not start, or died."""
        self._worker = None
        self._failures += 1
        _log.error("CPU fallback failed (%d): %s: %s", self._failures, problem.code, problem.message)
        self._start_at_s = self._clock.monotonic_s() + self._pause_s
        self._pause_s = min(2 * self._pause_s, _MAX_PAUSE_S)

    def tick(self) -> None:
        """Start it when the pause is over."""
        if self._runnable is None or self._worker is not None:
            return
        if self._clock.monotonic_s() >= self._start_at_s:
            try:
                self._worker = self._start_worker(self._runnable.files)
            except AgentError as error:
                self.failed(error.problem())
