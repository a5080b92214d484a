"""People who ask: the same pictures over MQTT and over HTTP, every answer timed and counted."""

import http.client
import io
import itertools
import json
import queue
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from PIL import Image

from contract.codec import encode
from contract.messages import InferRequest
from contract.topics import Topics

ANSWER_S = 20.0


@dataclass
class Answers:
    """What came back for one stream of questions; `label_ids` holds None where no answer came."""

    label_ids: list[int | None] = field(default_factory=list)
    truth: list[int] = field(default_factory=list)
    latency_ms: list[float] = field(default_factory=list)
    versions: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)

    @property
    def lost(self) -> int:
        """How many questions have no answer."""
        return sum(found is None for found in self.label_ids)

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        return sum(a == b for a, b in zip(self.label_ids, self.truth, strict=True)) / max(1, len(self.truth))

    def quantile_ms(self, share: float) -> float:
        """Return a quantile of the latencies."""
        return statistics.quantiles(self.latency_ms, n=100)[round(share * 100) - 1]


def merge(parts: "list[Answers]") -> Answers:
    """Put several streams together."""
    whole = Answers()
    for part in parts:
        whole.label_ids += part.label_ids
        whole.truth += part.truth
        whole.latency_ms += part.latency_ms
        whole.versions |= part.versions
        whole.problems += part.problems
    return whole


def encode_png(pixels: np.ndarray) -> bytes:
    """Return one picture (height, width, 1) uint8 as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels[:, :, 0]).save(buffer, format="PNG")
    return buffer.getvalue()


Ask = Callable[[bytes], dict[str, Any]]


@contextmanager
def over_http(address: str) -> Iterator[Ask]:
    """Ask one agent's local HTTP server."""
    host, _, port = address.removeprefix("http://").partition(":")

    def ask(picture: bytes) -> dict[str, Any]:
        connection = http.client.HTTPConnection(host, int(port), timeout=ANSWER_S)
        try:
            connection.request("POST", "/predict", body=picture, headers={"Content-Type": "image/png"})
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    yield ask


@contextmanager
def over_mqtt(host: str, port: int, device: str, name: str) -> Iterator[Ask]:
    """Ask one agent over the broker, in the form that every broker carries: MQTT 3.1.1 and JSON."""
    topics = Topics()
    inbox: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    subscribed = threading.Event()
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=name)
    client.on_socket_open = lambda _c, _u, sock: sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client.on_message = lambda _c, _u, message: inbox.put(json.loads(message.payload))
    client.on_subscribe = lambda *_: subscribed.set()
    client.connect(host, port)
    client.loop_start()
    client.subscribe(topics.infer_response(device), qos=1)
    if not subscribed.wait(ANSWER_S):
        raise TimeoutError("the broker did not take the client's subscription")
    count = itertools.count(1)

    def ask(picture: bytes) -> dict[str, Any]:
        transaction = f"{name}-{next(count)}"
        client.publish(topics.infer(device), encode(InferRequest(transaction, picture)), qos=1)
        while True:
            answer = inbox.get(timeout=ANSWER_S)
            if answer.get("transaction") == transaction:
                return answer

    try:
        yield ask
    finally:
        client.disconnect()
        client.loop_stop()


def ask_all(
    ask: Ask,
    pictures: list[bytes],
    truth: list[int],
    *,
    answers: Answers | None = None,
    advance: Callable[[float], None] = lambda _amount: None,
    until: threading.Event | None = None,
    pause_s: float = 0.0,
) -> Answers:
    """Ask about every picture, one after the other; with `until`, round and round until it is set.

    `answers` is filled while it goes on, if somebody wants to look.
    """
    answers = answers or Answers()
    for place in _places(len(pictures), until):
        started = time.perf_counter()
        try:
            found = ask(pictures[place])
            answers.label_ids.append(found.get("label_id"))
            if "label_id" in found:
                answers.versions.add(found["model"]["version"])
            else:
                answers.problems.append(str(found.get("error")))
        except (OSError, queue.Empty, ValueError, http.client.HTTPException) as error:
            answers.label_ids.append(None)
            answers.problems.append(repr(error))
        answers.latency_ms.append((time.perf_counter() - started) * 1000)
        answers.truth.append(truth[place])
        advance(1)
        time.sleep(pause_s)
    return answers


def _places(count: int, until: threading.Event | None) -> Iterator[int]:
    if until is None:
        yield from range(count)
        return
    place = 0
    while not until.is_set():
        yield place % count
        place += 1
