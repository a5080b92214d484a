"""One simulated device: the real lane of a real agent, on a link and a disk that may be made to fail."""

import json
import platform
from typing import Any, Callable, Dict, List, NamedTuple, Optional, cast

from contract import __version__
from contract.codec import encode
from contract.errors import TopicError
from contract.manifest import ReleaseManifest
from contract.messages import DeviceInfo
from contract.topics import OFFLINE, ONLINE, Topics
from contract.trust import Root
from edge_agent.clock import Clock
from edge_agent.config import AgentConfig
from edge_agent.disk import Disk
from edge_agent.errors import ModelError
from edge_agent.events import (
    Connected,
    Event,
    MessageArrived,
    SubscriptionAnswered,
    WorkerFailed,
    WorkerReady,
    WorkerTested,
)
from edge_agent.inference.workers import ModelFiles, Worker
from edge_agent.lane import MAIN, Lane
from edge_agent.recovery.resident import Means
from edge_agent.simulate import faults
from edge_agent.simulate.faults import Fault, has_kind
from edge_agent.simulate.loop import Loop
from edge_agent.simulate.loop_link import Gate, LoopLink, LoopMailbox, Manners
from edge_agent.simulate.memory_disk import MemoryDisk
from edge_agent.simulate.stand_in import RUNTIME, Orders, StandIn
from edge_agent.updates.trust import Trust

_REPORTED = "/model/reported"
_REBOOT_S = 1.0
_IDLE_TICKS = 8


class World(NamedTuple):
    """What all devices share.

    Attributes:
        root: the root of trust.
        clock: the time.
        loop: drives everything.
        gate: lets a few connect at a time.
        spared: the version before the rehearsal; faults begin when it is active, None: at once.
    """

    root: Root
    clock: Clock
    loop: Loop
    gate: Gate
    spared: Optional[str]


class Device:
    """One device from its start to its stop, through reboots.

    Attributes:
        name: its name.
        fault: what is wrong with it.
        report: the newest ModelReport that it wrote, sent or not, as JSON; {} before the first.
        phases: the last phase that it reported of each version.
        was_connected: the broker took it at least once.
    """

    def __init__(self, config: AgentConfig, world: World, disk: Disk, fault: Optional[Fault]) -> None:
        """Prepare a device that is switched off.

        Args:
            config: its settings.
            world: what it shares with others.
            disk: its own disk.
            fault: what is wrong with it.
        """
        self.name = config.device
        self.fault = fault
        self.report: Dict[str, Any] = {}
        self.phases: Dict[str, str] = {}
        self.was_connected = False
        self._config = config
        self._world = world
        self._disk = disk
        self._topics = Topics(config.mqtt.base)
        self._chunks = 0
        self._workers = 0
        self._ticks = 0
        self._links: List[LoopLink] = []
        self._handlers: Dict[type, Callable[[Any], None]] = {}
        self._boot = ""
        self._mailbox = LoopMailbox(world.loop, self._handle)
        self._manners = Manners()
        self._is_faulty = False
        if world.spared is None:
            self._begin_fault()
        self._trust: Trust
        self._lane: Optional[Lane] = None

    @property
    def is_under_way(self) -> bool:
        """Whether it has accepted a release that has not ended."""
        return self._lane is None or self._lane.slots.state.candidate is not None

    @property
    def received_bytes(self) -> int:
        """Bytes of all payloads that came."""
        return sum(link.received_bytes for link in self._links)

    @property
    def sent_bytes(self) -> int:
        """Bytes of all payloads that went."""
        return sum(link.sent_bytes for link in self._links)

    def start(self) -> None:
        """Switch it on: it begins with what is on its disk.

        Raises:
            StorageError: its folder cannot be used.
        """
        self._boot = self._world.clock.new_id()
        self._mailbox = mailbox = LoopMailbox(self._world.loop, self._handle)
        link = self._build_link(mailbox)
        self._links.append(link)
        self._trust = trust = Trust(self._config, self._world.root, link, self._disk)
        self._lane = lane = self._build_lane(link, trust)
        self._handlers = {
            Connected: lambda _event: self._on_connected(),
            MessageArrived: self._on_message,
            SubscriptionAnswered: self._on_subscription,
            WorkerReady: lane.ready,
            WorkerTested: lane.tested,
            WorkerFailed: lane.failed,
        }
        lane.start()
        link.start()

    def tick(self) -> None:
        """Do what time demands; a few times a second. Who has nothing under way is left alone mostly."""
        self._ticks += 1
        if self._lane is not None and (self.is_under_way or self._ticks % _IDLE_TICKS == 0):
            self._lane.tick()
            self._links[-1].keep_alive()

    def stop(self) -> None:
        """Say goodbye and switch it off."""
        link = self._links[-1]
        link.publish(self._topics.status(self.name), OFFLINE, retain=True)
        link.stop()
        if self._lane is not None:
            self._lane.stop()

    def _build_link(self, mailbox: LoopMailbox) -> LoopLink:
        return LoopLink(
            self._config.mqtt,
            self.name,
            mailbox,
            loop=self._world.loop,
            gate=self._world.gate,
            manners=self._manners,
            watch_publish=self._watch_publish,
        )

    def _choose_manners(self) -> Manners:
        fault = self.fault
        return Manners(
            bytes_per_s=fault.bytes_per_s if fault and has_kind(fault, faults.SLOW_LINK) else None,
            mute=_REPORTED if has_kind(fault, faults.NEVER_REPORTS) else None,
            repeated=_REPORTED if has_kind(fault, faults.REPORTS_TWICE) else None,
        )

    def _build_lane(self, link: LoopLink, trust: Trust) -> Lane:
        return Lane(
            self._config,
            MAIN,
            trust=trust,
            link=link,
            clock=self._world.clock,
            boot=self._boot,
            publish=lambda prediction, _asked: prediction,
            may_start=lambda: True,
            means=Means(cast(Callable[[ModelFiles], Worker], self._start_worker), lambda: None, None),
            disk=self._disk,
        )

    def _handle(self, event: Event) -> None:
        handler = self._handlers.get(type(event))
        if handler is not None:
            handler(event)

    def _on_connected(self) -> None:
        assert self._lane is not None
        self.was_connected = True
        link, topics = self._links[-1], self._topics
        self._trust.connected()
        self._hear_releases()
        link.publish(topics.info(self.name), encode(self._info()), retain=True)
        self._lane.connected()
        link.publish(topics.status(self.name), ONLINE, retain=True)

    def _hear_releases(self) -> None:
        topics = self._topics
        self._links[-1].subscribe(
            [topics.model_desired(self.name), topics.channel_desired(self._config.channel)]
        )

    def _on_message(self, message: MessageArrived) -> None:
        if self._lane is None or self._links[-1].is_cut:
            # It was read together with what came before, but has not arrived.
            return
        updater = self._lane.updater
        if self._trust.is_about(message.topic):
            if self._trust.take(message):
                self._lane.root_changed()
                self._hear_releases()
        elif message.topic == self._topics.model_desired(self.name):
            updater.desired(message, is_own=True)
        elif message.topic == self._topics.channel_desired(self._config.channel):
            updater.desired(message, is_own=False)
        else:
            message.acknowledge()
            updater.chunk(message)
            self._count_chunk(message)

    def _on_subscription(self, event: SubscriptionAnswered) -> None:
        for topic in self._links[-1].refused_topics(event):
            if self._lane is not None:
                self._lane.updater.unreadable(topic)

    def _count_chunk(self, message: MessageArrived) -> None:
        if self.fault is None or not self._is_faulty:
            return
        try:
            self._topics.parse_chunk(message.topic)
        except TopicError:
            return
        self._chunks += 1
        if self._chunks == self.fault.after_chunks:
            self._fall(self.fault)

    def _fall(self, fault: Fault) -> None:
        """Go offline or reboot, if that is this device's fault."""
        link, loop = self._links[-1], self._world.loop
        if fault.kind == faults.OFFLINE:
            link.cut()
            if fault.for_s:
                loop.after(fault.for_s, link.start)
        elif fault.kind == faults.REBOOTS:
            link.cut()
            self._mailbox.close()
            self._lane = None
            loop.after(max(fault.for_s, _REBOOT_S), self.start)

    def _begin_fault(self) -> None:
        self._is_faulty = True
        self._manners = self._choose_manners()
        for link in self._links:
            link.manners = self._manners
        self._fill_disk(has_kind(self.fault, faults.DISK_FULL))

    def _watch_publish(self, topic: str, payload: bytes) -> None:
        """Keep what the device says of itself, and make room on a full disk some time after it complained."""
        if not topic.endswith(_REPORTED):
            return
        self.report = report = json.loads(payload)
        if report["release"] is not None:
            self.phases[report["release"]] = report["phase"]
        fault = self.fault
        if not self._is_faulty and report["phase"] == "active" and report["release"] == self._world.spared:
            # This report is still sent.
            self._world.loop.post(self._begin_fault)
        elif fault is not None and has_kind(fault, faults.DISK_FULL) and fault.for_s and report["error"]:
            self._world.loop.after(fault.for_s, lambda: self._fill_disk(False))

    def _fill_disk(self, is_full: bool) -> None:
        if isinstance(self._disk, MemoryDisk):
            self._disk.is_full = is_full

    def _start_worker(self, files: ModelFiles) -> StandIn:
        manifest = self._manifest_of(files)
        self._workers += 1
        orders = self._choose_orders(manifest)
        return StandIn(self._workers, manifest, orders, self._world.loop, self._mailbox.put)

    def _choose_orders(self, manifest: ReleaseManifest) -> Orders:
        fault = self.fault
        if fault is None or not self._is_faulty or manifest.model.version == self._world.spared:
            return Orders()
        return Orders(
            passes=fault.kind != faults.FAILS_SELFTEST,
            crash_after_s=fault.crash_after_s if fault.kind == faults.CRASHES_IN_SOAK else None,
        )

    def _manifest_of(self, files: ModelFiles) -> ReleaseManifest:
        assert self._lane is not None
        slots = self._lane.slots
        state = slots.state
        for pointer in (state.candidate, state.active, state.last_known_good):
            if pointer is not None:
                manifest = slots.release(pointer.release)
                if slots.blob_path(manifest.blobs["model"]) == files.model:
                    return manifest
        raise ModelError("model_missing", f"{files.model} belongs to no release")

    def _info(self) -> DeviceInfo:
        clock = self._world.clock
        return DeviceInfo(
            device=self.name,
            boot=self._boot,
            ts=clock.stamp(),
            agent=__version__,
            python=platform.python_version(),
            runtime=RUNTIME,
            machine=platform.machine(),
            channel=self._config.channel,
            sources=(),
        )
