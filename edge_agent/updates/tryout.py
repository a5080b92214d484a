"""A candidate in its own process: loaded, tested, warm beside the one that answers, then in its place."""

from typing import Callable, Optional

from contract.manifest import ReleaseManifest
from contract.messages import GoldenResult, Problem
from edge_agent.clock import Clock
from edge_agent.events import Classified, WorkerAnswered, WorkerReady
from edge_agent.inference import thermal
from edge_agent.inference.predictor import Predictor, Serving
from edge_agent.inference.runnable_model import RunnableModel
from edge_agent.inference.workers import ModelFiles, Worker
from edge_agent.updates.trial import Observed, Trial, require_good, require_signature

StartWorker = Callable[[ModelFiles], Worker]


class Tryout:
    """At most one candidate at a time. It belongs to the agent's loop.

    Attributes:
        trial: the rules of its trial, None before it answers.
    """

    def __init__(self, *, clock: Clock, predictor: Predictor, start_worker: StartWorker) -> None:
        """Prepare."""
        self._clock = clock
        self._predictor = predictor
        self._start_worker = start_worker
        self._usual = Observed()
        self._manifest: Optional[ReleaseManifest] = None
        self._runnable: Optional[RunnableModel] = None
        self._worker: Optional[Worker] = None
        self._ready: Optional[WorkerReady] = None
        self._before: Optional[Serving] = None
        self.trial: Optional[Trial] = None

    @property
    def is_under_way(self) -> bool:
        """Whether there is a candidate in a process."""
        return self._worker is not None

    def owns(self, worker: int) -> bool:
        """Say whether a worker is the candidate's."""
        return self._worker is not None and self._worker.number == worker

    def load(self, manifest: ReleaseManifest, runnable: RunnableModel) -> None:
        """Have a process load it; `WorkerReady` or `WorkerFailed` follows.

        Raises:
            ModelError: no process can be started.
        """
        self._manifest, self._runnable = manifest, runnable
        self._worker = self._start_worker(runnable.files)

    def test(self, event: WorkerReady) -> None:
        """It is loaded: run its golden samples; `WorkerTested` or `WorkerFailed` follows.

        Raises:
            ModelError: its tensors are not what its release promises.
        """
        assert self._worker is not None and self._manifest is not None and self._runnable is not None
        self._ready = event
        promised = self._manifest.model.inputs + self._manifest.model.outputs
        require_signature(event.inputs + event.outputs, promised)
        self._worker.test(self._runnable.files.golden, self._manifest.selftest.timeout_s)

    def judge(self, result: GoldenResult) -> None:
        """Look at how its golden samples went.

        Raises:
            ModelError: not as its release promises.
        """
        assert self._manifest is not None
        require_good(result, self._manifest.selftest)

    def switch(self) -> None:
        """Let it answer from now on: its trial begins."""
        assert self._manifest is not None
        self.trial = Trial(self._manifest, self._usual, self._clock.monotonic_s())
        self._answer()

    def restart(self) -> None:
        """It died, and may try on: the one before answers until `go_on`.

        Raises:
            ModelError: no process can be started.
        """
        assert self.trial is not None and self._runnable is not None
        if self._before is not None:
            self._predictor.switch(self._before)
        self.trial.weigh_anew()
        self._worker = self._start_worker(self._runnable.files)

    def go_on(self, event: WorkerReady) -> None:
        """It is loaded again, in the middle of its trial."""
        self._ready = event
        self._answer()

    def answered(self, event: WorkerAnswered) -> Optional[Problem]:
        """Look at an answer before the predictor passes it on; return what is wrong with the candidate."""
        if self.trial is not None and self.owns(event.worker):
            return self.trial.observe(event.result, thermal.is_hot(self._predictor.edgetpu_celsius))
        serving = self._predictor.serving
        is_serving = serving is not None and serving.worker.number == event.worker
        if is_serving and isinstance(event.result, Classified):
            self._usual.add(event.result)
        return None

    def lost(self, worker: int) -> bool:
        """A worker is gone; say whether it was the candidate's."""
        if self._before is not None and self._before.worker.number == worker:
            self._before = None
        if not self.owns(worker):
            return False
        self._worker = self._ready = None
        return True

    def weigh(self) -> Optional[Problem]:
        """Look at the memory of the candidate that answers; return what is wrong with it."""
        if self.trial is None or self._worker is None:
            return None
        return self.trial.weigh(self._worker.resident_bytes())

    def is_over(self) -> bool:
        """Say whether it has answered for long enough, and still does."""
        is_answering = self.trial is not None and self._ready is not None
        return is_answering and self.trial is not None and self._clock.monotonic_s() >= self.trial.until_s

    def forget_before(self) -> None:
        """The one before must not answer again."""
        if self._before is not None:
            if self._is_serving(self._before.worker):
                # The candidate has died, and is being started again.
                self._predictor.suspend()
            self._predictor.retire(self._before.worker)
            self._before = None

    def succeed(self) -> None:
        """It stays; the one before goes."""
        assert self.trial is not None
        self.forget_before()
        self._usual = self.trial.observed
        self._forget()

    def stop(self, has_active: bool) -> None:
        """Give it up; if it was on trial, the one before answers again.

        Args:
            has_active: whether a release is installed: if its process is gone too, it is to be started again.
        """
        if self.trial is not None:
            if self._before is not None or not has_active:
                self._predictor.switch(self._before)
            elif self._is_serving(self._worker):
                self._predictor.suspend()
        if self._worker is not None:
            self._predictor.retire(self._worker)
        self._forget()

    def _answer(self) -> None:
        assert self._worker is not None and self._ready is not None and self._runnable is not None
        self._before = self._predictor.switch(Serving(self._worker, self._ready, self._runnable))

    def _is_serving(self, worker: Optional[Worker]) -> bool:
        serving = self._predictor.serving
        return serving is not None and serving.worker is worker

    def _forget(self) -> None:
        self._manifest = self._runnable = self._worker = self._ready = self._before = self.trial = None
