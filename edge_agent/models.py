"""All models of this device: the main one, others by name, a shadow; they share workers and the Edge TPU."""

import functools
import itertools
import math
from dataclasses import replace
from typing import Any, Callable, Dict, Iterable, List, Optional, TypeVar, Union

from contract.messages import Prediction, Problem
from contract.telemetry import ShadowResult
from contract.topics import Topics
from edge_agent.clock import Clock
from edge_agent.config import SHADOW, AgentConfig, ShadowConfig
from edge_agent.events import (
    DeviceReset,
    HeatMeasured,
    InferenceAsked,
    MessageArrived,
    RestartAsked,
    WorkerAnswered,
    WorkerFailed,
    WorkerReady,
    WorkerTested,
)
from edge_agent.inference.host import Host
from edge_agent.inference.pool import WorkerPool
from edge_agent.inference.predictor import Predictor, Publish, Serving
from edge_agent.inference.turns import Turns
from edge_agent.inference.workers import ModelFiles, Worker
from edge_agent.lane import MAIN, Lane
from edge_agent.learning.shadow import Shadow
from edge_agent.learning.twin import Twin
from edge_agent.link import Link
from edge_agent.recovery.resident import Means
from edge_agent.recovery.thermometer import Thermometer
from edge_agent.sensors import BOARD, Sensors
from edge_agent.updates.trust import Trust

Handler = Callable[[Any], None]
T = TypeVar("T")


class Models:
    """The lanes by name. They belong to the agent's loop.

    Attributes:
        lanes: every lane by its name.
        main: the one that is meant when no name is given.
        handlers: what takes each kind of event that is theirs.
        pool: their inference processes.
    """

    def __init__(
        self,
        config: AgentConfig,
        *,
        trust: Trust,
        link: Link,
        clock: Clock,
        boot: str,
        publish: Publish,
        on_disagreement: Callable[[Prediction], None],
        post: Callable[[Any], None],
        spare: Optional[Host] = None,
    ) -> None:
        """Open every lane's folder.

        Args:
            config: which models there are.
            trust: whose keys count.
            link: the way to the broker.
            clock: the time.
            boot: the id of this start of the agent.
            publish: takes every prediction but the shadow's, and returns it as its asker shall have it.
            on_disagreement: takes the main model's prediction when the shadow model saw something else.
            post: takes events, from other threads; must not block.
            spare: a prepared inference process.

        Raises:
            StorageError: a folder cannot be used.
        """
        self._limits = config.inference
        self._topics = topics = Topics(config.mqtt.base)
        self._clock = clock
        self._post = post
        self.pool = WorkerPool(post, spare=spare)
        self._thermometer = Thermometer(post, Sensors())
        self._turns = Turns()
        numbers = itertools.count(1)
        means = Means(self._start_worker, self.pool.reset_device, lambda why: post(RestartAsked(why)))
        self.lanes: Dict[str, Lane] = {
            name: Lane(
                own,
                name,
                trust=trust,
                link=link,
                clock=clock,
                boot=boot,
                numbers=numbers,
                publish=_ignore if name == SHADOW else publish,
                may_start=functools.partial(self._may_start, name),
                # What never answers must not stop those that do.
                means=means._replace(restart_service=None) if name == SHADOW else means,
            )
            for name, own in _split(config).items()
        }
        self.main = self.lanes[MAIN]
        self._by_order = {topics.channel_desired(lane.channel): lane for lane in self.lanes.values()}
        self._twin: Optional[Twin] = None
        if config.shadow is not None and config.shadow.channel is None:
            predictor = Predictor(config, boot, clock, _ignore)
            self._twin = Twin(self.main.slots, clock, predictor, self._start_worker)
        self._shadow = self._open_shadow(config.shadow, on_disagreement)
        everyone: List[Union[Lane, Twin]] = [*self.lanes.values(), *([self._twin] if self._twin else [])]
        self.handlers: Dict[type, Handler] = {
            WorkerReady: _tell(everyone, lambda each, event: each.ready(event)),
            WorkerTested: _tell(self.lanes.values(), lambda each, event: each.tested(event)),
            WorkerAnswered: _tell(everyone, lambda each, event: each.answered(event)),
            WorkerFailed: _tell(everyone, lambda each, event: each.failed(event)),
            HeatMeasured: _tell(self.lanes.values(), lambda each, event: each.heat(event)),
            DeviceReset: _tell(self.lanes.values(), lambda each, event: each.device_reset(event)),
        }

    @property
    def orders(self) -> List[str]:
        """The topics of the channels whose releases they take, sorted."""
        return sorted(self._by_order)

    @property
    def channels(self) -> Dict[str, str]:
        """The channel of each model beside the main one, by name."""
        return {name: lane.channel for name, lane in self.lanes.items() if name != MAIN}

    @property
    def servings(self) -> Dict[str, Serving]:
        """Who answers clients now, by name; may be read from any thread."""
        found = {name: lane.predictor.serving for name, lane in self.lanes.items() if name != SHADOW}
        return {name: serving for name, serving in found.items() if serving is not None}

    @property
    def queue_length(self) -> int:
        """How many requests wait; may be read from any thread."""
        return sum(lane.predictor.queue_length for lane in self.lanes.values())

    @property
    def shadow_result(self) -> Optional[ShadowResult]:
        """How the shadow model does, if there is one."""
        return self._shadow.result if self._shadow else None

    def start(self) -> None:
        """Load what is installed."""
        self._thermometer.start()
        for lane in self.lanes.values():
            lane.start()

    def tick(self) -> None:
        """Do what time demands."""
        for lane in self.lanes.values():
            lane.tick()
        if self._twin is not None:
            self._twin.tick()

    def rest_s(self) -> float:
        """Return how long until `tick` is needed at the latest."""
        return min((lane.predictor.rest_s() for lane in self.lanes.values()), default=math.inf)

    def stop(self) -> None:
        """Leave nothing running."""
        for lane in self.lanes.values():
            lane.stop()
        self._thermometer.stop()
        self.pool.stop()

    def ask(self, asked: InferenceAsked) -> None:
        """Pass a request on to the model that is meant."""
        lane = self.lanes.get(asked.model)
        if lane is None or lane.name == SHADOW:
            asked.answer(_unknown(asked.model))
        elif lane is self.main and self._shadow is not None:
            lane.predictor.ask(self._shadow.watch(asked))
        else:
            lane.predictor.ask(asked)

    def connected(self) -> None:
        """A new connection: ask anew for what is missing, report anew."""
        for lane in self.lanes.values():
            lane.connected()

    def root_changed(self) -> None:
        """Another root of trust is in force."""
        for lane in self.lanes.values():
            lane.root_changed()

    def take(self, message: MessageArrived) -> None:
        """Take a channel's release, or else a chunk."""
        lane = self._by_order.get(message.topic)
        if lane is not None:
            lane.updater.desired(message, is_own=False)
            return
        message.acknowledge()
        for lane in self.lanes.values():
            lane.updater.chunk(message)

    def unreadable(self, topic: str) -> None:
        """The broker does not let us read a topic."""
        for lane in self.lanes.values():
            lane.updater.unreadable(topic)

    def _start_worker(self, files: ModelFiles) -> Worker:
        return self.pool.start(files, self._limits)

    def _may_start(self, name: str) -> bool:
        loads = {each.name: each.predictor.edgetpu_load() for each in self.lanes.values()}
        on_chip = {other: load for other, load in loads.items() if load is not None}
        return self._turns.may_start(name, on_chip, self._clock.monotonic_s())

    def _open_shadow(
        self, config: Optional[ShadowConfig], on_disagreement: Callable[[Prediction], None]
    ) -> Optional[Shadow]:
        if config is None:
            return None
        return Shadow(
            config,
            main=self.main.predictor,
            shadow=(self._twin or self.lanes[SHADOW]).predictor,
            clock=self._clock,
            read_temperature=lambda: Sensors().hottest_celsius(BOARD),
            on_disagreement=on_disagreement,
        )


def _split(config: AgentConfig) -> Dict[str, AgentConfig]:
    """Return each model's own settings: those of the agent, with the model's channel."""
    alone = replace(config, models={}, shadow=None, sources={})
    found = {MAIN: alone}
    found.update({name: replace(alone, channel=model.channel) for name, model in config.models.items()})
    if config.shadow is not None and config.shadow.channel is not None:
        # It never takes the Edge TPU from those that answer.
        found[SHADOW] = replace(alone, channel=config.shadow.channel, edgetpu=None)
    return found


def _tell(everyone: Iterable[T], step: Callable[[T, Any], None]) -> Handler:
    """Return a handler that offers an event to all of them; each ignores what is about another's workers."""

    def handle(event: Any) -> None:
        for each in everyone:
            step(each, event)

    return handle


def _ignore(prediction: Prediction, _asked: InferenceAsked) -> Prediction:
    """What a shadow model thinks is nobody's news."""
    return prediction


def _unknown(name: str) -> Problem:
    return Problem(
        "unknown_model", f"this device has no model {name[:100]!r}", "see `models` in its configuration"
    )
