"""What the people who look after a device see of it and change on it, beside its models and predictions."""

from pathlib import Path
from typing import Callable, Dict, Iterable, Optional, Tuple

from contract.codec import encode
from contract.messages import Problem
from contract.telemetry import ErrorReport, ShadowResult
from contract.topics import Topics
from edge_agent.clock import Clock
from edge_agent.config import AgentConfig
from edge_agent.events import MessageArrived
from edge_agent.lane import MAIN, Lane
from edge_agent.link import Link
from edge_agent.outgoing.outbox import Outbox
from edge_agent.sensors import Sensors, free_bytes
from edge_agent.tally import Tally
from edge_agent.upkeep.checkup import Checkup, Facts
from edge_agent.upkeep.home_assistant import HomeAssistant
from edge_agent.upkeep.live_config import LiveConfig
from edge_agent.upkeep.orders import OrderDesk
from edge_agent.upkeep.problems import Problems
from edge_agent.upkeep.telemetry import Telegraph


class Operations:
    """Problems, telemetry, live settings, Home Assistant, and orders from the command line.

    Attributes:
        problems: takes what is wrong, from every room.
    """

    def __init__(
        self,
        live: LiveConfig,
        *,
        boot: str,
        clock: Clock,
        link: Link,
        outbox: Outbox,
        tally: Tally,
        lanes: Dict[str, Lane],
        sources: Iterable[str],
        source_problems: Callable[[], Tuple[Problem, ...]],
        shadow: Callable[[], Optional[ShadowResult]],
        workers: Callable[[], Iterable[int]],
        why_not_ready: Callable[[], Optional[str]],
        configure: Callable[[AgentConfig], None],
    ) -> None:
        """Prepare.

        Args:
            live: the configuration in effect.
            boot: the id of this start of the agent.
            clock: the time.
            link: the way to the broker.
            outbox: takes error reports, and is looked at.
            tally: what was answered.
            lanes: the models by name.
            sources: the names in this device's prediction topics.
            source_problems: returns what is wrong with them.
            shadow: returns how a shadow model does.
            workers: returns the process ids of the agent's children.
            why_not_ready: as for /readyz.
            configure: takes a changed configuration to the agent's other rooms.
        """
        config = live.current
        self._live = live
        self._clock = clock
        self._link = link
        self._outbox = outbox
        self._lanes = lanes
        self._state_dir = config.state_dir
        self._source_problems = source_problems
        self._why_not_ready = why_not_ready
        self._configure_others = configure
        self._error_topic = Topics(config.mqtt.base).error(config.device)
        self.problems = Problems(boot, clock, self._tell_error)
        self._checkup = Checkup(self.problems, config.update.reserve_bytes)
        self._telegraph = Telegraph(
            config,
            boot=boot,
            clock=clock,
            link=link,
            tally=tally,
            outbox=outbox.stats,
            problems=self.problems.active,
            workers=workers,
            shadow=shadow,
            sensors=Sensors(),
            edgetpu_celsius=lambda: lanes[MAIN].predictor.edgetpu_celsius,
        )
        self._home_assistant = HomeAssistant(config, sources, link)
        self._orders = OrderDesk(Path(config.state_dir), lanes[MAIN].use)

    def tick(self) -> None:
        """Do what time demands."""
        now_s = self._clock.monotonic_s()
        if self._checkup.is_due(now_s):
            self._checkup.look(self._gather(), now_s)
        self._telegraph.tick()
        self._orders.tick(now_s)

    def connected(self) -> None:
        """Say everything again: it may be another broker."""
        self._live.report(self._link)
        self._home_assistant.connected()
        self._telegraph.connected()

    def order(self, message: MessageArrived) -> None:
        """Take a message on `config/set`; what became of it stands on `config/reported`."""
        self._live.order(message, self._configure)
        self._live.report(self._link)

    def _configure(self, config: AgentConfig) -> None:
        self._configure_others(config)
        self._telegraph.configure(config)
        self._home_assistant.configure(config)

    def _tell_error(self, report: ErrorReport) -> None:
        self._outbox.put(self._error_topic, encode(report))

    def _gather(self) -> Facts:
        lanes = self._lanes.values()
        # What is wrong when loading does not end is told by its lane.
        is_loading = self._lanes[MAIN].predictor.is_restarting
        return Facts(
            is_clock_set=self._clock.is_synced(),
            free_bytes=free_bytes(self._state_dir),
            outbox=self._outbox.stats(),
            is_outbox_saving=self._outbox.is_saving,
            was_outbox_reset=self._outbox.was_reset,
            not_ready="" if is_loading else self._why_not_ready() or "",
            refused=self._refused(),
            stale=tuple(name for name, lane in self._lanes.items() if lane.reporter.check_expiry()),
            others=(
                *self._link.problems(),
                *self._source_problems(),
                *(each for lane in lanes for each in lane.problems()),
            ),
        )

    def _refused(self) -> Dict[str, Problem]:
        errors = {name: lane.reporter.error for name, lane in self._lanes.items()}
        return {name: error for name, error in errors.items() if error is not None}
