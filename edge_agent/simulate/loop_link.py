"""A device's connection without a thread of its own: one loop reads and writes for thousands of them."""

import collections
import contextlib
import random
from typing import Any, Callable, Deque, Iterable, NamedTuple, Optional

from edge_agent.config import MqttConfig
from edge_agent.events import Disconnected, Event
from edge_agent.link import Link
from edge_agent.mailbox import Mailbox
from edge_agent.simulate.loop import Loop
from edge_agent.simulate.loop_client import LoopClient

# A broker's backlog is short (mosquitto: 100), and who finds it full waits a second.
_MAX_DIALLING = 50


class Manners(NamedTuple):
    """How a device behaves on the wire.

    Attributes:
        bytes_per_s: how fast it reads, None for as fast as it can.
        mute: never publishes on topics with this ending.
        repeated: publishes everything twice on topics with this ending.
    """

    bytes_per_s: Optional[float] = None
    mute: Optional[str] = None
    repeated: Optional[str] = None


class Gate:
    """Lets a few connect at a time."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._room = _MAX_DIALLING
        self._waiting: Deque[Callable[[], None]] = collections.deque()

    def enter(self, dial: Callable[[], None]) -> None:
        """Dial now or when others are through."""
        self._waiting.append(dial)
        self._admit()

    def leave(self) -> None:
        """Somebody is connected, or has given up."""
        self._room += 1
        self._admit()

    def _admit(self) -> None:
        while self._room and self._waiting:
            self._room -= 1
            self._loop.post(self._waiting.popleft())


class LoopMailbox(Mailbox):
    """Hands every event to its device as soon as the loop is free, until it is closed."""

    def __init__(self, loop: Loop, handle: Callable[[Event], None]) -> None:
        self._loop = loop
        self._handle = handle
        self._is_closed = False

    def put(self, event: Event) -> None:
        """Post what our own doing has caused."""
        self._loop.post(lambda: self._hand_over(event))

    def offer_waiting(self, event: Event) -> None:
        """Post what a stranger sent; the loop reads no more until that is done."""
        self.put(event)

    def close(self) -> None:
        """Drop what is still to come."""
        self._is_closed = True

    def _hand_over(self, event: Event) -> None:
        if not self._is_closed:
            self._handle(event)


class LoopLink(Link):
    """As Link, driven by a loop.

    Attributes:
        manners: how we behave; may change.
        received_bytes: payloads that came.
        sent_bytes: payloads that went.
    """

    _client_class = LoopClient
    _client: Optional[LoopClient]

    def __init__(
        self,
        config: MqttConfig,
        device: str,
        mailbox: Mailbox,
        *,
        loop: Loop,
        gate: Gate,
        manners: Manners,
        watch_publish: Callable[[str, bytes], None],
    ) -> None:
        """Prepare to connect.

        Args:
            config: where the broker is.
            device: who we are.
            mailbox: takes the events.
            loop: reads and writes.
            gate: lets us connect.
            manners: how we behave.
            watch_publish: told the topic and payload of everything that the device publishes, sent or not.
        """
        super().__init__(config, device, mailbox)
        self._loop = loop
        self._gate = gate
        self.manners = manners
        self._watch_publish = watch_publish
        self._socket: Any = None
        self._is_dialling = False
        self._is_writing = False
        self._is_flushing = False
        self._pause_s = 0.0
        self.received_bytes = 0
        self.sent_bytes = 0

    @property
    def is_cut(self) -> bool:
        """Whether `cut` or `stop` was called, and not `start` since."""
        return self._stopping.is_set()

    def start(self) -> None:
        """Begin to connect, also again after `cut`; `Connected` follows when the broker has taken us."""
        self._stopping.clear()
        self._gate.enter(self._dial)

    def stop(self) -> None:
        """Disconnect cleanly, so that the last will is not used."""
        self._stopping.set()
        if self._client is not None:
            self._client.disconnect()
            self._flush_soon()

    def cut(self) -> None:
        """The network or the power is gone: nothing is said to the broker, which will use the last will."""
        self._stopping.set()
        self._leave_gate()
        if self._client is not None and self._socket is not None:
            self._client.on_socket_close = None
            self._loop.unwatch(self._socket)
            self._socket.close()
        self._socket = self._client = None

    def publish(
        self, topic: str, payload: bytes, *, retain: bool = False, qos: int = 1, correlation: bytes = b""
    ) -> Optional[int]:
        """Publish as Link does, unless the device's manners forbid it."""
        self._watch_publish(topic, payload)
        if self.manners.mute is not None and topic.endswith(self.manners.mute):
            return None
        is_repeated = self.manners.repeated is not None and topic.endswith(self.manners.repeated)
        if is_repeated:
            super().publish(topic, payload, retain=retain, qos=qos, correlation=correlation)
        number = super().publish(topic, payload, retain=retain, qos=qos, correlation=correlation)
        self.sent_bytes += 0 if number is None else len(payload)
        self._flush_soon()
        return number

    def subscribe(self, topics: Iterable[str]) -> None:
        """Subscribe as Link does."""
        super().subscribe(topics)
        self._flush_soon()

    def unsubscribe(self, topics: Iterable[str]) -> None:
        """Let go of topics as Link does."""
        super().unsubscribe(topics)
        self._flush_soon()

    def keep_alive(self) -> None:
        """Ping when it is time, notice that the broker is silent."""
        if self._client is not None and self._socket is not None:
            self._client.loop_misc()
            self._flush_soon()

    def _dial(self) -> None:
        self._is_dialling = True
        if self._stopping.is_set() or self._client is not None:
            self._leave_gate()
            return
        try:
            client = self._open()
        except (OSError, ValueError) as error:
            self._end(str(error))
            return
        self._socket = client.socket()
        self._is_writing = False
        self._loop.watch(self._socket, self._on_ready)
        self._flush_soon()

    def _on_ready(self) -> None:
        client, before = self._client, self.received_bytes
        if client is None or self._socket is None:
            return
        client.loop_read()
        while self._socket is not None and client.has_unread:
            client.loop_read()
        self._flush_soon()
        rate = self.manners.bytes_per_s
        if rate is not None and self.received_bytes > before and self._socket is not None:
            self._rest((self.received_bytes - before) / rate)

    def _rest(self, pause_s: float) -> None:
        """Leave the socket alone: what comes meanwhile fills it, and the broker has to wait."""
        connection = self._socket
        self._loop.unwatch(connection)

        def go_on() -> None:
            if self._socket is connection:
                self._loop.watch(connection, self._on_ready, writes=self._is_writing)

        self._loop.after(pause_s, go_on)

    def _flush_soon(self) -> None:
        """Send, once what has come is handled: all answers go together."""
        if not self._is_flushing:
            self._is_flushing = True
            self._loop.post(self._flush)

    def _flush(self) -> None:
        self._is_flushing = False
        if self._client is None or self._socket is None:
            return
        # Who is gone is noticed by reading.
        with contextlib.suppress(OSError):
            self._client.flush()
        is_writing = self._client.has_unsent
        if is_writing != self._is_writing:
            self._is_writing = is_writing
            self._loop.watch(self._socket, self._on_ready, writes=is_writing)

    def _build_client(self) -> Any:
        client = super()._build_client()
        client.on_socket_close = self._on_socket_close
        return client

    def _on_socket_close(self, _client: Any, _user: Any, connection: Any) -> None:
        self._loop.unwatch(connection)
        self._socket = None

    def _on_connect(self, *arguments: Any) -> None:
        super()._on_connect(*arguments)
        if self._accepted_s is not None:
            self._leave_gate()

    def _on_message(self, client: Any, user: Any, message: Any) -> None:
        self.received_bytes += len(message.payload)
        super()._on_message(client, user, message)

    def _on_disconnect(self, *arguments: Any) -> None:
        super()._on_disconnect(*arguments)
        self._loop.post(lambda: self._end(self._explain_loss()))

    def _end(self, reason: str) -> None:
        self._leave_gate()
        self._client = None
        if self._stopping.is_set():
            return
        self._mailbox.put(Disconnected(reason))
        self._pause_s = self._choose_pause_s(self._pause_s)
        self._loop.after(self._pause_s * random.uniform(0.5, 1.5), lambda: self._gate.enter(self._dial))

    def _leave_gate(self) -> None:
        if self._is_dialling:
            self._is_dialling = False
            self._gate.leave()
