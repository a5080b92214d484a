"""The cloud side on a real broker: publishes a release, keeps it, answers needs, hears the devices."""

import threading
import time
from typing import Any, Callable, Dict, List, Optional, Tuple

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from contract.codec import decode
from contract.messages import ChunkNeed, ModelReport
from contract.topics import Topics
from tests.fakes.publisher import Publisher, tiny_files

PATIENCE_S = 60.0


class Cloud:
    """Used in a `with` block; `release` first, then `wait_for` what shall come.

    Attributes:
        reports: of each device, every report in order.
        status: of each device, everything that its status topic said.
        needs: of each device, what it asked for.
        is_keeper: whether needs are answered, and everything is published again at each connection.
        facts: topic and payload of everything that the fleet needs.
    """

    def __init__(
        self, port: int, publisher: Publisher, *, retain: bool = True, is_keeper: bool = False
    ) -> None:
        self.reports: Dict[str, List[ModelReport]] = {}
        self.status: Dict[str, List[bytes]] = {}
        self.needs: Dict[str, List[ChunkNeed]] = {}
        self.is_keeper = is_keeper
        self.facts: Dict[str, bytes] = {}
        self._publisher = publisher
        self._retain = retain
        self._port = port
        self._topics = Topics()
        self._changed = threading.Condition()
        self._is_here = threading.Event()
        self._client = client = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        client.on_connect = self._on_connect
        client.on_message = self._on_message
        client.on_disconnect = lambda *arguments: self._is_here.clear()
        client.reconnect_delay_set(0.05, 0.2)  # type: ignore[arg-type]

    def __enter__(self) -> "Cloud":
        self._client.connect("127.0.0.1", self._port)
        self._client.loop_start()
        assert self._is_here.wait(PATIENCE_S)
        return self

    def __exit__(self, *_error: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()
        left = self._client.socket()
        if left is not None:
            left.close()

    def release(
        self, files: Optional[Dict[str, bytes]] = None, *, missing: Tuple[str, ...] = (), **changes: Any
    ) -> int:
        """Publish a release of these files to every device of the channel, without the `missing` topics.

        Returns:
            Its sequence.
        """
        files = files or tiny_files()
        manifest = self._publisher.manifest(files, **changes)
        self.facts = dict(message for data in files.values() for message in self._publisher.messages(data))
        self.facts[self._topics.channel_desired(manifest.channel)] = self._publisher.release(manifest)
        for topic, payload in self.facts.items():
            if topic not in missing:
                self.publish(topic, payload)
        return manifest.sequence

    def publish(self, topic: str, payload: bytes, *, retain: Optional[bool] = None) -> None:
        """Publish, retained unless the broker or the caller wants it otherwise."""
        self._client.publish(topic, payload, 1, self._retain if retain is None else retain)

    def wait_for(self, what: Callable[[], bool], patience_s: float = PATIENCE_S) -> None:
        """Wait until `what` is true; it is looked at whenever a message has come."""
        until_s = time.monotonic() + patience_s
        with self._changed:
            while not what():
                assert time.monotonic() < until_s, self.describe()
                self._changed.wait(0.1)

    def is_active(self, device: str, sequence: int) -> bool:
        """Say whether the newest report of a device is that it runs this release."""
        reports = self.reports.get(device)
        return bool(reports) and reports[-1].phase == "active" and reports[-1].sequence == sequence

    def describe(self) -> str:
        """Return the newest report of every device, for a failed test."""
        return (
            "; ".join(f"{name}: {reports[-1]}" for name, reports in self.reports.items()) or "nobody reported"
        )

    def _on_connect(self, client: paho.Client, *_arguments: Any) -> None:
        leaves = ("model/reported", "model/need", "status")
        client.subscribe([(self._topics.every_device(leaf), 1) for leaf in leaves])
        if self.is_keeper:
            for topic, payload in self.facts.items():
                self.publish(topic, payload)
        self._is_here.set()

    def _on_message(self, _client: paho.Client, _user: Any, message: paho.MQTTMessage) -> None:
        device, leaf = self._topics.parse_device(message.topic), message.topic.split("/", 2)[2]
        with self._changed:
            if leaf == "model/reported":
                self.reports.setdefault(device, []).append(decode(ModelReport, message.payload))
            elif leaf == "status":
                self.status.setdefault(device, []).append(message.payload)
            else:
                self._answer(device, decode(ChunkNeed, message.payload))
            self._changed.notify_all()

    def _answer(self, device: str, need: ChunkNeed) -> None:
        self.needs.setdefault(device, []).append(need)
        if not self.is_keeper:
            return
        topics = [self._topics.blob_chunk(need.blob, number) for number in need.numbers()]
        topics += [self._topics.blob_index(need.blob)] if need.index else []
        for topic in topics:
            if topic in self.facts:
                self.publish(topic, self.facts[topic])
