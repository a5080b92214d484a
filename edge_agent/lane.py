"""One named model: where it is kept, how it gets in, who runs it. A board has a main one, perhaps others."""

import itertools
from pathlib import Path
from typing import Callable, Iterator, Optional, Tuple

from contract.messages import Problem
from edge_agent.clock import Clock
from edge_agent.config import AgentConfig
from edge_agent.disk import Disk
from edge_agent.errors import UpdateError
from edge_agent.events import (
    DeviceReset,
    HeatMeasured,
    WorkerAnswered,
    WorkerFailed,
    WorkerReady,
    WorkerTested,
)
from edge_agent.inference.host import SHARED
from edge_agent.inference.predictor import Predictor, Publish
from edge_agent.link import Link
from edge_agent.recovery.resident import Means, Resident
from edge_agent.updates.choice import choose
from edge_agent.updates.downloader import Downloader
from edge_agent.updates.reporter import Reporter
from edge_agent.updates.slots import Slots
from edge_agent.updates.trust import Trust
from edge_agent.updates.updater import Updater

MAIN = ""
_OTHERS = "models"


class Lane:
    """Everything that belongs to one model, from its folder to its queue. It belongs to the agent's loop.

    Attributes:
        name: MAIN, or what the configuration calls it.
        channel: whose releases it takes.
        predictor: who is asked.
        updater: takes its releases.
        reporter: says where they stand.
        slots: what is installed.
    """

    def __init__(
        self,
        config: AgentConfig,
        name: str,
        *,
        trust: Trust,
        link: Link,
        clock: Clock,
        boot: str,
        publish: Publish,
        may_start: Callable[[], bool],
        means: Means,
        disk: Optional[Disk] = None,
        numbers: Optional[Iterator[int]] = None,
    ) -> None:
        """Open its folder.

        Args:
            config: the agent's, with this lane's own `channel` and `edgetpu`.
            name: MAIN or a name of `models`.
            trust: whose keys count.
            link: the way to the broker.
            clock: the time.
            boot: the id of this start of the agent.
            publish: takes every prediction, and returns it as its asker shall have it.
            may_start: says whether it is this model's turn on the Edge TPU.
            means: how to start workers, and what else helps a model that ails.
            disk: where its folder lies, by default the board's own.
            numbers: gives each report of this boot its own; shared with the other lanes, if there are any.

        Raises:
            StorageError: the folder cannot be used.
        """
        self.name = name
        self.channel = config.channel
        self._clock = clock
        self.slots = slots = Slots(
            Path(config.state_dir) / _OTHERS / name if name else Path(config.state_dir), disk
        )
        self.predictor = predictor = Predictor(config, boot, clock, publish, may_start)
        self.reporter = reporter = Reporter(
            config,
            trust=trust,
            slots=slots,
            link=link,
            clock=clock,
            boot=boot,
            numbers=numbers or itertools.count(1),
            name=name,
        )
        self._downloader = Downloader(config, slots=slots, link=link, clock=clock, reporter=reporter)
        self.updater = Updater(
            config,
            trust=trust,
            slots=slots,
            clock=clock,
            downloader=self._downloader,
            reporter=reporter,
            predictor=predictor,
            start_worker=means.start_worker,
            exchange=lambda: self._resident.exchange(),
        )
        self._resident = Resident(
            config,
            slots=slots,
            clock=clock,
            predictor=predictor,
            reporter=reporter,
            means=means._replace(resume=self.updater.resume),
        )

    def start(self) -> None:
        """Load what is installed, go on with what a restart interrupted."""
        self.slots.recover()
        self._resident.start()
        self.updater.resume()

    def tick(self) -> None:
        """Do what time demands."""
        self._resident.tick()
        self.updater.tick()
        self.predictor.tick()

    def connected(self) -> None:
        """A new connection: ask anew for what is missing, report anew."""
        self.updater.connected()
        self.reporter.send()

    def root_changed(self) -> None:
        """Another root of trust is in force: give up what its keys did not sign."""
        self.updater.root_changed()
        self.reporter.send()

    def use(self, version: Optional[str]) -> None:
        """Make an installed version active, None for the last known good.

        Raises:
            UpdateError: a release is on its way in, or as `choose` says.
        """
        if self.slots.state.candidate is not None:
            raise UpdateError("update_under_way", "a release is on its way in", "wait until it is done")
        chosen = choose(self.slots, version, self._clock.stamp())
        if chosen is self.slots.state:
            return
        self.slots.save(chosen)
        self.reporter.phase("rolled_back")
        self._resident.exchange()

    def ready(self, event: WorkerReady) -> None:
        """One of its workers has loaded its model."""
        if not self.updater.ready(event):
            self._resident.ready(event)

    def tested(self, event: WorkerTested) -> None:
        """One of its workers has run the golden samples."""
        self.updater.tested(event)

    def answered(self, event: WorkerAnswered) -> None:
        """One of its workers has an answer."""
        self._resident.answered(event)
        self.updater.answered(event)
        self.predictor.answered(event)

    def failed(self, event: WorkerFailed) -> None:
        """One of its workers is gone."""
        loss = self.predictor.lost(event.worker, by_itself=event.problem.code != SHARED)
        if not self.updater.failed(event):
            self._resident.failed(event, loss)

    def heat(self, event: HeatMeasured) -> None:
        """The Edge TPU's temperature was read."""
        self._resident.heat(event.edgetpu_celsius)

    def device_reset(self, event: DeviceReset) -> None:
        """The Edge TPU was reset, or could not be."""
        self._resident.device_reset(event)

    def problems(self) -> Tuple[Problem, ...]:
        """Return what is wrong with it now."""
        return (*self._resident.problems(), *self.updater.problems())

    def stop(self) -> None:
        """Let go of what is being received."""
        self._downloader.end()
