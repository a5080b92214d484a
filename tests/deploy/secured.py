"""A real mosquitto with the files that `deploy broker --tls` writes, and clients with certificates."""

import getpass
import os
import queue
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from deploy.brokers.broker_files import Plan, write_local
from deploy.trust.certificates import _issue_client, load_authority
from host_mqtt.address import LOOPBACK
from host_mqtt.credentials import Credentials
from host_mqtt.tls import build_context
from tests.fakes.mosquitto import run_mosquitto
from tests.fakes.ports import take_free_port

OBSERVER = "_observer"
PATIENCE_S = 10.0


def issue(fleet: Path, name: str, folder: Path) -> Credentials:
    """Make a certificate for any name at all, also one that `deploy keys` refuses."""
    _issue_client(load_authority(fleet), name, folder, time.time())
    return Credentials.read(folder)


@contextmanager
def run_secured(fleet: Path, folder: Path) -> Iterator[int]:
    """Run mosquitto with the fleet's files, and one more user who may do everything; yield its port."""
    port = take_free_port()
    config = write_local(Plan(folder, port, fleet), port, getpass.getuser())
    with (folder / "reefline" / "acl").open("a") as rights:
        rights.write(f"\nuser {OBSERVER}\ntopic readwrite #\n")
    with run_mosquitto(config, port):
        yield port


class Client:
    """An MQTT 5 client that keeps what the broker answers; used in a `with` block."""

    def __init__(self, port: int, credentials: Credentials, will: tuple[str, bytes] | None = None) -> None:
        self.arrived: queue.Queue[tuple[str, bytes]] = queue.Queue()
        self._answers: dict[int, list[int]] = {}
        self._changed = threading.Condition()
        self._is_connected: bool | None = None
        self._client = client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"{os.getpid()}-{id(self)}",
            protocol=MQTTProtocolVersion.MQTTv5,
        )
        client.tls_set_context(build_context(credentials))
        if will is not None:
            client.will_set(*will, qos=1)
        client.on_connect = lambda *arguments: self._note_state(True)
        client.on_disconnect = lambda *arguments: self._note_state(False)
        client.on_publish = lambda c, u, mid, code, p: self._note(mid, [code])
        client.on_subscribe = lambda c, u, mid, codes, p: self._note(mid, codes)
        client.on_message = lambda c, u, message: self.arrived.put((message.topic, message.payload))
        self._port = port

    def __enter__(self) -> "Client":
        self._client.connect(LOOPBACK, self._port)
        self._client.loop_start()
        with self._changed:
            self._changed.wait_for(lambda: self._is_connected is not None, PATIENCE_S)
        if not self._is_connected:
            self.__exit__()
            raise ConnectionError("the broker does not take us")
        return self

    def __exit__(self, *_error: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def vanish(self) -> None:
        """Go without a word, so that the broker publishes the last will."""
        self._client.socket().close()  # type: ignore[union-attr]

    def publish(self, topics: list[str], payload: bytes, retain: bool = False) -> dict[str, bool]:
        """Publish on each topic and return whether the broker said yes."""
        sent = {topic: self._client.publish(topic, payload, 1, retain).mid for topic in topics}
        return {topic: self._answer(mid)[0] < 0x80 for topic, mid in sent.items()}

    def subscribe(self, filters: list[str]) -> dict[str, bool]:
        """Subscribe to each filter and return whether the broker said yes."""
        sent = {one: self._client.subscribe(one, 1)[1] or 0 for one in filters}
        return {one: self._answer(mid)[0] < 0x80 for one, mid in sent.items()}

    def hear_until(self, payload: bytes) -> list[tuple[str, bytes]]:
        """Return what arrives before a message with this payload."""
        found = []
        while True:
            message = self.arrived.get(timeout=PATIENCE_S)
            if message[1] == payload:
                return found
            found.append(message)

    def _note_state(self, is_connected: bool) -> None:
        with self._changed:
            self._is_connected = is_connected
            self._changed.notify_all()

    def _note(self, mid: int, codes: list) -> None:
        with self._changed:
            self._answers[mid] = [code.value for code in codes]
            self._changed.notify_all()

    def _answer(self, mid: int) -> list[int]:
        with self._changed:
            assert self._changed.wait_for(lambda: mid in self._answers, PATIENCE_S), "no answer"
            return self._answers[mid]
