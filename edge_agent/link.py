"""The connection to the broker. Only this module knows paho; it turns what happens into events."""

import contextlib
import logging
import random
import socket
import threading
import time
from pathlib import Path
from typing import Any, Dict, Iterable, List, Optional, Tuple

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from contract.codec import MAX_PAYLOAD_BYTES
from contract.messages import Problem
from contract.topics import OFFLINE, Topics
from edge_agent.config import MqttConfig
from edge_agent.events import Connected, Delivered, Disconnected, MessageArrived, SubscriptionAnswered
from edge_agent.mailbox import Mailbox

_log = logging.getLogger(__name__)
# A payload, its topic of at most 64 KiB, and MQTT 5 properties.
_MAX_PACKET_BYTES = MAX_PAYLOAD_BYTES + 128 * 1024
_MAX_FILTERS = 8
# Messages that the broker has not acknowledged; more are dropped, as if the link were down.
_MAX_WAITING = 1000
_CONNECT_TIMEOUT_S = 10.0
_GOODBYE_S = 2.0
# paho's thread looks at the clock once a second, whatever happens on the network.
_WEDGED_S = 60.0
# A connection that lasts so long was a good one; after a shorter one the next pause is longer than before.
_LASTING_S = 30.0
_MAX_SHORT_LIVES = 3
# Another who uses our id takes the connection away as often as we take it back.
_DUPLICATE_MAX_S = 600.0
_TAKEN_OVER = 142
_RETAIN_NOT_SUPPORTED = 154
_DUPLICATE = Problem(
    "duplicate_id",
    "the broker gives our connection to another device of the same id",
    "give each device an id and a certificate of its own",
)
# Not every broker says why it ends a connection.
_PERHAPS_DUPLICATE = Problem(
    "duplicate_id",
    f"the broker has ended {_MAX_SHORT_LIVES} connections in a row soon after they were made",
    "see whether another device has this one's id, or whether the broker restarts again and again",
)


class Client(mqtt.Client):
    """paho believes whatever the broker sends; here nonsense and too large a packet end the connection.

    With MQTT 5 the broker knows our limit and does not even send it.

    Attributes:
        ticked_s: when its loop last came round, in monotonic seconds.
    """

    ticked_s = 0.0

    def loop_misc(self) -> MQTTErrorCode:
        """Do what time demands; the loop calls it each time it comes round."""
        self.ticked_s = time.monotonic()
        return super().loop_misc()

    def _sock_recv(self, bufsize: int) -> bytes:
        if bufsize > _MAX_PACKET_BYTES:
            _log.warning("the broker sends a packet of %d bytes: connection closed", bufsize)
            raise ConnectionError("packet too large")
        return super()._sock_recv(bufsize)

    def _packet_handle(self) -> MQTTErrorCode:
        try:
            return super()._packet_handle()
        except Exception as error:
            # It would end paho's thread, and nobody would notice. What answers may be a web server.
            _log.warning("the broker sends what is no MQTT: %r: connection closed", error)
            return MQTTErrorCode.MQTT_ERR_PROTOCOL


class Link:
    """One device's connection, made anew for ever with growing, random pauses.

    A publish while the link is down, or the broker takes nothing, is dropped: what must arrive is retained
    state, told again on `Connected`, or waits in the outbox.

    Attributes:
        has_retained: whether the broker keeps retained messages; one that does not say so does.
    """

    _client_class = Client

    def __init__(self, config: MqttConfig, device: str, mailbox: Mailbox, client_id: str = "") -> None:
        """Prepare to connect.

        Args:
            config: where the broker is.
            device: who we are.
            mailbox: takes the events.
            client_id: another name to connect by: the device's own session goes on, and no last will is left.
        """
        self._config = config
        self._device = device
        self._mailbox = mailbox
        self._client_id = client_id or device
        self._will_topic = "" if client_id else Topics(config.base).status(device)
        self._stopping = threading.Event()
        self._lost = threading.Event()
        self._thread = threading.Thread(target=self._keep_connected, name="link", daemon=True)
        self._client: Optional[Client] = None
        self._newest: Optional[mqtt.MQTTMessageInfo] = None
        self._subscribed: Dict[int, List[str]] = {}
        self._is_v5 = True
        self._is_looping = False
        self._accepted_s: Optional[float] = None
        self._refusal = ""
        self._short_lives = 0
        self._was_taken = False
        self._has_rival = False
        self.has_retained = True

    @property
    def is_clogged(self) -> bool:
        """Whether the broker has not answered every SUBSCRIBE yet: what it sent before is on its way."""
        return bool(self._subscribed)

    def problems(self) -> Tuple[Problem, ...]:
        """Return what is wrong with the connection; may be asked from any thread."""
        if self._has_rival:
            return (_DUPLICATE,)
        return (_PERHAPS_DUPLICATE,) if self._short_lives >= _MAX_SHORT_LIVES else ()

    @property
    def is_wedged(self) -> bool:
        """Whether a thread of the connection has ended or hangs. Having no broker is nothing of the kind."""
        client = self._client
        if self._is_looping and client is not None:
            return time.monotonic() > client.ticked_s + _WEDGED_S
        return not self._thread.is_alive() and not self._stopping.is_set()

    def start(self) -> None:
        """Begin to connect; `Connected` follows when the broker has taken us."""
        self._thread.start()

    def stop(self) -> None:
        """Send what is on its way, disconnect cleanly, so that the last will is not used."""
        self._stopping.set()
        client = self._client
        if client is not None:
            self._await_delivery(client)
            client.disconnect()
        self._thread.join(_GOODBYE_S)

    def publish(
        self, topic: str, payload: bytes, *, retain: bool = False, qos: int = 1, correlation: bytes = b""
    ) -> Optional[int]:
        """Publish; return the packet's number, which with QoS 1 `Delivered` names; None if it is dropped."""
        client = self._client
        if client is None or not client.is_connected():
            return None
        properties = None
        if correlation and self._is_v5:
            properties = Properties(PacketTypes.PUBLISH)
            properties.CorrelationData = correlation
        sent = client.publish(
            topic, payload, qos=qos, retain=retain and self.has_retained, properties=properties
        )
        if sent.rc == MQTTErrorCode.MQTT_ERR_QUEUE_SIZE:
            return None
        if qos:
            self._newest = sent
        return sent.mid

    def subscribe(self, topics: Iterable[str]) -> None:
        """Subscribe with QoS 1, at most 8 filters a packet. Retained messages come again each time."""
        client = self._client
        if client is None:
            return
        for group in _groups(list(topics)):
            _, mid = client.subscribe([(topic, 1) for topic in group])
            if mid is not None:
                self._subscribed[mid] = group

    def refused_topics(self, answer: SubscriptionAnswered) -> Tuple[str, ...]:
        """Return which topics the broker does not let us read."""
        topics = self._subscribed.pop(answer.mid, [])
        return tuple(topics[place] for place in answer.refused if place < len(topics))

    def unsubscribe(self, topics: Iterable[str]) -> None:
        """Let go of topics."""
        client = self._client
        if client is None:
            return
        for group in _groups(list(topics)):
            client.unsubscribe(group)

    def _await_delivery(self, client: mqtt.Client) -> None:
        # Who closes with an unread acknowledgement resets the connection, and the DISCONNECT is lost.
        if self._newest is not None and client.is_connected():
            with contextlib.suppress(RuntimeError, ValueError):
                self._newest.wait_for_publish(_GOODBYE_S)

    def _keep_connected(self) -> None:
        pause_s = 0.0
        while not self._stopping.wait(pause_s * random.uniform(0.5, 1.5)):
            reason = self._connect_once()
            if self._stopping.is_set():
                return
            self._mailbox.put(Disconnected(reason))
            pause_s = self._choose_pause_s(pause_s)

    def _connect_once(self) -> str:
        try:
            client = self._open()
        except (OSError, ValueError) as error:
            # The network, a file of ours, or a certificate on either side.
            return str(error)
        client.ticked_s = time.monotonic()
        self._is_looping = True
        client.loop_start()
        self._lost.wait()
        client.loop_stop()
        self._is_looping = False
        return self._explain_loss()

    def _open(self) -> Client:
        """Call the broker; whether it takes us is told by `_on_connect`."""
        self._accepted_s = None
        self._was_taken = False
        self._refusal = ""
        self._lost.clear()
        self._subscribed.clear()
        client = self._client = self._build_client()
        client.connect(self._config.host, self._config.port, self._config.keepalive_s, **self._hello())
        return client

    def _explain_loss(self) -> str:
        if self._accepted_s is not None:
            return "another client took the connection over" if self._was_taken else "connection lost"
        if self.has_retained:
            # It answered TCP but not us: an older broker speaks MQTT 3.1.1 only, and says nothing of this.
            self._is_v5 = not self._is_v5
        return self._refusal or "the broker closed the connection"

    def _choose_pause_s(self, before_s: float) -> float:
        """Return how long to wait before the next connection, when it was `before_s` the last time."""
        config = self._config
        if self._accepted_s is not None:
            # Longer than two that take turns would leave each other.
            lasted = time.monotonic() - self._accepted_s >= max(_LASTING_S, 2 * before_s)
            self._short_lives = 0 if lasted else self._short_lives + 1
            self._has_rival = self._was_taken or (self._has_rival and not lasted)
            if lasted and not self._has_rival:
                return config.reconnect_min_s
        most_s = max(config.reconnect_max_s, _DUPLICATE_MAX_S) if self._has_rival else config.reconnect_max_s
        return min(max(config.reconnect_min_s, 2 * before_s), most_s)

    def _build_client(self) -> Client:
        client = self._client_class(
            CallbackAPIVersion.VERSION2,
            client_id=self._client_id,
            clean_session=None if self._is_v5 else True,
            protocol=MQTTProtocolVersion.MQTTv5 if self._is_v5 else MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        client.connect_timeout = _CONNECT_TIMEOUT_S
        client.max_inflight_messages_set(100)
        client.max_queued_messages_set(_MAX_WAITING)
        if self._will_topic:
            client.will_set(self._will_topic, OFFLINE, qos=1, retain=self.has_retained)
        self._introduce(client)
        client.on_socket_open = _disable_nagle
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        return client

    def _introduce(self, client: mqtt.Client) -> None:
        """Say who we are, and whom we believe. Files are read anew each time: they may have been renewed."""
        config = self._config
        if config.username is not None or config.password_file is not None:
            path = config.password_file
            password = Path(path).read_text(encoding="utf-8").rstrip("\r\n") if path else None
            client.username_pw_set(config.username or self._device, password)
        if config.ca_file is not None:
            client.tls_set(config.ca_file, config.cert_file, config.key_file)

    def _hello(self) -> Dict[str, Any]:
        if not self._is_v5:
            return {}
        properties = Properties(PacketTypes.CONNECT)
        properties.MaximumPacketSize = MAX_PAYLOAD_BYTES
        return {"clean_start": True, "properties": properties}

    def _on_connect(
        self, client: mqtt.Client, _user: Any, _flags: Any, code: ReasonCode, properties: Any
    ) -> None:
        if code.is_failure:
            self._refusal = f"the broker refused the connection: {code}"
            if code.value == _RETAIN_NOT_SUPPORTED:
                # It is our last will that it does not take.
                self.has_retained = False
            return
        self._accepted_s = time.monotonic()
        self.has_retained = bool(getattr(properties, "RetainAvailable", True))
        self._mailbox.put(Connected())

    def _on_disconnect(
        self, _client: mqtt.Client, _user: Any, _flags: Any, code: ReasonCode, _props: Any
    ) -> None:
        self._was_taken = self._was_taken or code.value == _TAKEN_OVER
        self._lost.set()

    def _on_subscribe(
        self, _client: mqtt.Client, _user: Any, mid: int, codes: List[ReasonCode], _props: Any
    ) -> None:
        refused = tuple(place for place, code in enumerate(codes) if code.is_failure)
        self._mailbox.put(SubscriptionAnswered(mid, refused))

    def _on_publish(self, _client: mqtt.Client, _user: Any, mid: int, code: ReasonCode, _props: Any) -> None:
        self._mailbox.put(Delivered(mid, str(code) if code.is_failure else ""))

    def _on_message(self, client: mqtt.Client, _user: Any, message: mqtt.MQTTMessage) -> None:
        properties = message.properties
        self._mailbox.offer_waiting(
            MessageArrived(
                topic=message.topic,
                payload=bytes(message.payload),
                retained=message.retain,
                acknowledge=lambda: _acknowledge(client, message),
                reply_to=getattr(properties, "ResponseTopic", None),
                correlation=getattr(properties, "CorrelationData", b""),
            )
        )


def _acknowledge(client: mqtt.Client, message: mqtt.MQTTMessage) -> None:
    client.ack(message.mid, message.qos)


def _groups(topics: List[str]) -> List[List[str]]:
    return [topics[start : start + _MAX_FILTERS] for start in range(0, len(topics), _MAX_FILTERS)]


def _disable_nagle(_client: mqtt.Client, _user: Any, connection: Any) -> None:
    # Nagle and delayed acknowledgements make a QoS 1 round trip 88 ms instead of 0.5 ms on loopback.
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
