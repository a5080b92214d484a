"""The CPU's version of what the Edge TPU runs, kept beside it to be compared with it."""

from typing import Callable

from edge_agent.clock import Clock
from edge_agent.errors import StorageError
from edge_agent.events import WorkerAnswered, WorkerFailed, WorkerReady
from edge_agent.inference.predictor import Predictor
from edge_agent.inference.workers import ModelFiles, Worker
from edge_agent.recovery.standby import Standby
from edge_agent.updates.runnable import choose_fallback
from edge_agent.updates.slots import Slots

_WHY = "compared with the Edge TPU"


class Twin:
    """Follows the active release of a model; one that is not compiled has no twin.

    Attributes:
        predictor: is asked.
    """

    def __init__(
        self, slots: Slots, clock: Clock, predictor: Predictor, start_worker: Callable[[ModelFiles], Worker]
    ) -> None:
        """Prepare.

        Args:
            slots: of the model on the Edge TPU.
            clock: the time.
            predictor: of the twin alone.
            start_worker: starts a process for a release's files.
        """
        self._slots = slots
        self.predictor = predictor
        self._standby = Standby(clock, predictor, start_worker)
        self._release = ""

    def tick(self) -> None:
        """Take over what was installed meanwhile, start again what died."""
        active = self._slots.state.active
        release = active.release if active else ""
        if release != self._release:
            self._release = release
            self.predictor.switch(None)
            self._standby.end()
            self._begin()
        self._standby.tick()

    def ready(self, event: WorkerReady) -> None:
        """Its worker has loaded the model."""
        if self._standby.owns(event.worker):
            self._standby.ready(event)

    def answered(self, event: WorkerAnswered) -> None:
        """Its worker has an answer."""
        self.predictor.answered(event)

    def failed(self, event: WorkerFailed) -> None:
        """Its worker is gone."""
        if self._standby.owns(event.worker):
            self.predictor.lost(event.worker)
            self._standby.failed(event.problem)

    def _begin(self) -> None:
        try:
            manifest = self._slots.release(self._release) if self._release else None
            if manifest is not None and manifest.model.compiled:
                self._standby.begin(choose_fallback(self._slots, manifest, _WHY))
        except StorageError:
            # The model itself has the same trouble, and tells it.
            return
