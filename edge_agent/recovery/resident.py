"""Keeps the installed model answering: loads it at boot, notices when it ails, climbs the recovery ladder.

While a model that runs on the Edge TPU is away, its CPU fallback answers. At last, a model that can never be
loaded gives way to the last known good, or to the first one that was ever installed; so does one whose files
are damaged, until they have been fetched again.
"""

import logging
from pathlib import Path
from typing import Callable, NamedTuple, Optional, Tuple

from contract.manifest import ReleaseManifest
from contract.messages import Problem
from edge_agent.clock import Clock
from edge_agent.config import AgentConfig
from edge_agent.errors import AgentError, ModelError, StorageError
from edge_agent.events import DeviceReset, WorkerAnswered, WorkerFailed, WorkerReady
from edge_agent.inference import thermal
from edge_agent.inference.host import SHARED
from edge_agent.inference.predictor import Loss, Predictor, Serving
from edge_agent.inference.runnable_model import RunnableModel
from edge_agent.inference.workers import ModelFiles, Worker
from edge_agent.recovery.health import Health
from edge_agent.recovery.ladder import Kind, Ladder, Rung, Step
from edge_agent.recovery.restarts import Restarts
from edge_agent.recovery.standby import Standby
from edge_agent.updates.choice import heal, roll_back
from edge_agent.updates.reporter import Reporter
from edge_agent.updates.runnable import choose_fallback, choose_runnable
from edge_agent.updates.slots import Slots
from edge_agent.updates.store import BLOB_DAMAGED, RELEASE_DAMAGED

_log = logging.getLogger(__name__)
_TRIES_BEFORE_ROLL_BACK = 3
_RELOADS = (Rung.RELOAD_MODEL, Rung.RELOAD_DELEGATE)
_DAMAGED = (BLOB_DAMAGED, RELEASE_DAMAGED)


class Means(NamedTuple):
    """What the resident can do to the world.

    Attributes:
        start_worker: starts a process for a release's files.
        reset_device: resets the Edge TPU, `DeviceReset` follows.
        restart_service: ends the agent with a failure, for this reason; None if this model may not do that.
        resume: fetches and tries what was put on its way in.
    """

    start_worker: Callable[[ModelFiles], Worker]
    reset_device: Callable[[], None]
    restart_service: Optional[Callable[[Problem], None]]
    resume: Callable[[], None] = lambda: None


class Resident:
    """The worker of the active slot, from its start to its recovery. It belongs to the agent's loop."""

    def __init__(
        self,
        config: AgentConfig,
        *,
        slots: Slots,
        clock: Clock,
        predictor: Predictor,
        reporter: Reporter,
        means: Means,
    ) -> None:
        self._edgetpu = config.edgetpu
        self._slots = slots
        self._clock = clock
        self._predictor = predictor
        self._reporter = reporter
        self._means = means
        self._restarts = Restarts(Path(config.state_dir))
        self._standby = Standby(clock, predictor, means.start_worker)
        self._ladder = self._build_ladder()
        self._health = Health()
        self._runnable: Optional[RunnableModel] = None
        self._worker: Optional[Worker] = None
        self._leaving: Optional[Worker] = None
        self._release = ""
        self._failures = 0
        self._step: Optional[Step] = None
        self._is_resetting = False
        self._trouble: Optional[Step] = None
        self._celsius: Optional[float] = None

    def start(self) -> None:
        """Load what is installed, if anything is."""
        active = self._slots.state.active
        self._step = None
        if active is None:
            self._predictor.switch(None)
            return
        self._predictor.is_restarting = True
        self._turn_to(active.release)
        try:
            manifest = self._slots.release(active.release)
            self._runnable = choose_runnable(self._slots, manifest, self._edgetpu)
            self._require_living_chip(self._runnable)
            self._worker = self._means.start_worker(self._runnable.files)
        except AgentError as error:
            if error.code not in _DAMAGED or not self._heals(error.problem()):
                self._recover(Kind.LOST, error.problem())

    def exchange(self) -> None:
        """Somebody made another release active: requests wait for it, who served goes."""
        if self._is_another_serving():
            self._predictor.retire(self._predictor.suspend().worker)
        for worker in (self._worker, self._leaving):
            if worker is not None:
                self._predictor.retire(worker)
        self._worker = self._leaving = self._trouble = None
        self._failures = 0
        self._ladder = self._build_ladder()
        self.start()

    def ready(self, event: WorkerReady) -> None:
        """One of its workers is loaded, and answers from now on unless another was installed meanwhile."""
        if self._standby.owns(event.worker):
            self._standby.ready(event)
        if not self.owns(event.worker):
            return
        assert self._worker is not None and self._runnable is not None
        worker, self._worker = self._worker, None
        active = self._slots.state.active
        if self._is_another_serving() or active is None or active.release != self._release:
            self._predictor.retire(worker)
            return
        self._failures = 0
        self._trouble = None
        self._ladder.worked()
        self._health.forget()
        self._predictor.switch(Serving(worker, event, self._runnable))
        self._standby.end()

    def answered(self, event: WorkerAnswered) -> None:
        """Look at what the installed model answers; comes before the predictor passes it on."""
        serving = self._predictor.serving
        if serving is None or serving.worker.number != event.worker or self._standby.owns(event.worker):
            return
        fault = self._health.observe(event.result, serving.model.limit_ms, thermal.is_hot(self._celsius))
        if fault is not None and self._is_installed(serving.model):
            self._health.forget()
            self._recover(fault.kind, fault.why)

    def failed(self, event: WorkerFailed, loss: Loss) -> None:
        """A worker is gone; if it was the installed model's or the fallback's, something is done about it."""
        if loss.by_request:
            # What it did to the process before was not the model's fault either.
            self._ladder.forgive()
        if self._standby.owns(event.worker):
            self._standby.failed(event.problem)
        elif loss.was_serving or self.owns(event.worker):
            self._worker = None
            self._recover(Kind.LOST, event.problem, is_forgiven=loss.by_request)

    def heat(self, celsius: Optional[float]) -> None:
        """The Edge TPU has this temperature; None if it is not told."""
        self._celsius = self._predictor.edgetpu_celsius = celsius
        serving, problem = self._predictor.serving, thermal.find_death(celsius)
        if serving is not None and serving.model.files.edgetpu is not None and problem is not None:
            self._recover(Kind.LOST, problem)

    def device_reset(self, event: DeviceReset) -> None:
        """The Edge TPU has been reset, or could not be: the model is loaded anew in any case."""
        if self._is_resetting:
            self._is_resetting = False
            if event.problem is not None:
                _log.error("%s: %s; %s", event.problem.code, event.problem.message, event.problem.hint)
            self.start()

    def owns(self, worker: int) -> bool:
        """Say whether a worker is being started for the installed model."""
        return self._worker is not None and self._worker.number == worker

    def problems(self) -> Tuple[Problem, ...]:
        """Return what is wrong now: with the installed model, and with the Edge TPU's temperature."""
        heat = thermal.find_problem(self._celsius) if self._edgetpu is not None else None
        return (*((_describe(self._trouble),) if self._trouble else ()), *((heat,) if heat else ()))

    def tick(self) -> None:
        """Take the next step when it is due, and see to it that something is under way at all."""
        self._standby.tick()
        now_s = self._clock.monotonic_s()
        if self._is_another_serving():
            self._step = None
            if self._trouble is not None and now_s >= self._trouble.due_s:
                self._trouble = None
        elif self._step is not None:
            if now_s >= self._step.due_s and not self._is_leaving():
                self._take(self._step)
        elif self._worker is None and not self._is_resetting and self._is_wanted():
            self.start()

    def _recover(self, kind: Kind, why: Problem, is_forgiven: bool = False) -> None:
        """Choose a step, let the fallback answer meanwhile; `tick` takes the step.

        Args:
            kind: what was seen.
            why: the same in words.
            is_forgiven: it was not the model's fault, and uses up no try.
        """
        if self._rolls_back(kind, why):
            return
        now_s = self._clock.monotonic_s()
        manifest = self._compiled_manifest()
        if is_forgiven or why.code == SHARED:
            step = Step(Rung.RESTART_WORKER, now_s, now_s, why)
        else:
            step = self._ladder.next(kind, why, now_s, has_edgetpu=manifest is not None)
        self._trouble = step
        _log.error("%s; %s", _describe(step).message, why.hint)
        if step.rung is Rung.LOOK_AGAIN and kind is not Kind.LOST and (kind is Kind.SLOW or manifest is None):
            # Bad answers are better than none.
            return
        self._step = step
        self._suspend(step.rung)
        if manifest is not None:
            self._begin_standby(manifest, why)

    def _suspend(self, rung: Rung) -> None:
        """Give the serving worker nothing more to do; it is kept if something is to be loaded in it again."""
        if not self._is_another_serving():
            return
        serving = self._predictor.suspend()
        self._leaving = serving.worker
        if rung in _RELOADS:
            self._runnable = serving.model
        else:
            self._predictor.retire(serving.worker)

    def _turn_to(self, release: str) -> None:
        """The fallback of another release does not answer for this one."""
        if release != self._release:
            self._standby.end()
            self._release = release

    def _begin_standby(self, manifest: ReleaseManifest, why: Problem) -> None:
        assert self._slots.state.active is not None
        self._turn_to(self._slots.state.active.release)
        try:
            self._standby.begin(choose_fallback(self._slots, manifest, f"{why.code}: {why.message}"))
        except StorageError as error:
            _log.error("no CPU fallback: %s", error.message)

    def _take(self, step: Step) -> None:
        self._step = None
        if step.rung in _RELOADS and self._leaving is not None:
            self._worker, self._leaving = self._leaving, None
            self._worker.reload(keep_delegate=step.rung is Rung.RELOAD_MODEL)
        elif step.rung is Rung.RESET_DEVICE:
            self._is_resetting = True
            self._means.reset_device()
        elif step.rung is Rung.RESTART_SERVICE:
            self._restart_service(step)
        else:
            self.start()

    def _restart_service(self, step: Step) -> None:
        try:
            self._restarts.note(self._clock.monotonic_s())
        except StorageError as error:
            _log.error("not restarted: %s", error.message)
            self.start()
            return
        assert self._means.restart_service is not None, "a step that this model may not take"
        self._means.restart_service(_describe(step))

    def _rolls_back(self, kind: Kind, why: Problem) -> bool:
        """Count a failure of the model itself; after three in a row the last known good is back."""
        is_hardware = why.code.startswith(("edgetpu_", "worker_")) and self._compiled_manifest() is not None
        if kind is not Kind.LOST or is_hardware:
            return False
        self._failures += 1
        if self._failures < _TRIES_BEFORE_ROLL_BACK:
            return False
        try:
            state = roll_back(self._slots, why, self._clock.stamp())
            if state is None:
                return False
            self._slots.save(state)
        except StorageError as error:
            _log.error("cannot roll back: %s", error.message)
            return False
        _log.error("rolled back: %s: %s", why.code, why.message)
        self._failures = 0
        self._ladder = self._build_ladder()
        self._reporter.rolled_back(why)
        return True

    def _heals(self, why: Problem) -> bool:
        """A damaged release is fetched and tried anew; say whether another one answers meanwhile."""
        before = self._slots.state
        state = heal(self._slots, self._clock.stamp())
        if state == before:
            return False
        try:
            self._slots.save(state)
        except StorageError as error:
            _log.error("cannot heal: %s", error.message)
            return False
        self._means.resume()
        self._failures = 0
        if state.active == before.active:
            return False
        _log.error("the active release is damaged, the next best answers: %s", why.message)
        self._reporter.rolled_back(why)
        self.start()
        return True

    def _build_ladder(self) -> Ladder:
        restarted_s = self._restarts.last_s(self._clock.monotonic_s())
        return Ladder(restarted_s, may_restart_service=self._means.restart_service is not None)

    def _compiled_manifest(self) -> Optional[ReleaseManifest]:
        """Return the installed release if it is for the Edge TPU that this device has."""
        active = self._slots.state.active
        if self._edgetpu is None or active is None:
            return None
        try:
            manifest = self._slots.release(active.release)
        except StorageError:
            return None
        return manifest if manifest.model.compiled else None

    def _require_living_chip(self, runnable: RunnableModel) -> None:
        problem = thermal.find_death(self._celsius)
        if runnable.files.edgetpu is not None and problem is not None:
            raise ModelError(problem.code, problem.message, problem.hint)

    def _is_wanted(self) -> bool:
        """Say whether there is a model to start, which does not answer."""
        return self._predictor.is_restarting or self._predictor.serving is not None

    def _is_another_serving(self) -> bool:
        """Say whether somebody other than the fallback answers."""
        serving = self._predictor.serving
        return serving is not None and not self._standby.owns(serving.worker.number)

    def _is_installed(self, model: RunnableModel) -> bool:
        """Say whether this is the active release, not one on trial."""
        active = self._slots.state.active
        try:
            if active is None:
                return False
            installed = choose_runnable(self._slots, self._slots.release(active.release), self._edgetpu)
            return model.files == installed.files
        except StorageError:
            return True

    def _is_leaving(self) -> bool:
        """Say whether the old worker must be waited for; a new one would share its process."""
        is_reload = self._step is not None and self._step.rung in _RELOADS
        return not is_reload and self._leaving is not None and self._leaving.is_running


def _describe(step: Step) -> Problem:
    """Say what was seen, and which step follows."""
    return Problem(step.why.code, f"{step.why.message[:900]}; next: {step.rung.value}", step.why.hint)
