"""Promises of serving.mqtt_requests: what is asked over MQTT, and where the answer may go."""

import base64
import json
from typing import Any, Dict, Optional

import pytest

from contract.messages import Problem
from contract.topics import Topics
from edge_agent.config import AgentConfig
from edge_agent.events import ARRAY, IMAGE, InferenceAsked, MessageArrived
from edge_agent.serving.mqtt_requests import MqttRequests
from edge_agent.tally import Tally
from tests.edge_agent.test_publish_modes import predict
from tests.fakes.board import DEVICE
from tests.fakes.broker import FakeBroker, FakeLink

TOPICS = Topics()
OWN = TOPICS.infer_response(DEVICE)
PNG = b"\x89PNG\r\n\x1a\n..."


class Desk:
    """Where requests arrive, and what was answered."""

    def __init__(self) -> None:
        self.broker = FakeBroker()
        self.tally = Tally(lambda: 0.0)
        config = AgentConfig(DEVICE, "/nowhere", "unused")
        self._requests = MqttRequests(config, FakeLink(self.broker), self.tally.count)

    def read(
        self, payload: bytes, reply_to: Optional[str] = None, retained: bool = False
    ) -> Optional[InferenceAsked]:
        message = MessageArrived(
            TOPICS.infer(DEVICE), payload, retained, lambda: None, reply_to, b"7" if reply_to else b""
        )
        return self._requests.read(message, 5.0)

    def answers(self) -> Dict[str, Any]:
        return {topic: json.loads(payload) for topic, payload in self.broker.published}


def ask(**fields: Any) -> bytes:
    return json.dumps({"v": 1, "transaction": "t-1", **fields}).encode()


def test_a_retained_request_is_dropped() -> None:
    """The broker would ask it again at every connection."""
    desk = Desk()
    assert desk.read(PNG, retained=True) is None
    assert desk.answers() == {}


@pytest.mark.parametrize(
    ("payload", "kind", "body", "model"),
    [
        (PNG, IMAGE, PNG, ""),
        (ask(image_b64=base64.b64encode(PNG).decode()), IMAGE, PNG, ""),
        (ask(array=[0, 255, -1]), ARRAY, b"\x00\xff\xff", ""),
        (ask(array=[1], model="defects"), ARRAY, b"\x01", "defects"),
    ],
)
def test_each_form_of_a_request_is_read(payload: bytes, kind: str, body: bytes, model: str) -> None:
    """The raw picture of MQTT 5, and JSON with a picture, a tensor, another model."""
    asked = Desk().read(payload)
    assert asked is not None
    assert (asked.kind, asked.payload, asked.model, asked.source) == (kind, body, model, "mqtt")


@pytest.mark.parametrize("reply_to", [OWN, TOPICS.client("me"), TOPICS.client("me") + "/7"])
def test_an_answer_goes_where_the_requester_listens(reply_to: str) -> None:
    """If that is the device's own answer topic, or a client's."""
    desk = Desk()
    asked = desk.read(ask(array=[1]), reply_to)
    assert asked is not None
    asked.answer(predict("cat"))
    answer = desk.answers()[reply_to]
    assert (answer["status"], answer["transaction"], answer["label"]) == ("ok", "t-1", "cat")


@pytest.mark.parametrize(
    "reply_to",
    [
        TOPICS.status(DEVICE),
        TOPICS.model_desired("board-b"),
        TOPICS.infer_response("board-b"),
        "coral/_client",
        "coral/_client/",
        "coral/_client/#",
        "coral/_client/+/x",
        "coral/_clients/me",
        "other/_client/me",
        "coral/_client/" + "x" * 300,
    ],
)
def test_an_answer_goes_nowhere_else(reply_to: str) -> None:
    """A requester must not make a device publish wherever the device's rights reach, not even an error."""
    desk = Desk()
    assert desk.read(ask(array=[1]), reply_to) is None
    assert desk.read(b"nonsense", reply_to) is None
    assert desk.answers() == {}
    assert desk.tally.predictions == {("mqtt", "none", "bad_request"): 2}


def test_without_a_response_topic_the_answer_goes_to_the_devices_own() -> None:
    """MQTT 3.1.1 has none; a problem is told there too."""
    desk = Desk()
    asked = desk.read(ask(array=[1]))
    assert asked is not None
    asked.answer(Problem("no_model", "none"))
    answer = desk.answers()[OWN]
    assert (answer["status"], answer["transaction"], answer["error"]["code"]) == ("error", "t-1", "no_model")


@pytest.mark.parametrize(
    ("payload", "transaction"),
    [
        (ask(image_b64="%%%"), "t-1"),
        (ask(array=[300]), "t-1"),
        (ask(v=2, array=[1]), "t-1"),
        (ask(transaction="x" * 10_000), ""),
        (ask(transaction=7, array=[1]), ""),
        (b"[1]", ""),
        (b"7", ""),
        (b"", ""),
        (b"{", ""),
    ],
)
def test_a_bad_request_is_answered_by_its_name(payload: bytes, transaction: str) -> None:
    """Who waits for several answers must know which of them is the error."""
    desk = Desk()
    assert desk.read(payload) is None
    answer = desk.answers()[OWN]
    assert (answer["transaction"], answer["error"]["code"]) == (transaction, "bad_request")
    assert desk.tally.predictions == {("mqtt", "none", "bad_request"): 1}
    assert desk.tally.model_problem() is None
