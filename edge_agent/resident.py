"""Keeps a worker running for the installed model: at boot, after a crash, at last on the last known good."""

import logging
from dataclasses import replace
from typing import Callable, Optional

from contract.messages import Problem
from edge_agent.clock import Clock
from edge_agent.config import AgentConfig
from edge_agent.errors import AgentError, StorageError
from edge_agent.events import WorkerReady
from edge_agent.predictor import Predictor, Serving
from edge_agent.reporter import Reporter
from edge_agent.runnable import RunnableModel, choose_runnable
from edge_agent.slots import Slots
from edge_agent.workers import ModelFiles, Worker

_log = logging.getLogger(__name__)
_FIRST_PAUSE_S = 0.5
_MAX_PAUSE_S = 60.0
_TRIES_BEFORE_ROLL_BACK = 3


class Resident:
    """Starts the worker of the active slot again and again, with growing pauses."""

    def __init__(
        self,
        config: AgentConfig,
        *,
        slots: Slots,
        clock: Clock,
        predictor: Predictor,
        reporter: Reporter,
        start_worker: Callable[[ModelFiles], Worker],
    ) -> None:
        self._edgetpu = config.edgetpu
        self._slots = slots
        self._clock = clock
        self._predictor = predictor
        self._reporter = reporter
        self._start_worker = start_worker
        self._runnable: Optional[RunnableModel] = None
        self._worker: Optional[Worker] = None
        self._release = ""
        self._failures = 0
        self._start_at_s: Optional[float] = None

    def start(self) -> None:
        """Load what is installed, if anything is."""
        active = self._slots.state.active
        self._start_at_s = None
        if active is None:
            self._predictor.switch(None)
            return
        self._predictor.is_restarting = True
        self._release = active.release
        try:
            manifest = self._slots.release(active.release)
            self._runnable = choose_runnable(self._slots, manifest, self._edgetpu)
            self._worker = self._start_worker(self._runnable.files)
        except AgentError as error:
            self.failed(error.problem())

    def ready(self, event: WorkerReady) -> None:
        """Its worker has loaded the model, which then answers, unless another was installed meanwhile."""
        worker = self._worker
        if worker is None or worker.number != event.worker:
            return
        self._worker = None
        self._failures = 0
        active = self._slots.state.active
        if active is None or active.release != self._release:
            self._predictor.retire(worker)
            return
        assert self._runnable is not None
        self._predictor.switch(Serving(worker, event, self._runnable))

    def failed(self, problem: Problem) -> None:
        """The installed model's worker could not start, or died while it served."""
        self._worker = None
        self._failures += 1
        _log.error("installed model failed (%d): %s: %s", self._failures, problem.code, problem.message)
        if self._failures >= _TRIES_BEFORE_ROLL_BACK:
            self._roll_back(problem)
        pause_s = min(_FIRST_PAUSE_S * 2.0 ** (self._failures - 1), _MAX_PAUSE_S)
        self._start_at_s = self._clock.monotonic_s() + pause_s

    def owns(self, worker: int) -> bool:
        """Say whether a worker is being started for the installed model."""
        return self._worker is not None and self._worker.number == worker

    def stop(self) -> None:
        """Stop a worker that is still loading."""
        if self._worker is not None:
            self._worker.stop()

    def tick(self) -> None:
        """Start again when the pause is over."""
        if self._start_at_s is not None and self._clock.monotonic_s() >= self._start_at_s:
            self.start()

    def _roll_back(self, problem: Problem) -> None:
        state = self._slots.state
        if state.last_known_good is None:
            return
        self._failures = 0
        try:
            self._slots.save(replace(state, active=state.last_known_good, last_known_good=None))
        except StorageError as error:
            _log.error("cannot roll back: %s", error.message)
            return
        self._reporter.error = problem
        self._reporter.phase("rolled_back")
