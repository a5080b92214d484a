"""What the tests of rollouts share: a fleet of fake boards, and a rollout that is quick."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from contract.topics import Topics
from deploy.releases.ledger import Ledger
from deploy.rollouts.rollout import Order, start
from deploy.rollouts.rollout_book import RolloutBook
from deploy.rollouts.rollout_rules import Gate, Plan
from host_mqtt.address import Address
from host_mqtt.link import Link
from host_mqtt.roll_call import remembered
from tests.deploy.fake_device import TIMEOUT_S, FakeDevice
from tests.fakes.mosquitto import Mosquitto

QUICK = Gate(max_failures=2.0, min_success=90.0, min_executed=1, soak_s=0.0, timeout_s=30.0)


@contextmanager
def boards(address: Address, base: str, names, verdicts=None, **changes) -> Iterator[dict[str, FakeDevice]]:
    """Boards that obey; `verdicts` says by name on which it does not go well."""
    found = {}
    with ExitStack() as stack:
        for name in names:
            board = stack.enter_context(FakeDevice(address, base, name, **changes))
            verdict = (verdicts or {}).get(name)
            board.obey(verdict if callable(verdict) else lambda release, code=verdict: code)
            found[name] = board
        yield found


class Place:
    """A fleet's folder, a broker and a base topic: where a rollout happens."""

    def __init__(self, bundle: Path, fleet: Path, address: Address, base: str) -> None:
        self.bundle, self.fleet, self.address, self.base = bundle, fleet, address, base
        self.topics = Topics(base)
        self.channel_topic = self.topics.channel_desired("stable")
        self.said: list[str] = []

    def order(self, plan: Plan, **changes) -> Order:
        values = {"bundle": self.bundle, "fleet": self.fleet, "broker": self.address, "base": self.base}
        return Order(**{**values, "plan": plan, **changes})

    def roll_out(self, canary=(), percents=(100.0,), gate=QUICK, **changes):
        return start(self.order(Plan(tuple(canary), tuple(percents), gate), **changes), self.said.append)

    def retained(self, link) -> dict[str, bytes]:
        found = remembered(link, self.topics, [self.base + "/#"])
        return {one.topic: one.payload for one in found if one.retained}

    def retained_now(self) -> dict[str, bytes]:
        with Link(self.address) as link:
            return self.retained(link)

    def sequences(self) -> list[tuple[int, str, float]]:
        """Every release in the ledger: sequence, version, percent."""
        with Ledger(self.fleet) as ledger:
            return [(one.sequence, one.version, one.manifest.rollout.percent) for one in ledger.releases()]


@contextmanager
def in_background(work: Callable[[], object]) -> Iterator[list]:
    """Run `work` beside the block; its result is in the list after the block."""
    results: list = []

    def run() -> None:
        try:
            results.append(work())
        except Exception as error:
            results.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield results
    thread.join(TIMEOUT_S * 3)
    assert not thread.is_alive(), "it did not end"


class LossyBroker(Mosquitto):
    """A broker of our own that keeps nothing on disk, so that a kill loses everything."""

    def __init__(self, folder: Path, *settings: str) -> None:
        super().__init__(folder / "lossy", *settings, keeps=False)
        self.address = Address("127.0.0.1", self.port)
        self.start()


def require_all_stages_once(place: Place, found: dict[str, FakeDevice]) -> None:
    """A rollout of two stages over reef-1 and reef-2: each was signed, passed and taken once, in order."""
    with Ledger(place.fleet) as ledger:
        book = RolloutBook(ledger)
        (rollout,) = book.all()
        pages = [book.stage(rollout.id, number) for number in (1, 2, 3)]
        counted = [book.counted(rollout.id, number) for number in (1, 2)]
        passed = [one for one in ledger.entries() if one.what == "stage passed"]
        releases = [one.sequence for one in ledger.releases()]
    assert pages[2] is None and releases == [pages[0].sequence, pages[1].sequence]
    assert [[one.is_good for one in each] for each in counted] == [[True], [True, True]]
    assert len(passed) == 2
    assert pages[0].published_s <= pages[0].ended_s <= pages[1].published_s <= pages[1].ended_s
    assert sorted({one.sequence for one in found["reef-1"].taken}) == releases
    assert {one.sequence for one in found["reef-2"].taken} == {releases[1]}
