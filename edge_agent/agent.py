"""The agent: one loop over one mailbox. Read `run` first, then `_handle`; everything else is a room below."""

import logging
import platform
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Dict, Optional, Tuple, Union

from contract import __version__
from contract.codec import decode, encode
from contract.errors import MessageError
from contract.learning import Feedback, Sample
from contract.messages import MAX_IMAGE_BYTES, DeviceInfo, Prediction, Problem
from contract.stamps import format_time
from contract.topics import OFFLINE, ONLINE, Topics
from contract.trust import Root
from edge_agent.clock import Clock
from edge_agent.config import AgentConfig
from edge_agent.errors import ModelError
from edge_agent.events import (
    Connected,
    Delivered,
    Disconnected,
    Event,
    FeedbackGiven,
    InferenceAsked,
    MessageArrived,
    RestartAsked,
    StopAsked,
    SubscriptionAnswered,
    WorkerAnswered,
    WorkerSampled,
)
from edge_agent.inference.host import Host
from edge_agent.learning.memory import Seen
from edge_agent.learning.sampler import Sampler
from edge_agent.link import Link
from edge_agent.lock import lock_folder
from edge_agent.mailbox import Mailbox
from edge_agent.models import Models
from edge_agent.outgoing.outbox import Outbox
from edge_agent.outgoing.publisher import Publisher
from edge_agent.outgoing.sender import Sender
from edge_agent.serving.metrics import State
from edge_agent.serving.mqtt_requests import MqttRequests
from edge_agent.serving.server import Server
from edge_agent.source_config import BUILT_IN
from edge_agent.sources.watch import Sources
from edge_agent.tally import Tally
from edge_agent.updates.trust import Trust
from edge_agent.upkeep.command_desk import CommandDesk
from edge_agent.upkeep.live_config import LiveConfig
from edge_agent.upkeep.operations import Operations
from edge_agent.upkeep.watchdog import NOBODY, Supervisor, Watchdog

_log = logging.getLogger(__name__)
_TICK_S = 0.25
# What a client waits for goes before our notes about it, which are then made for many at once.
_ON_THE_WAY = (InferenceAsked, WorkerAnswered, Delivered)
_NOTES_S = 0.02
_MAILBOX_ROOM = 64


class Agent:
    """One device. Built from a checked configuration and a verified root; `run` returns after `StopAsked`.

    Attributes:
        mailbox: takes events from any thread.
        models: everything that answers.
    """

    def __init__(
        self,
        config: AgentConfig,
        root: Root,
        clock: Optional[Clock] = None,
        spare: Optional[Host] = None,
        supervisor: Supervisor = NOBODY,
    ) -> None:
        """Build every room.

        Args:
            config: the settings.
            root: the root of trust that the board was enrolled with.
            clock: the time.
            spare: an inference process that was started while this program was still being imported.
            supervisor: who restarts the agent when it hangs.

        Raises:
            AgentError: the state folder, the HTTP token or the configuration cannot be used.
        """
        self._clock = clock = clock or Clock()
        self._topics = Topics(config.mqtt.base)
        self._boot = clock.new_id()
        self._lock = lock_folder(Path(config.state_dir))
        live = LiveConfig(config, clock)
        self._config = config = live.current
        self.mailbox = Mailbox(_MAILBOX_ROOM)
        self._link = Link(config.mqtt, config.device, self.mailbox)
        self._outbox = Outbox(Path(config.state_dir) / "outbox.db", config.outbox, clock.monotonic_s)
        self._sender = Sender(self._outbox, self._link, config.outbox.in_flight)
        self._publisher = Publisher(config, link=self._link, clock=clock, keep=self._keep)
        self._tally = Tally(clock.monotonic_s)
        self._trust = trust = Trust(config, root, self._link)
        self.models = models = Models(
            config,
            trust=trust,
            link=self._link,
            clock=clock,
            boot=self._boot,
            publish=self._publisher.publish,
            on_disagreement=lambda prediction: self._sampler.disagreed(prediction),
            post=self.mailbox.put,
            spare=spare,
        )
        self._commands = CommandDesk(
            config,
            trust=trust,
            link=self._link,
            clock=clock,
            main=models.main,
            restart=lambda why: self.mailbox.put(RestartAsked(why)),
        )
        self._sampler = Sampler(
            config,
            boot=self._boot,
            clock=clock,
            tally=self._tally,
            prepare=self._prepare,
            keep=self._keep_sample,
        )
        self._requests = MqttRequests(config, self._link, self._tally.count)
        self._sources = Sources(config, self.mailbox.offer, self._tally.count_skip)
        self._operations = Operations(
            live,
            boot=self._boot,
            clock=clock,
            link=self._link,
            outbox=self._outbox,
            tally=self._tally,
            lanes=models.lanes,
            sources=_source_names(config),
            source_problems=self._sources.problems,
            shadow=lambda: models.shadow_result,
            workers=models.pool.pids,
            why_not_ready=self._why_not_ready,
            configure=self._configure,
        )
        self._server = Server(
            config.http,
            self.mailbox.offer,
            state=self._state,
            why_not_ready=self._why_not_ready,
            tally=self._tally,
        )
        self._watchdog = Watchdog(supervisor, clock.monotonic_s, self._find_wedged)
        self._http = ""
        self._due_s = 0.0
        self._told_runtime = ""
        self._handlers: Dict[type, Callable[[Any], None]] = {
            **models.handlers,
            InferenceAsked: self._ask,
            WorkerSampled: self._sampler.sampled,
            FeedbackGiven: lambda event: self._sampler.hear(event.feedback),
            Connected: self._on_connected,
            Disconnected: self._on_disconnected,
            MessageArrived: self._on_message,
            SubscriptionAnswered: self._on_subscription,
            Delivered: self._sender.delivered,
        }

    def run(self) -> None:
        """Serve until somebody asks to stop; then tell everyone, save everything, leave nothing running.

        Raises:
            ModelError: only a new start of the whole program may help.
        """
        self._start()
        try:
            while True:
                event = self.mailbox.get(self._patience_s())
                if isinstance(event, StopAsked):
                    return
                if isinstance(event, RestartAsked):
                    problem = event.problem
                    raise ModelError(problem.code, problem.message, problem.hint)
                if event is not None:
                    self._handle(event)
                self._tick_if_due(event)
        finally:
            self._stop()

    def _start(self) -> None:
        if self._config.http.enabled:
            self._http = self._server.start()
            _log.info("serving on %s", self._http)
        self.models.start()
        self._link.start()
        self._sources.start()
        self._watchdog.ready()

    def _handle(self, event: Event) -> None:
        self._handlers[type(event)](event)

    def _ask(self, asked: InferenceAsked) -> None:
        def answer(result: Union[Prediction, Problem]) -> None:
            self._tally.count(asked.source, result)
            asked.answer(result)
            self._sampler.see(asked, result)

        top_k = asked.top_k or self._config.inference.top_k
        self.models.ask(asked._replace(top_k=top_k, answer=answer))

    def _patience_s(self) -> float:
        """Return how long the loop may wait for an event."""
        return max(0.0, min(self._due_s - self._clock.monotonic_s(), self.models.rest_s()))

    def _tick_if_due(self, event: Optional[Event]) -> None:
        now_s = self._clock.monotonic_s()
        self._due_s = min(self._due_s, now_s + (_NOTES_S if isinstance(event, _ON_THE_WAY) else 0.0))
        if now_s >= self._due_s:
            self._due_s = now_s + _TICK_S
            self._tick()

    def _tick(self) -> None:
        self.models.tick()
        if self._runtime() != self._told_runtime:
            self._tell_info()
        self._publisher.tick()
        self._operations.tick()
        self._outbox.tick(self._clock.monotonic_s())
        self._sender.send()
        self._watchdog.tick()

    def _find_wedged(self) -> str:
        """Say what hangs although it has means of its own not to."""
        if self._link.is_wedged:
            return "the connection's thread"
        return "an inference process's thread" if self.models.pool.is_wedged() else ""

    def _stop(self) -> None:
        self._watchdog.stopping()
        self._sources.stop()
        self._server.stop()
        self._publisher.flush()
        self._say_goodbye()
        self._link.stop()
        self.models.stop()
        self._outbox.close()
        self._lock.close()

    def _say_goodbye(self) -> None:
        device = self._config.device
        stopped = replace(self._info(), stopped=self._clock.stamp())
        self._link.publish(self._topics.info(device), encode(stopped), retain=True)
        self._link.publish(self._topics.status(device), OFFLINE, retain=True)

    def _configure(self, config: AgentConfig) -> None:
        """Go on with other settings; only some change while the agent runs."""
        self._config = config
        self._publisher.configure(config)
        self._sampler.configure(config)

    def _keep(self, prediction: Prediction) -> None:
        topic = self._topics.prediction(prediction.device, prediction.source)
        self._outbox.put(topic, encode(prediction))

    def _on_connected(self, _event: Connected) -> None:
        _log.info("connected to %s:%d", self._config.mqtt.host, self._config.mqtt.port)
        device = self._config.device
        self._sender.reset()
        # Who may sign is heard before what is signed.
        self._trust.connected()
        self._hear_releases()
        self._link.subscribe([self._topics.infer(device), self._commands.topic])
        self._link.subscribe([self._topics.config_set(device), self._topics.feedback(device)])
        self._link.subscribe([self._topics.status(device)])
        self._tell_info()
        self.models.connected()
        self._operations.connected()
        self._publisher.connected()
        self._link.publish(self._topics.status(device), ONLINE, retain=True)

    def _hear_releases(self) -> None:
        """Have the broker say what it retains, again if it has before."""
        # Its own release is heard before the channel's, which it overrides.
        self._link.subscribe([self._topics.model_desired(self._config.device)])
        self._link.subscribe(self.models.orders)

    def _on_disconnected(self, event: Disconnected) -> None:
        _log.warning("no broker: %s", event.reason)
        self._sender.reset()

    def _on_message(self, message: MessageArrived) -> None:
        device = self._config.device
        if message.topic == self._topics.infer(device):
            message.acknowledge()
            asked = self._requests.read(message, self._clock.monotonic_s())
            if asked is not None:
                self._ask(asked)
        elif message.topic == self._topics.feedback(device):
            self._on_feedback(message)
        elif message.topic == self._topics.config_set(device):
            self._operations.order(message)
        elif message.topic == self._topics.status(device):
            self._on_presence(message)
        elif message.topic == self._commands.topic:
            self._commands.take(message)
        elif self._trust.is_about(message.topic):
            self._on_trust(message)
        elif message.topic == self._topics.model_desired(device):
            self.models.main.updater.desired(message, is_own=True)
            if not message.payload:
                # No release of its own any more: hear what the channel has.
                self._link.subscribe([self._topics.channel_desired(self._config.channel)])
        else:
            self.models.take(message)

    def _on_trust(self, message: MessageArrived) -> None:
        if self._trust.take(message):
            # Under the new root a release may be let in that was refused, or the other way round.
            self.models.root_changed()
            self._hear_releases()

    def _on_presence(self, message: MessageArrived) -> None:
        message.acknowledge()
        if message.payload == OFFLINE and not message.retained:
            # The last will of a connection that we had before; the broker has noticed its end only now.
            self._link.publish(self._topics.status(self._config.device), ONLINE, retain=True)

    def _on_feedback(self, message: MessageArrived) -> None:
        message.acknowledge()
        try:
            self._sampler.hear(decode(Feedback, message.payload))
        except MessageError as error:
            _log.warning("feedback dropped: %s", error)

    def _prepare(self, seen: Seen, key: int) -> None:
        serving = self.models.lanes[seen.model].predictor.serving
        if serving is not None:
            serving.worker.sample(key, seen.kind, seen.payload, MAX_IMAGE_BYTES)

    def _keep_sample(self, sample: Sample) -> None:
        self._outbox.put(self._topics.sample(self._config.device), encode(sample))

    def _on_subscription(self, event: SubscriptionAnswered) -> None:
        for topic in self._link.refused_topics(event):
            _log.error("the broker does not let this device read %s", topic)
            self.models.unreadable(topic)

    def _why_not_ready(self) -> Optional[str]:
        predictor = self.models.main.predictor
        if predictor.serving is None:
            return "the model is being loaded" if predictor.is_restarting else "no model is loaded"
        problem = self._tally.model_problem()
        return f"the newest answer failed: {problem.code}: {problem.message}"[:1000] if problem else None

    def _state(self) -> State:
        return State(
            servings=self.models.servings,
            is_ready=self._why_not_ready() is None,
            queue_length=self.models.queue_length,
            outbox=self._outbox.stats(),
        )

    def _tell_info(self) -> None:
        self._told_runtime = self._runtime()
        self._link.publish(self._topics.info(self._config.device), encode(self._info()), retain=True)

    def _runtime(self) -> str:
        """Return what runs the main model; while none does, what ran it last."""
        serving = self.models.main.predictor.serving
        return serving.ready.runtime if serving else self._told_runtime

    def _info(self) -> DeviceInfo:
        return DeviceInfo(
            device=self._config.device,
            boot=self._boot,
            ts=format_time(self._clock.now_s() - self._tally.uptime_s()),
            agent=__version__,
            python=platform.python_version(),
            runtime=self._runtime(),
            machine=platform.machine(),
            channel=self._config.channel,
            sources=_source_names(self._config),
            http=self._http or None,
            models=self.models.channels,
            tags=self._config.tags,
            clock_synced=self._clock.is_synced(),
        )


def _source_names(config: AgentConfig) -> Tuple[str, ...]:
    return (*BUILT_IN, *(name for name in config.sources if name not in BUILT_IN))
