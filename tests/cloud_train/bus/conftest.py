"""What the tests of the data bus share: a real broker, and both ends of a stream in threads."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cloud_train.bus.publisher import Outcome, Publisher
from cloud_train.bus.reader import Reader, find_stream
from cloud_train.bus.stream import SampleStream
from cloud_train.data.samples import Samples
from contract.topics import Topics
from host_mqtt.address import Address
from host_mqtt.link import Link
from tests.fakes.mosquitto import Mosquitto

TOPICS = Topics()
PATIENCE_S = 30.0
Hook = Callable[[int, Reader], None]


class Bus:
    """A broker, and programs around it.

    Attributes:
        address: of the broker, and who the programs are there.
        told: every line that was told to a person.
    """

    def __init__(
        self, address: Address, threads: ThreadPoolExecutor, broker: Mosquitto | None = None
    ) -> None:
        self.address = address
        self.told: list[str] = []
        self._threads, self._broker = threads, broker

    @property
    def broker(self) -> Mosquitto:
        assert self._broker is not None, "the broker is not one that can be killed"
        return self._broker

    def publish(
        self, stream: SampleStream, timeout_s: float = PATIENCE_S, over: type[Link] = Link, **options: Any
    ) -> "Future[Outcome]":
        """Stream in a thread, over this kind of link."""
        options = {"rate": None, "wanted": 1, "advance": lambda _: None, **options}

        def run() -> Outcome:
            with over(self.address) as link:
                return Publisher(
                    link, TOPICS, stream, timeout_s=timeout_s, tell=self.told.append, **options
                ).run()

        return self._threads.submit(run)

    def follow(
        self, model: str = "a", first: int = 1, hook: Hook | None = None, timeout_s: float = PATIENCE_S
    ) -> "Future[tuple[dict[int, Samples], Reader]]":
        """Read the stream `quarters` from part `first` on in a thread; `hook` is called with each part."""

        def run() -> tuple[dict[int, Samples], Reader]:
            with Link(self.address) as link:
                info = find_stream(link, TOPICS, "quarters", timeout_s, self.told.append)
                reader = Reader(
                    link, TOPICS, info, run="run", model=model, timeout_s=timeout_s, tell=self.told.append
                )
                found: dict[int, Samples] = {}
                for number, samples in reader.read(first, info.parts):
                    assert number not in found
                    found[number] = samples
                    if hook:
                        hook(number, reader)
                reader.end()
            return found, reader

        return self._threads.submit(run)


@pytest.fixture
def make_bus(tmp_path: Path) -> Iterator[Callable[..., Bus]]:
    """Start a broker with more lines in its configuration."""
    with ExitStack() as stack:
        threads = stack.enter_context(ThreadPoolExecutor())

        def start(*settings: str) -> Bus:
            broker = Mosquitto(tmp_path / "broker", *settings, keeps=False).start()
            stack.callback(broker.stop)
            return Bus(Address("127.0.0.1", broker.port), threads, broker)

        yield start


@pytest.fixture
def bus(make_bus: Callable[..., Bus]) -> Bus:
    return make_bus()


def same(found: dict[int, Samples], stream: SampleStream) -> bool:
    """Say whether every part that was read is that of the stream, and none is missing from the first on."""
    numbers = list(found)
    assert numbers == list(range(numbers[0], stream.info.parts + 1))
    return all(
        np.array_equal(samples.y, np.array(stream.part(number).labels))
        and samples.x.tobytes() == stream.part(number).pictures
        for number, samples in found.items()
    )
