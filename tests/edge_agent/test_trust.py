"""Promises of updates.trust: what a device believes outlives a power cut, and is never less than its root."""

import errno
from pathlib import Path
from typing import Any, List

import pytest

from contract.stamps import format_time
from contract.topics import Topics
from edge_agent.config import AgentConfig
from edge_agent.disk import Disk
from edge_agent.errors import StorageError, TrustError
from edge_agent.updates.trust import MAX_STEPS, Trust
from tests.fakes.board import DEVICE
from tests.fakes.broker import FakeBroker, FakeLink
from tests.fakes.publisher import DAY_S, ISSUED_S, Publisher

TOPICS = Topics()
STAMP = TOPICS.trust_timestamp()
NOW_S = ISSUED_S + DAY_S


class FullDisk(Disk):
    """A disk that may be full."""

    is_full = False

    def write(self, path: Path, data: bytes) -> None:
        if self.is_full:
            raise OSError(errno.ENOSPC, "full")
        super().write(path, data)


class Place:
    """A state folder, a publisher, and the trust that lives there; `start` begins anew from the disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.publisher = Publisher()
        self.broker = FakeBroker()
        self.disk = FullDisk()
        self.start()

    def start(self, **changes: Any) -> Trust:
        """Begin as after a power cut."""
        self.link = FakeLink(self.broker)
        config = AgentConfig(DEVICE, str(self.folder), "unused")
        root = changes.get("root", self.publisher.root)
        self.trust = Trust(config, root, self.link, self.disk)
        return self.trust

    def hear(self, topic: str, payload: bytes) -> bool:
        """Let a message arrive; return whether another root counts now."""
        return self.trust.take(self.link.message(topic, payload))

    def rotate(self, role: str = "release") -> bytes:
        """Publish the next root, retained, and return it."""
        wire = self.publisher.rotate(role)
        self.broker.retained[TOPICS.trust_root(self.publisher.newest_root.version)] = wire
        return wire

    def follow(self) -> int:
        """Connect, take what the broker has, and return the version that counts then."""
        self.trust.connected()
        self.link.deliver(self.trust.take)
        return self.trust.root.version


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_new_board_believes_what_it_was_enrolled_with(place: Place) -> None:
    """Nothing is written until something is learned."""
    assert place.trust.root == place.publisher.root and place.trust.newest is None
    assert list(place.folder.iterdir()) == []


def test_a_chain_of_roots_is_followed_one_by_one(place: Place) -> None:
    """Only the next version is ever subscribed to, and the way is not gone again after a restart."""
    for _ in range(3):
        place.rotate()
    assert place.follow() == 4
    assert place.link.subscribed == [STAMP, TOPICS.trust_root(5)]
    assert place.start().root == place.publisher.newest_root
    assert place.follow() == 4


def test_a_chain_is_followed_at_most_so_far_at_once(place: Place) -> None:
    """32 steps; the rest after the next start."""
    for _ in range(MAX_STEPS + 3):
        place.rotate()
    assert place.follow() == 1 + MAX_STEPS
    place.start()
    assert place.follow() == 4 + MAX_STEPS


def test_what_is_not_on_disk_is_not_believed(place: Place) -> None:
    """A full disk keeps the old root in force; the next connection tries again."""
    place.rotate()
    place.disk.is_full = True
    assert place.follow() == 1
    assert not place.hear(STAMP, place.publisher.timestamp(stable=3))
    assert place.trust.newest is None
    with pytest.raises(StorageError):
        place.trust.take_command(Publisher().command(1), NOW_S)
    place.disk.is_full = False
    assert place.follow() == 2


def test_messages_on_other_versions_are_not_roots(place: Place) -> None:
    """Who is not asked is not heard."""
    assert place.trust.is_about(TOPICS.trust_root(2)) and place.trust.is_about(STAMP)
    assert not place.trust.is_about(TOPICS.trust_root(1))
    assert not place.trust.is_about(TOPICS.trust_root(3))
    assert not place.hear(TOPICS.trust_root(2), b"")
    assert not place.hear(TOPICS.trust_root(2), b"{}")
    assert place.link.acknowledged == [TOPICS.trust_root(2)] * 2


def test_the_newest_timestamp_is_kept(place: Place) -> None:
    """It outlives a restart, an older one does not replace it, and rotating its key forgets it."""
    place.hear(STAMP, place.publisher.timestamp(ISSUED_S + 60, stable=7))
    place.hear(STAMP, place.publisher.timestamp(ISSUED_S, stable=3))
    assert place.start().newest_sequence("stable") == 7
    assert place.trust.newest_sequence("beta") == 0
    place.rotate("release")
    assert place.follow() == 2 and place.trust.newest_sequence("stable") == 7
    place.rotate("timestamp")
    assert place.follow() == 3 and place.trust.newest is None
    assert place.start().newest is None
    place.hear(STAMP, place.publisher.timestamp(ISSUED_S, stable=4))
    assert place.trust.newest_sequence("stable") == 4


def test_a_board_is_stale_while_newer_word_is_held_back(place: Place) -> None:
    """No timestamp is no error; an expired one is, and a root that it names and nobody brings."""
    assert not place.trust.is_stale(NOW_S)
    place.hear(STAMP, place.publisher.timestamp(days=2))
    assert not place.trust.is_stale(NOW_S) and place.trust.is_stale(NOW_S + 2 * DAY_S)
    place.rotate()
    place.hear(STAMP, place.publisher.timestamp(ISSUED_S + 1, days=20))
    assert place.trust.is_stale(NOW_S)
    assert place.follow() == 2 and not place.trust.is_stale(NOW_S)
    assert place.trust.is_stale(ISSUED_S + 36_501 * DAY_S), "the root itself has expired"


def test_an_order_is_written_down_before_it_is_obeyed(place: Place) -> None:
    """A crash right after it does not have it obeyed again."""
    wire = place.publisher.command(5)
    assert place.trust.take_command(wire, NOW_S).command == "rollback"
    for trust in (place.trust, place.start()):
        with pytest.raises(TrustError) as caught:
            trust.take_command(wire, NOW_S)
        assert caught.value.code == "command_replayed"
    assert place.trust.take_command(place.publisher.command(6), NOW_S).counter == 6


def test_the_highest_counter_of_a_thief_is_forgotten_with_his_key(place: Place) -> None:
    """Fast forward of orders: after the rotation the board obeys again."""
    place.trust.take_command(place.publisher.command(2**53 - 1), NOW_S)
    place.rotate("release")
    place.follow()
    assert place.start().take_command(place.publisher.command(8), NOW_S).counter == 8


def test_a_board_that_is_enrolled_anew_forgets_the_other_fleet(place: Place) -> None:
    """Another root file means other keys; orders that were obeyed are not obeyed again."""
    place.trust.take_command(place.publisher.command(9), NOW_S)
    place.rotate()
    place.follow()
    place.hear(STAMP, place.publisher.timestamp(stable=7))
    other = Publisher()
    other.rotate("timestamp")
    assert place.start(root=other.newest_root).root == other.newest_root
    assert place.trust.newest is None
    with pytest.raises(TrustError):
        place.trust.take_command(other.command(9), NOW_S)


DAMAGES: "List[bytes]" = [b"", b"{}", b"\0" * 500, b"x" * 100_000]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_memory_gives_way_to_the_one_before(place: Place, damage: bytes) -> None:
    """The newest copy is lost: the one before it, and the chain is followed again from there."""
    place.rotate()
    place.rotate()
    place.follow()
    (place.folder / "trust.json").write_bytes(damage)
    assert place.start().root.version == 2
    assert place.follow() == 3
    assert place.start().root.version == 3


def test_a_root_on_disk_that_does_not_sign_itself_is_not_believed(place: Place) -> None:
    """Also if its checksum is right."""
    place.rotate()
    place.follow()
    forged = place.publisher.seal("application/vnd.reefline.root+json", b"{}", ["release"])
    place.trust._save(type(place.trust._memory)(place.trust._memory.enrolled, root=forged))
    assert place.start().root == place.publisher.root


def test_an_expired_root_lets_its_successor_in(place: Place) -> None:
    """Whether a root has expired is asked when it is used, not when it is followed."""
    place.rotate()
    late_s = ISSUED_S + 36_501 * DAY_S
    assert place.trust.is_stale(late_s)
    assert place.follow() == 2
    assert format_time(late_s) > place.trust.root.expires
