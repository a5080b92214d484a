"""The connection to the broker, and the only module that imports paho.

MQTT 5 first, MQTT 3.1.1 where the broker refuses it. paho's thread only counts acknowledgements and puts
messages into one bounded queue; everything else happens in the caller's thread.
"""

import enum
import logging
import queue
import socket
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from contract.codec import MAX_PAYLOAD_BYTES
from host_cli.errors import CommandError, Unreachable
from host_mqtt.address import Address
from host_mqtt.tls import HUNG_UP, build_context, explain

CONNECT_TIMEOUT_S = 4.0
STALL_S = 15.0
KEEPALIVE_S = 30
RECONNECT_MIN_S = 0.1  # paho sleeps that long even when it is asked to end
RECONNECT_MAX_S = 30
SHORT_LIFE_S = 3.0
SHORT_LIVES = 3
WINDOW_MESSAGES = 20  # mosquitto's own default for what may be on its way
INBOX_MESSAGES = 100_000
TOPIC_ROOM_BYTES = 1024
_QOS = 1
_PACKET_TOO_LARGE = 149  # MQTT 5, reason code of DISCONNECT
_START_ONE = "is it running, is the address right? deploy broker starts one"
_ASK_ITS_LOG = "look at its log; mqtts://HOST:PORT where it speaks TLS, mqtt://HOST:PORT where not"
_REFUSED = "Not authorized"
_MAY_NOT = "deploy --credentials DIR with a role that may do this: deploy keys operator ROLE --out DIR"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Message:
    """What arrived; `mid` and `connection` are what an acknowledgement needs."""

    topic: str
    payload: bytes = field(repr=False)
    retained: bool
    mid: int = 0
    connection: int = 0


@dataclass(frozen=True)
class Session:
    """How the broker shall treat this client.

    `keep_s` is how long it keeps the session of `client_id` after a disconnection; MQTT 3.1.1 knows no end,
    so there the session is always clean. With `late_acknowledge` the caller acknowledges each message, and
    the broker sends at most `receive_maximum` ahead.
    """

    client_id: str = ""
    keep_s: int = 0
    late_acknowledge: bool = False
    receive_maximum: int = 1000


class _State(enum.Enum):
    CONNECTING = "connecting"
    CONNECTED = "connected"
    LOST = "lost"
    REFUSED = "refused"


class Link:
    """A `with` block: connected on entry, disconnected on exit.

    Attributes:
        address: where the broker is.
        max_packet_bytes: what the broker takes at most.
        retains: whether the broker keeps retained messages.

    Raises:
        WrongUsage: on entry, a certificate or key of ours cannot be used.
        Unreachable: on entry, no broker answers within CONNECT_TIMEOUT_S or it refuses us; later, the
            broker stops acknowledging.
    """

    def __init__(self, address: Address, session: Session | None = None) -> None:
        self.address = address
        self.max_packet_bytes = MAX_PAYLOAD_BYTES
        self.retains = True
        self._session = session or Session()
        self._changed = threading.Condition()
        self._state = _State.CONNECTING
        self._reason = ""
        self._fatal = ""
        self._pending = 0
        self._connection = 0
        self._connected_s = 0.0
        self._short_lives = 0
        self._filters: list[str] = []
        self._asked: dict[int, list[str]] = {}
        self._granted: set[str] = set()
        self._inbox: queue.Queue[Message] = queue.Queue(INBOX_MESSAGES)
        self._client: paho.Client | None = None

    @property
    def mqtt5(self) -> bool:
        """Whether the broker speaks MQTT 5 with us."""
        return self._paho().protocol == MQTTProtocolVersion.MQTTv5

    @property
    def connections(self) -> int:
        """How often the broker has accepted us; it rises with every reconnection."""
        return self._connection

    def __enter__(self) -> "Link":
        for protocol in (MQTTProtocolVersion.MQTTv5, MQTTProtocolVersion.MQTTv311):
            if self._connect(protocol):
                return self
        raise self._refused()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def subscribe(self, filters: Iterable[str]) -> None:
        """Subscribe with QoS 1 and wait until the broker agreed; repeated after a reconnection.

        Raises:
            Unreachable: the broker does not answer or refuses a filter.
        """
        wanted = list(filters)
        with self._changed:
            self._filters += wanted
            self._granted -= set(wanted)
            self._send_subscribe(wanted)
            if not self._changed.wait_for(lambda: self._granted.issuperset(wanted) or self._fatal, STALL_S):
                raise self._unreachable("the broker did not confirm a subscription")
            self._raise_if_fatal()

    def unsubscribe(self, filters: Iterable[str]) -> None:
        """Take subscriptions back, without waiting; what is on its way may still arrive."""
        left = set(filters)
        with self._changed:
            self._filters = [one for one in self._filters if one not in left]
            self._granted -= left
            if left:
                self._paho().unsubscribe(list(left))

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Send with QoS 1; returns as soon as fewer than WINDOW_MESSAGES wait for their PUBACK.

        A broker that keeps nothing would end the connection over `retain`: there it is sent without.

        Raises:
            Unreachable: no PUBACK came for STALL_S, or the broker refused a message.
        """
        self._wait_for_acknowledgements(WINDOW_MESSAGES - 1)
        with self._changed:
            self._pending += 1
        # Not sent while disconnected, but kept by paho and sent after the reconnection.
        self._paho().publish(topic, payload, _QOS, retain and self.retains)

    def flush(self) -> None:
        """Wait until the broker acknowledged everything that was published.

        Raises:
            Unreachable: no PUBACK came for STALL_S, or the broker refused a message.
        """
        self._wait_for_acknowledgements(0)

    def receive(self, timeout_s: float) -> Message | None:
        """Return the next message, or None when none came in time.

        Raises:
            Unreachable: the broker ended the connection for good.
        """
        try:
            return self._inbox.get(timeout=max(0.0, timeout_s))
        except queue.Empty:
            self._raise_if_fatal()
            return None

    def acknowledge(self, message: Message) -> None:
        """Tell the broker that a message is safe; one of an earlier connection will come again anyway."""
        if message.connection == self._connection:
            self._paho().ack(message.mid, _QOS)

    def _connect(self, protocol: MQTTProtocolVersion) -> bool:
        """Return False when the broker wants another protocol version."""
        self._state, self._reason = _State.CONNECTING, ""
        self._client = self._build_client(protocol)
        try:
            self._dial(protocol)
        except OSError as error:
            found = explain(error)
            raise self._unreachable(
                *(found or (f"no broker answers: {error.strerror or error}", _START_ONE))
            ) from error
        self._client.loop_start()
        with self._changed:
            answered = self._changed.wait_for(lambda: self._state is not _State.CONNECTING, CONNECT_TIMEOUT_S)
        if self._connection > 0:
            return True
        self._close()
        if not answered:
            raise self._unreachable(f"no answer within {CONNECT_TIMEOUT_S:.0f} s")
        return False

    def _build_client(self, protocol: MQTTProtocolVersion) -> paho.Client:
        old = protocol == MQTTProtocolVersion.MQTTv311
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._session.client_id,
            clean_session=True if old else None,
            protocol=protocol,
            manual_ack=self._session.late_acknowledge,
        )
        client.connect_timeout = CONNECT_TIMEOUT_S
        client.max_inflight_messages_set(WINDOW_MESSAGES)
        client.reconnect_delay_set(RECONNECT_MIN_S, RECONNECT_MAX_S)  # type: ignore[arg-type]
        self._introduce(client)
        client.on_socket_open = _send_at_once
        client.on_log = self._on_log
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        return client

    def _introduce(self, client: paho.Client) -> None:
        """Say who we are, and whom we believe."""
        credentials = self.address.credentials
        if self.address.tls:
            client.tls_set_context(build_context(credentials))
        if credentials.user is not None:
            client.username_pw_set(credentials.user, credentials.password)

    def _dial(self, protocol: MQTTProtocolVersion) -> None:
        host, port = self.address.host, self.address.port
        if protocol == MQTTProtocolVersion.MQTTv311:
            self._paho().connect(host, port, KEEPALIVE_S)
            return
        wishes = Properties(PacketTypes.CONNECT)
        wishes.MaximumPacketSize = MAX_PAYLOAD_BYTES + TOPIC_ROOM_BYTES
        wishes.ReceiveMaximum = self._session.receive_maximum
        wishes.SessionExpiryInterval = self._session.keep_s
        clean = self._session.keep_s == 0
        self._paho().connect(host, port, KEEPALIVE_S, clean_start=clean, properties=wishes)

    def _on_connect(self, client: Any, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        with self._changed:
            if reason.is_failure:
                self._reason = str(reason)
            else:
                self._state, self._connected_s = _State.CONNECTED, time.monotonic()
                self._connection += 1
                self.max_packet_bytes = getattr(properties, "MaximumPacketSize", MAX_PAYLOAD_BYTES)
                self.retains = bool(getattr(properties, "RetainAvailable", True))
                kept = self._granted if flags.session_present else set()
                lost = [one for one in self._filters if one not in kept]
                if lost:
                    self._send_subscribe(lost)
            self._changed.notify_all()

    def _on_disconnect(self, client: Any, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        with self._changed:
            if self._state is _State.CONNECTED:
                self._note_loss(reason)
            elif self._state is _State.CONNECTING:
                self._state = _State.REFUSED
            self._changed.notify_all()

    def _note_loss(self, reason: Any) -> None:
        self._state = _State.LOST
        short = time.monotonic() - self._connected_s < SHORT_LIFE_S
        self._short_lives = self._short_lives + 1 if short else 0
        if reason.value == _PACKET_TOO_LARGE:
            self._fatal = "the broker refuses packets of this size"
        elif self._short_lives >= SHORT_LIVES:
            self._fatal = f"the broker ended {SHORT_LIVES} connections at once; is our client id used twice?"

    def _on_log(self, client: Any, userdata: Any, level: int, text: str) -> None:
        # The only place where paho says why TLS ended: the broker may refuse us after the handshake.
        # No lock: paho may hold its own here.
        if self.address.tls and level == paho.MQTT_LOG_ERR and explain(text) is not None:
            self._reason = text

    def _on_subscribe(self, client: Any, userdata: Any, mid: int, reasons: Any, properties: Any) -> None:
        with self._changed:
            refused = [str(reason) for reason in reasons if reason.is_failure]
            if refused:
                self._fatal = f"the broker refused a subscription: {refused[0]}"
            self._granted.update(self._asked.pop(mid, []))
            self._changed.notify_all()

    def _on_publish(self, client: Any, userdata: Any, mid: int, reason: Any, properties: Any) -> None:
        with self._changed:
            self._pending -= 1
            if reason.is_failure:
                self._fatal = f"the broker refused a message: {reason}"
            self._changed.notify_all()

    def _on_message(self, client: Any, userdata: Any, arrived: paho.MQTTMessage) -> None:
        message = Message(
            arrived.topic, bytes(arrived.payload), arrived.retain, arrived.mid, self._connection
        )
        try:
            self._inbox.put_nowait(message)
        except queue.Full:
            _log.error("dropped a message on %s: %d wait already", arrived.topic, INBOX_MESSAGES)

    def _send_subscribe(self, filters: list[str]) -> None:
        # While there is no connection nothing is sent; the reconnection asks for all of them.
        _, mid = self._paho().subscribe([(one, _QOS) for one in filters])
        if mid is not None:
            self._asked[mid] = list(filters)

    def _wait_for_acknowledgements(self, at_most: int) -> None:
        with self._changed:
            while self._pending > at_most and not self._fatal:
                if not self._changed.wait(STALL_S):
                    raise self._unreachable(f"no acknowledgement for {STALL_S:.0f} s")
            self._raise_if_fatal()

    def _raise_if_fatal(self) -> None:
        if self._fatal:
            raise self._unreachable(self._fatal, _MAY_NOT if _REFUSED in self._fatal else _START_ONE)

    def _refused(self) -> CommandError:
        found = None
        if self.address.tls:
            found = explain(self._reason) if self._reason else HUNG_UP
        why = self._reason or "it hung up"
        return self._unreachable(*(found or (f"the broker refused us: {why}", _ASK_ITS_LOG)))

    def _unreachable(self, what: str, hint: str = _START_ONE) -> CommandError:
        return Unreachable(what, str(self.address), hint)

    def _paho(self) -> paho.Client:
        assert self._client is not None, "a Link is used inside its with block"
        return self._client

    def _close(self) -> None:
        if self._client is not None:
            self._client.disconnect()
            self._client.loop_stop()
            opened = self._client.socket()
            if opened is not None:
                # paho's thread was ended while it connected again.
                opened.close()


def _send_at_once(client: Any, userdata: Any, opened: Any) -> None:
    # Nagle and delayed acknowledgements together cost 88 ms a round trip, without Nagle it is 0.5 ms.
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
