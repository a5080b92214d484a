"""The agent: one loop over one mailbox. Read `run` first, then `_handle`; everything else is a room below."""

import fcntl
import logging
import platform
from pathlib import Path
from typing import IO, Any, Callable, Dict, Optional

from contract import __version__
from contract.codec import encode
from contract.manifest import Root
from contract.messages import DeviceInfo, Prediction
from contract.topics import OFFLINE, ONLINE, Topics
from edge_agent.clock import Clock
from edge_agent.config import AgentConfig
from edge_agent.downloader import Downloader
from edge_agent.errors import ConfigError
from edge_agent.events import (
    Connected,
    Delivered,
    Disconnected,
    Event,
    InferenceAsked,
    MessageArrived,
    StopAsked,
    SubscriptionAnswered,
    WorkerAnswered,
    WorkerFailed,
    WorkerReady,
    WorkerTested,
)
from edge_agent.files import explain
from edge_agent.link import Link
from edge_agent.mailbox import Mailbox
from edge_agent.metrics import State
from edge_agent.mqtt_requests import SOURCE as MQTT_SOURCE
from edge_agent.mqtt_requests import MqttRequests
from edge_agent.outbox import Outbox
from edge_agent.predictor import Predictor
from edge_agent.reporter import Reporter
from edge_agent.resident import Resident
from edge_agent.serving import SOURCE as HTTP_SOURCE
from edge_agent.serving import Server
from edge_agent.slots import Slots
from edge_agent.tally import Tally
from edge_agent.updater import Updater
from edge_agent.workers import ModelFiles, Worker

_log = logging.getLogger(__name__)
_TICK_S = 0.25
_MAILBOX_ROOM = 64


class Agent:
    """One device. Built from a checked configuration and a verified root; `run` returns after `StopAsked`."""

    def __init__(self, config: AgentConfig, root: Root, clock: Optional[Clock] = None) -> None:
        self._config = config
        self._clock = clock = clock or Clock()
        self._topics = Topics(config.mqtt.base)
        self._boot = clock.new_id()
        self._lock = _lock_folder(Path(config.state_dir))
        self.mailbox = Mailbox(_MAILBOX_ROOM)
        self._link = Link(config.mqtt, config.device, self.mailbox)
        self._slots = slots = Slots(Path(config.state_dir))
        self._outbox = Outbox(Path(config.state_dir) / "outbox.db", config.outbox, clock.monotonic_s)
        self._in_flight: Dict[int, int] = {}
        self._workers: Dict[int, Worker] = {}
        self._started_workers = 0
        self._predictor = Predictor(config, self._boot, clock, self._keep)
        self._reporter = reporter = Reporter(config, root=root, slots=slots, link=self._link, clock=clock)
        self._downloader = Downloader(config, slots=slots, link=self._link, clock=clock, reporter=reporter)
        self._updater = Updater(
            config,
            root=root,
            slots=slots,
            clock=clock,
            downloader=self._downloader,
            reporter=reporter,
            predictor=self._predictor,
            start_worker=self._start_worker,
        )
        self._resident = Resident(
            config,
            slots=slots,
            clock=clock,
            predictor=self._predictor,
            reporter=reporter,
            start_worker=self._start_worker,
        )
        self._requests = MqttRequests(config, self._link)
        self._tally = Tally(clock.monotonic_s)
        self._server = Server(
            config.http,
            self.mailbox.offer,
            state=self._state,
            why_not_ready=self._why_not_ready,
            tally=self._tally,
        )
        self._http = ""
        self._handlers: Dict[type, Callable[[Any], None]] = {
            InferenceAsked: self._ask,
            WorkerReady: self._on_worker_ready,
            WorkerTested: self._updater.tested,
            WorkerAnswered: self._predictor.answered,
            WorkerFailed: self._on_worker_failed,
            Connected: self._on_connected,
            Disconnected: self._on_disconnected,
            MessageArrived: self._on_message,
            SubscriptionAnswered: self._on_subscription,
            Delivered: self._on_delivered,
        }

    def run(self) -> None:
        """Serve until somebody asks to stop; then tell everyone, save everything, leave nothing running."""
        self._start()
        try:
            while True:
                event = self.mailbox.get(_TICK_S)
                if isinstance(event, StopAsked):
                    return
                if event is not None:
                    self._handle(event)
                self._tick()
        finally:
            self._stop()

    def _start(self) -> None:
        if self._config.http.enabled:
            self._http = self._server.start()
            _log.info("serving on %s", self._http)
        self._resident.start()
        self._updater.resume()
        self._link.start()

    def _handle(self, event: Event) -> None:
        self._handlers[type(event)](event)

    def _ask(self, asked: InferenceAsked) -> None:
        self._predictor.ask(self._tally.watch(asked))

    def _tick(self) -> None:
        self._resident.tick()
        self._updater.tick()
        self._outbox.tick(self._clock.monotonic_s())
        self._send()

    def _stop(self) -> None:
        self._server.stop()
        self._link.publish(self._topics.status(self._config.device), OFFLINE, retain=True)
        self._link.stop()
        self._downloader.end()
        for worker in self._workers.values():
            worker.stop()
        self._outbox.close()
        self._lock.close()

    def _start_worker(self, files: ModelFiles) -> Worker:
        self._started_workers += 1
        worker = Worker.start(
            self._started_workers, files, self._config.inference, self._config.edgetpu, self.mailbox.put
        )
        self._workers = {number: other for number, other in self._workers.items() if other.is_running}
        self._workers[worker.number] = worker
        return worker

    def _keep(self, prediction: Prediction) -> None:
        topic = self._topics.prediction(prediction.device, prediction.source)
        self._outbox.put(topic, encode(prediction))

    def _send(self) -> None:
        room = self._config.outbox.in_flight - len(self._in_flight)
        for row in self._outbox.unsent(room):
            mid = self._link.publish(row.topic, row.payload)
            if mid is None:
                return
            self._outbox.mark_in_flight(row.key)
            self._in_flight[mid] = row.key

    def _on_delivered(self, event: Delivered) -> None:
        key = self._in_flight.pop(event.mid, None)
        if key is not None:
            self._outbox.delivered(key)

    def _on_connected(self, _event: Connected) -> None:
        _log.info("connected to %s:%d", self._config.mqtt.host, self._config.mqtt.port)
        device = self._config.device
        self._forget_in_flight()
        # Its own release is heard before the channel's, which it overrides.
        self._link.subscribe([self._topics.model_desired(device)])
        self._link.subscribe([self._topics.channel_desired(self._config.channel), self._topics.infer(device)])
        self._updater.connected()
        self._link.publish(self._topics.info(device), encode(self._info()), retain=True)
        self._reporter.send()
        self._link.publish(self._topics.status(device), ONLINE, retain=True)

    def _on_disconnected(self, event: Disconnected) -> None:
        _log.warning("no broker: %s", event.reason)
        self._forget_in_flight()

    def _forget_in_flight(self) -> None:
        self._in_flight.clear()
        self._outbox.reset_in_flight()

    def _on_message(self, message: MessageArrived) -> None:
        device = self._config.device
        if message.topic == self._topics.infer(device):
            message.acknowledge()
            asked = self._requests.read(message, self._clock.monotonic_s())
            if asked is not None:
                self._ask(asked)
        elif message.topic == self._topics.model_desired(device):
            self._updater.desired(message, is_own=True)
            if not message.payload:
                # No release of its own any more: hear what the channel has.
                self._link.subscribe([self._topics.channel_desired(self._config.channel)])
        elif message.topic == self._topics.channel_desired(self._config.channel):
            self._updater.desired(message, is_own=False)
        else:
            self._updater.chunk(message)

    def _on_subscription(self, event: SubscriptionAnswered) -> None:
        for topic in self._link.refused_topics(event):
            _log.error("the broker does not let this device read %s", topic)
            self._updater.unreadable(topic)

    def _on_worker_ready(self, event: WorkerReady) -> None:
        if not self._updater.ready(event):
            self._resident.ready(event)

    def _on_worker_failed(self, event: WorkerFailed) -> None:
        was_serving = self._predictor.lost(event.worker)
        if self._updater.failed(event):
            if self._predictor.serving is None:
                self._resident.start()
            return
        if was_serving or self._resident.owns(event.worker):
            self._resident.failed(event.problem)

    def _why_not_ready(self) -> Optional[str]:
        if self._predictor.serving is None:
            return "the model is being loaded" if self._predictor.is_restarting else "no model is loaded"
        problem = self._tally.model_problem()
        return f"the newest answer failed: {problem.code}: {problem.message}" if problem else None

    def _state(self) -> State:
        return State(
            serving=self._predictor.serving,
            is_ready=self._why_not_ready() is None,
            queue_length=self._predictor.queue_length,
            outbox=self._outbox.stats(),
        )

    def _info(self) -> DeviceInfo:
        serving = self._predictor.serving
        return DeviceInfo(
            device=self._config.device,
            boot=self._boot,
            ts=self._clock.stamp(),
            agent=__version__,
            python=platform.python_version(),
            runtime=serving.ready.runtime if serving else "",
            machine=platform.machine(),
            channel=self._config.channel,
            sources=(HTTP_SOURCE, MQTT_SOURCE),
            http=self._http or None,
            clock_synced=self._clock.is_synced(),
        )


def _lock_folder(folder: Path) -> IO[str]:
    """Make sure that no second agent uses the folder.

    Raises:
        ConfigError: one does.
        StorageError: the folder cannot be used.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("w")
    except OSError as error:
        raise explain(error, folder) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise ConfigError(
            "already_running", f"another agent uses {folder}", "stop it, or give this one its own state_dir"
        ) from error
    return lock
