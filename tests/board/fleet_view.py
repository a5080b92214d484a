"""What the device says on the broker, and what it answers; one connection for the whole story."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace

from contract.codec import decode, encode
from contract.errors import ContractError
from contract.messages import InferAnswer, InferError, InferRequest
from contract.topics import Topics
from deploy.flashing.pictures import draw_grey
from deploy.fleets.fleet import Device, Fleet
from deploy.trust.certificates import operator_folder
from host_mqtt.address import Address
from host_mqtt.credentials import Credentials
from host_mqtt.link import Link
from tests.board.computer import NAME, Computer

# A picture that any model can be asked about.
PICTURE = draw_grey(255)
PATIENCE_S = 300.0
# A board that is starting answers nothing yet.
ASK_AGAIN_S = 10.0


class FleetView:
    """The newest that the device said, brought up to date whenever somebody looks."""

    def __init__(self, link: Link) -> None:
        self._link, self._topics = link, Topics()
        self._fleet = Fleet(self._topics)
        self._answers: list[bytes] = []
        self._asked = 0
        link.subscribe([*self._fleet.filters(), self._topics.infer_response(NAME)])

    @property
    def device(self) -> Device:
        """The device as it is now."""
        while self._hear(0.0):
            pass
        return self._fleet.get(NAME)

    @property
    def boot(self) -> str:
        """What names the newest start of the agent."""
        info = self.device.info
        return info.boot if info else ""

    def await_device(
        self, what: str, is_so: Callable[[Device], bool], timeout_s: float = PATIENCE_S
    ) -> Device:
        """Wait until the device says so."""
        until_s = time.monotonic() + timeout_s
        while not is_so(self.device):
            assert time.monotonic() < until_s, f"not within {timeout_s:.0f} s: {what}; {self.device}"
            self._hear(0.2)
        return self.device

    def await_online(self, since: str) -> Device:
        """Wait until another start of the agent than `since` is online."""
        return self.await_device(
            "online",
            lambda device: device.online is True and device.info is not None and device.info.boot != since,
        )

    def await_model(self, version: str) -> Device:
        """Wait until this version of a model is active."""

        def is_active(device: Device) -> bool:
            report = device.report
            if report is None or report.current is None:
                return False
            return report.phase == "active" and report.current.version == version

        return self.await_device(f"version {version} is active", is_active)

    def ask(self, array: Sequence[int] = (), picture: bytes = b"") -> InferAnswer:
        """Ask for a prediction until there is one: of a whole input tensor, or of a picture."""
        request = (
            InferRequest("first", array=tuple(array)) if array else InferRequest("first", image_b64=picture)
        )
        until_s = time.monotonic() + PATIENCE_S
        answer: InferAnswer | InferError | None = None
        while time.monotonic() < until_s:
            answer = self._ask_once(request)
            if isinstance(answer, InferAnswer):
                return answer
            time.sleep(0.5)
        raise AssertionError(f"no prediction within {PATIENCE_S:.0f} s, last {answer}")

    def _ask_once(self, request: InferRequest) -> InferAnswer | InferError | None:
        self._asked += 1
        transaction = f"board-test-{self._asked}"
        self._link.publish(self._topics.infer(NAME), encode(replace(request, transaction=transaction)))
        until_s = time.monotonic() + ASK_AGAIN_S
        while time.monotonic() < until_s:
            self._hear(0.2)
            while self._answers:
                answer = _read(self._answers.pop())
                if answer.transaction == transaction:
                    return answer
        return None

    def _hear(self, timeout_s: float) -> bool:
        message = self._link.receive(timeout_s)
        if message is None:
            return False
        if message.topic == self._topics.infer_response(NAME):
            self._answers.append(message.payload)
        else:
            self._fleet.observe(message.topic, message.payload, message.retained)
        return True


def _read(payload: bytes) -> InferAnswer | InferError:
    with suppress(ContractError):
        return decode(InferAnswer, payload)
    return decode(InferError, payload)


@contextmanager
def open_view(computer: Computer, broker: str) -> Iterator[FleetView]:
    """Listen to the device while the block runs."""
    credentials = Credentials.read(operator_folder(computer.fleet, "deploy"))
    with Link(replace(Address.parse(broker), credentials=credentials)) as link:
        yield FleetView(link)
