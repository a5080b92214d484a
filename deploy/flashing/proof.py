"""Whether the agent of a board works: it is online under a new boot, and predicts over MQTT what is right."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from contract.codec import decode, encode
from contract.envelope import Envelope
from contract.errors import ContractError
from contract.manifest import ReleaseManifest
from contract.messages import InferAnswer, InferError, InferRequest
from contract.topics import Topics
from deploy.boards.answer import clean
from deploy.flashing.pictures import draw_grey
from deploy.fleets.fleet import Device, Fleet
from host_mqtt.address import Address
from host_mqtt.link import Link, Message
from host_mqtt.roll_call import remembered

FIRST_MODEL = "brightness"
# What the first model says of a white and of a black picture.
EXPECTED = {"bright": draw_grey(255), "dark": draw_grey(0)}
POLL_S = 0.5
# A question to a board that is busy or loses its connection is lost: it is asked again.
ASK_AGAIN_S = 10.0
_TRANSACTION_BYTES = 8


class NotProven(Exception):
    """The agent did not come up, did not answer, or answered wrongly; the text says which."""


@dataclass(frozen=True)
class Proof:
    """What a working agent said: its version and start, the model, and its prediction of a white picture."""

    agent: str
    boot: str
    model: str
    label: str
    score: float
    total_ms: float


@dataclass(frozen=True)
class Wait:
    """How long to wait, and what ends it before: `check` raises when somebody pressed Ctrl-C."""

    until_s: float
    check: Callable[[], None]

    @classmethod
    def at_most(cls, seconds: float, check: Callable[[], None]) -> "Wait":
        """Begin to wait."""
        return cls(time.monotonic() + seconds, check)

    @property
    def left_s(self) -> float:
        """Seconds that are left, never below 0."""
        return max(0.0, self.until_s - time.monotonic())


class Witness:
    """Hears one device on the broker, and asks it."""

    def __init__(self, link: Link, topics: Topics, device: str) -> None:
        self._link, self._topics, self.name = link, topics, device
        self._fleet = Fleet(topics)
        self._channel_release = b""
        self._answer: InferAnswer | InferError | None = None
        said = topics.status, topics.info, topics.model_reported, topics.model_desired, topics.infer_response
        for message in remembered(link, topics, [topic(device) for topic in said]):
            self._observe(message)

    @property
    def device(self) -> Device:
        """The newest that the device said."""
        return self._fleet.get(self.name)

    @property
    def boot(self) -> str:
        """The start of the agent that was heard of last; "" when it was never heard of."""
        return self.device.info.boot if self.device.info else ""

    @property
    def channel(self) -> str:
        """Whose releases it takes; "" when it was never heard of."""
        return self.device.info.channel if self.device.info else ""

    @property
    def is_online(self) -> bool:
        """Whether the device is connected."""
        return self.device.online is True

    def catch_up(self) -> None:
        """Hear everything that was said until now.

        Raises:
            Unreachable: the broker does not answer.
        """
        for message in remembered(self._link, self._topics, []):
            self._observe(message)

    def await_start(self, old_boot: str, wait: Wait) -> Device:
        """Wait until the device is online with another start of its agent, and has said what it runs.

        Raises:
            NotProven: it is not.
        """

        def has_started() -> bool:
            report = self.device.report
            is_new = self.is_online and self.boot not in ("", old_boot)
            return is_new and report is not None and report.boot == self.boot

        if self._hear_until(has_started, wait):
            return self.device
        if self.boot in ("", old_boot):
            raise NotProven(f"it did not come online{'' if old_boot == '' else ' again'}")
        raise NotProven("it went offline again" if not self.is_online else "it does not say what it runs")

    def lacks_model(self) -> bool:
        """Whether it runs nothing, and nothing is on its way: no release of its own, none of its channel."""
        report, info = self.device.report, self.device.info
        if report is None or info is None or report.current is not None or self.device.desired:
            return False
        for message in remembered(self._link, self._topics, [self._topics.channel_desired(info.channel)]):
            self._observe(message)
        return not self._channel_release

    def is_pinned_to_first_model(self) -> bool:
        """Whether the first model was sent to it alone, and it was not given back to its channel."""
        if not self.device.desired:
            return False
        try:
            release = decode(Envelope, self.device.desired).open(ReleaseManifest)
        except ContractError:
            return False
        return release.model.name == FIRST_MODEL

    def prove(self, wait: Wait) -> Proof:
        """Ask for a white and a black picture until both were predicted.

        Raises:
            NotProven: there is no answer, or the first model gives a wrong one.
        """
        answers = {label: self._ask(picture, wait) for label, picture in EXPECTED.items()}
        for label, answer in answers.items():
            if answer.model.name == FIRST_MODEL and answer.label != label:
                raise NotProven(f"it says {answer.label!r} of a picture that is {label}")
        white = answers["bright"]
        model = f"{white.model.name} {white.model.version}"
        agent = self.device.info.agent if self.device.info else ""
        return Proof(agent, white.boot, model, white.label, white.score, white.latency_ms.total)

    def _ask(self, picture: bytes, wait: Wait) -> InferAnswer:
        last = "it does not answer"
        while wait.left_s > 0:
            answer = self._ask_once(
                picture, Wait(min(wait.until_s, time.monotonic() + ASK_AGAIN_S), wait.check)
            )
            if isinstance(answer, InferAnswer) and answer.boot == self.boot:
                return answer
            if isinstance(answer, InferError):
                last = f"it answers: {clean(answer.error.message)} ({answer.error.code})"
                self._hear_until(
                    lambda: False, Wait(min(wait.until_s, time.monotonic() + POLL_S), wait.check)
                )
        raise NotProven(last)

    def _ask_once(self, picture: bytes, wait: Wait) -> InferAnswer | InferError | None:
        transaction = os.urandom(_TRANSACTION_BYTES).hex()
        request = InferRequest(transaction, image_b64=picture)
        self._link.publish(self._topics.infer(self.name), encode(request))
        self._answer = None

        def is_answered() -> bool:
            return self._answer is not None and self._answer.transaction == transaction

        return self._answer if self._hear_until(is_answered, wait) else None

    def _hear_until(self, is_over: Callable[[], bool], wait: Wait) -> bool:
        """Listen until it is over, which is returned, or the time is."""
        while not is_over() and wait.left_s > 0:
            wait.check()
            message = self._link.receive(min(POLL_S, wait.left_s))
            if message is not None:
                self._observe(message)
        return is_over()

    def _observe(self, message: Message) -> None:
        info = self.device.info
        if message.topic == self._topics.infer_response(self.name):
            self._note_answer(message.payload)
        elif info is not None and message.topic == self._topics.channel_desired(info.channel):
            self._channel_release = message.payload
        else:
            self._fleet.observe(message.topic, message.payload, message.retained)

    def _note_answer(self, payload: bytes) -> None:
        kinds: tuple[type[InferAnswer | InferError], ...] = (InferAnswer, InferError)
        for kind in kinds:
            with suppress(ContractError):
                self._answer = decode(kind, payload)


@contextmanager
def open_witness(broker: Address, base: str, device: str) -> Iterator[Witness]:
    """Connect to the broker, and learn what it remembers of a device.

    Raises:
        Unreachable: no broker answers, or it does not take us.
    """
    with Link(broker) as link:
        yield Witness(link, Topics(base), device)
