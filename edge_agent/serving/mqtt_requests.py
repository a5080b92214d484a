"""Inference requests over MQTT: what came on `infer` becomes a question, the answer goes where it may go."""

import logging
from typing import Callable, Optional, Tuple, Union

from contract.codec import decode, encode, parse_json
from contract.errors import MessageError
from contract.messages import InferAnswer, InferError, InferRequest, Prediction, Problem
from contract.topics import Topics
from edge_agent.config import AgentConfig
from edge_agent.events import ARRAY, IMAGE, InferenceAsked, MessageArrived
from edge_agent.link import Link
from edge_agent.source_config import MQTT

_log = logging.getLogger(__name__)
_IMAGE_STARTS = (b"\xff\xd8\xff", b"\x89PNG")


class MqttRequests:
    """Reads requests in either form: JSON, or with MQTT 5 the raw picture and a response topic."""

    def __init__(self, config: AgentConfig, link: Link, refuse: Callable[[str, Problem], None]) -> None:
        """Prepare.

        Args:
            config: who the device is.
            link: the way to the broker.
            refuse: counts what was no question, by source.
        """
        self._device = config.device
        self._topics = Topics(config.mqtt.base)
        self._link = link
        self._refuse = refuse

    def read(self, message: MessageArrived, arrived_s: float) -> Optional[InferenceAsked]:
        """Return the question, or None after a bad request has been answered or dropped."""
        if message.retained:
            # The broker would give it to us at every connection.
            _log.warning("request dropped: it was published with the retain flag")
            self._refuse(MQTT, Problem("bad_request", "may not be retained"))
            return None
        reply_to = message.reply_to or self._topics.infer_response(self._device)
        if not self._topics.is_reply_allowed(reply_to, self._device):
            _log.warning("request dropped: may not answer to %.120r", reply_to)
            self._refuse(MQTT, Problem("bad_request", "may not answer there"))
            return None
        try:
            transaction, kind, payload, model = _open(message.payload)
        except MessageError as error:
            problem = Problem("bad_request", str(error)[:1000])
            self._refuse(MQTT, problem)
            self._reply(reply_to, message.correlation, _find_transaction(message.payload), problem)
            return None

        def answer(result: Union[Prediction, Problem]) -> None:
            self._reply(reply_to, message.correlation, transaction, result)

        return InferenceAsked(kind, payload, MQTT, arrived_s, answer, model=model)

    def _reply(
        self, topic: str, correlation: bytes, transaction: str, result: Union[Prediction, Problem]
    ) -> None:
        if isinstance(result, Problem):
            body = encode(InferError(transaction=transaction, error=result))
        else:
            fields = {name: getattr(result, name) for name in Prediction.__dataclass_fields__}
            body = encode(InferAnswer(**fields, transaction=transaction))
        self._link.publish(topic, body, correlation=correlation)


def _open(payload: bytes) -> Tuple[str, str, bytes, str]:
    """Return (transaction, kind, bytes, model) of a request."""
    if payload.startswith(_IMAGE_STARTS):
        return "", IMAGE, payload, ""
    request = decode(InferRequest, payload)
    model = request.model or ""
    if request.image_b64 is not None:
        return request.transaction, IMAGE, request.image_b64, model
    assert request.array is not None
    return request.transaction, ARRAY, bytes(value & 0xFF for value in request.array), model


def _find_transaction(payload: bytes) -> str:
    """Return what a bad request calls itself, for its sender to know the answer by; "" if that is bad too."""
    try:
        return InferRequest(parse_json(payload)["transaction"], array=()).transaction
    except (MessageError, KeyError, TypeError):
        return ""
