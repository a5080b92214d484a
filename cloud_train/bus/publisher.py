"""Sends a stream of samples: whoever follows it gets the parts that he asks for, until all are through."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from cloud_train.bus.rules import Requests
from cloud_train.bus.stream import SampleStream
from contract.codec import decode, encode
from contract.errors import MessageError
from contract.topics import Topics
from contract.training import DataInfo, DataPosition
from host_cli.errors import Unreachable, WrongUsage
from host_mqtt.link import Link, Message

HEARTBEAT_S = 1.0
# A publisher that is there says so within this time.
_OTHER_S = 1.5 * HEARTBEAT_S
_POLL_S = 0.2

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """How a stream ended.

    Attributes:
        parts: how many messages with samples were sent, also those that were sent twice.
        followers: of each `run/model`, the part that it wanted next; past the last one if it is through.
        left_behind: those that are not through.
        malformed: how many messages were no positions.
    """

    parts: int
    followers: dict[str, int]
    left_behind: dict[str, int]
    malformed: int


class Publisher:
    """Streams to everybody who follows.

    Args:
        link: inside its with block.
        topics: below the base.
        stream: what is sent.
        rate: pictures per second at most; None: as fast as they are asked for.
        wanted: how many followers must come; the stream is over when all that came are through.
        timeout_s: how long to wait for a follower that is missing or says nothing.
        tell: gets one line for a person now and then.
        advance: gets how many parts more the farthest follower has been sent.
    """

    def __init__(
        self,
        link: Link,
        topics: Topics,
        stream: SampleStream,
        *,
        rate: float | None,
        wanted: int,
        timeout_s: float,
        tell: Tell,
        advance: Callable[[float], None],
    ) -> None:
        self._link, self._topics, self._stream, self._info = link, topics, stream, stream.info
        self._rate, self._wanted, self._timeout_s = rate, wanted, timeout_s
        self._tell, self._advance = tell, advance
        self._requests = Requests(stream.info.parts, wanted, timeout_s)
        self._sent = self._farthest = self._malformed = 0

    def run(self) -> Outcome:
        """Stream until every follower is through or has been silent for too long.

        Raises:
            WrongUsage: somebody else publishes a stream of this name.
            Unreachable: nobody follows, or the broker is away.
        """
        info_topic = self._topics.data_info(self._info.dataset)
        self._refuse_second(info_topic)
        self._link.subscribe([self._topics.data_position(self._info.dataset)])
        started = heartbeat = due = time.monotonic()
        while not self._requests.is_over(now := time.monotonic()):
            self._refuse_solitude(now, started)
            if now >= heartbeat:
                self._link.publish(info_topic, encode(self._info), retain=True)
                heartbeat = now + HEARTBEAT_S
            number = self._requests.take() if now >= due else None
            if number is not None:
                due = max(due, now - _POLL_S) + self._send(number)
            self._listen(0.0 if number is not None else min(_POLL_S, max(0.0, due - now)) or _POLL_S)
        self._link.publish(info_topic, b"", retain=True)
        self._link.flush()
        followers = {name: one.next for name, one in self._requests.followers.items()}
        return Outcome(self._sent, followers, self._requests.left_behind(), self._malformed)

    def _refuse_solitude(self, now: float, started: float) -> None:
        came = len(self._requests.followers)
        if came < self._wanted and now - self._requests.last_heard_s(started) > self._timeout_s:
            what = f"{came} of {self._wanted} followers came, and for {self._timeout_s:.0f} s nobody else"
            where = self._topics.data_position(self._info.dataset)
            raise Unreachable(what, where, f"cloud-train follow --stream {self._info.dataset}")

    def _listen(self, patience_s: float) -> None:
        """Take in all that is there; when there is nothing, wait `patience_s` for something."""
        while (message := self._link.receive(patience_s)) is not None:
            self._hear(message)
            patience_s = 0.0

    def _refuse_second(self, info_topic: str) -> None:
        # What the broker remembers may be from a publisher that was killed; one that lives says so again.
        self._link.subscribe([info_topic])
        until = time.monotonic() + _POLL_S
        while (left := until - time.monotonic()) > 0:
            message = self._link.receive(left)
            if message is None or not message.payload:
                continue
            if not message.retained:
                raise self._taken()
            until = time.monotonic() + _OTHER_S

    def _send(self, number: int) -> float:
        """Send a part; return the seconds that the next one has to wait for it."""
        part = self._stream.part(number)
        self._link.publish(self._topics.data_part(self._info.dataset, number), encode(part))
        self._sent += 1
        self._advance(max(0, number - self._farthest))
        self._farthest = max(self._farthest, number)
        return len(part.labels) / self._rate if self._rate else 0.0

    def _hear(self, message: Message) -> None:
        try:
            if message.topic == self._topics.data_position(self._info.dataset):
                self._hear_position(decode(DataPosition, message.payload))
            elif message.payload:
                self._hear_info(decode(DataInfo, message.payload))
        except MessageError as error:
            self._malformed += 1
            self._tell(f"{message.topic}: dropped a message: {error}")

    def _hear_position(self, position: DataPosition) -> None:
        if position.stream != self._info.stream:
            return  # it has not heard of this stream yet, or learns from an earlier one
        name = f"{position.run}/{position.model}"
        if name not in self._requests.followers:
            self._tell(f"{name} follows from part {position.next} of {self._info.parts}")
        self._requests.hear(position, time.monotonic())

    def _hear_info(self, info: DataInfo) -> None:
        # Two that started at once: the one that started first goes on, on both sides of the broker.
        if info.publisher < self._info.publisher:
            raise self._taken()

    def _taken(self) -> WrongUsage:
        what = f"somebody else publishes a stream of the name {self._info.dataset}"
        return WrongUsage(
            what, str(self._link.address), "wait until it is over, or give another --stream NAME"
        )
