"""Reads a stream of samples from the broker: every part once, in order, however often something is lost."""

import time
from collections.abc import Callable, Iterator

import numpy as np

from cloud_train.bus.rules import Window
from cloud_train.data.samples import Samples
from contract.codec import decode, encode
from contract.errors import MessageError
from contract.topics import Topics
from contract.training import DataInfo, DataPart, DataPosition
from host_cli.errors import Failed, Unreachable, WrongUsage
from host_mqtt.link import Link, Message

# What did not come for so long is asked for again.
SILENCE_S = 2.0
TOLD_EVERY_S = 10.0
# A publisher that sends nothing else would be asked for ever.
MAX_MALFORMED = 100

Tell = Callable[[str], None]


def find_stream(link: Link, topics: Topics, dataset: str, timeout_s: float, tell: Tell) -> DataInfo:
    """Wait until somebody publishes a stream of this name.

    Raises:
        Unreachable: nobody does within `timeout_s`.
    """
    topic = topics.data_info(dataset)
    link.subscribe([topic])
    started, told = time.monotonic(), 0.0
    while (waited := time.monotonic() - started) <= timeout_s:
        message = link.receive(min(SILENCE_S, timeout_s))
        if message is None:
            if waited >= told:
                tell(f"waiting for a stream of the name {dataset}: nobody publishes one")
                told += TOLD_EVERY_S
        elif message.payload and not message.retained:  # else its publisher may be gone for days
            try:
                return decode(DataInfo, message.payload)
            except MessageError as error:
                tell(f"{message.topic}: dropped a message: {error}")
    raise _nobody(topic, timeout_s)


class Reader:
    """One follower's way through a stream.

    Args:
        link: inside its with block, subscribed to the stream's info by `find_stream`.
        topics: below the base.
        info: of the stream.
        run: name of the run, and
        model: of the follower in it; together they are its name on the bus.
        timeout_s: how long to wait for a part.
        tell: gets one line for a person when something is not as it should be.

    Attributes:
        asked_again: how often parts were lost, and asked for once more.
        duplicates: how many parts came that were not wanted, or not any more.
        malformed: how many messages were dropped because they are not what they should be.
    """

    def __init__(
        self,
        link: Link,
        topics: Topics,
        info: DataInfo,
        *,
        run: str,
        model: str,
        timeout_s: float,
        tell: Tell,
    ) -> None:
        self._link, self._topics, self._info = link, topics, info
        self._run, self._model, self._timeout_s, self._tell = run, model, timeout_s, tell
        self._connections, self._publisher = link.connections, info.publisher
        self._subscribed: set[int] = set()
        self.asked_again = self.duplicates = self.malformed = 0

    def read(self, first: int, last: int) -> Iterator[tuple[int, Samples]]:
        """Yield parts `first` to `last` with their numbers; to ask for more says: this one is learned.

        Raises:
            Unreachable: nothing came for `timeout_s`, or the broker is away.
            WrongUsage: the stream became another one.
            Failed: too much of what comes is malformed.
        """
        window: Window[Samples] = Window(first, last)
        self._widen(window, again=True)
        while not window.is_over:
            samples = window.pop()
            if samples is None:
                self._await_next(window)
                continue
            yield window.next - 1, samples
            self._widen(window, again=False)
        self.duplicates += window.duplicates
        self._subscribe(window)

    def end(self) -> None:
        """Say that the whole stream is learned and kept; the publisher need not wait any more.

        Raises:
            Unreachable: the broker is away.
        """
        self._say(self._info.parts + 1, self._info.parts, again=False)
        self._link.flush()

    def _widen(self, window: Window[Samples], again: bool) -> None:
        if window.widen():
            self._subscribe(window)
            self._say(window.next, window.until, again)

    def _subscribe(self, window: Window[Samples]) -> None:
        """Be sent the parts of the window and no others: what nobody reads would pile up at the broker."""
        wanted = set(range(window.next, window.until + 1))
        self._link.unsubscribe(self._parts(self._subscribed - wanted))
        if wanted - self._subscribed:
            self._link.subscribe(self._parts(wanted - self._subscribed))
        self._subscribed = wanted

    def _await_next(self, window: Window[Samples]) -> None:
        """Put what arrives into the window until its next part is there."""
        started = time.monotonic()
        asked, told = started, started + TOLD_EVERY_S
        while not window.has_next:
            message = self._link.receive(SILENCE_S / 4)
            is_cut = message is not None and self._take(message, window)
            is_cut = is_cut or self._connections != self._link.connections
            now = time.monotonic()
            if is_cut or now - asked > SILENCE_S:
                self._ask_again(window, is_cut)
                asked = now
            if now >= told:
                self._tell(f"{self._model} waits for part {window.next} of {self._info.parts}")
                told = now + TOLD_EVERY_S
            if now - started > self._timeout_s:
                raise _nobody(self._topics.data_part(self._info.dataset, window.next), self._timeout_s)

    def _ask_again(self, window: Window[Samples], is_cut: bool) -> None:
        # A slow publisher loses nothing: only where a later part is there, one was lost.
        if is_cut or window.has_gap:
            self.asked_again += 1
            self._tell(f"{self._model} asks again from part {window.next}")
        self._connections = self._link.connections
        self._say(window.next, window.until, again=True)

    def _take(self, message: Message, window: Window[Samples]) -> bool:
        """Take in a message; return whether another publisher goes on with the stream."""
        try:
            if message.topic == self._topics.data_info(self._info.dataset):
                return bool(message.payload) and self._take_info(decode(DataInfo, message.payload))
            part = decode(DataPart, message.payload)
            if part.stream == self._info.stream:
                window.put(part.number, read_part(part, self._info))
        except MessageError as error:
            self.malformed += 1
            self._tell(f"{message.topic}: dropped a message: {error}")
            if self.malformed > MAX_MALFORMED:
                what = f"{self.malformed} messages were not what they should be"
                raise Failed(what, message.topic, "see who else publishes there") from error
        return False

    def _take_info(self, info: DataInfo) -> bool:
        if info.stream != self._info.stream:
            what = f"the stream {info.dataset} is another one now: its SHA-256 is {info.stream[:12]}"
            where = f"this model learns from {self._info.stream[:12]}"
            raise WrongUsage(what, where, "publish the same data with the same options, or another --out")
        is_new, self._publisher = info.publisher != self._publisher, info.publisher
        return is_new

    def _say(self, next_: int, until: int, again: bool) -> None:
        position = DataPosition(self._run, self._model, self._info.stream, next_, until, again)
        self._link.publish(self._topics.data_position(self._info.dataset), encode(position))

    def _parts(self, numbers: set[int]) -> list[str]:
        return [self._topics.data_part(self._info.dataset, number) for number in sorted(numbers)]


def read_part(part: DataPart, info: DataInfo) -> Samples:
    """Return the samples of a part.

    Raises:
        MessageError: it is no part of this stream.
    """
    if part.number > info.parts or len(part.labels) != info.samples_of(part.number):
        raise MessageError(f"{len(part.labels)} samples cannot be part {part.number} of {info.parts}")
    if len(part.pictures) != len(part.labels) * info.picture_bytes:
        raise MessageError(f"{len(part.pictures)} bytes are not {len(part.labels)} pictures")
    if max(part.labels) >= len(info.labels):
        raise MessageError(f"label {max(part.labels)} is none of the {len(info.labels)} labels")
    x = np.frombuffer(part.pictures, np.uint8).reshape(-1, *info.preprocessing.shape)
    return Samples(x, np.array(part.labels, np.int64))


def _nobody(topic: str, timeout_s: float) -> Unreachable:
    return Unreachable(f"nothing came for {timeout_s:.0f} s", topic, "is `cloud-train publish` running?")
