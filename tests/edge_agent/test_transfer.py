"""Promises of updates.transfer."""

import os
import random
from pathlib import Path
from typing import List, Tuple

import pytest

from contract.topics import Topics
from edge_agent.errors import StorageError
from edge_agent.updates.slots import Slots
from edge_agent.updates.transfer import Transfer
from tests.fakes.publisher import Publisher, tiny_files

WINDOW = 4096
FILES = {**tiny_files(), "model": random.Random(0).getrandbits(8 * 20_000).to_bytes(20_000, "big")}


class Sender:
    """Answers what a transfer wants, as a broker with everything retained would."""

    def __init__(self, tmp_path: Path) -> None:
        self.publisher = Publisher(chunk_bytes=1024)
        self.manifest = self.publisher.manifest(FILES)
        self.slots = Slots(tmp_path)
        topics = Topics()
        self.retained = {
            tuple(topics.parse_chunk(topic)): payload
            for data in FILES.values()
            for topic, payload in self.publisher.messages(data)
        }

    def begin(self) -> Transfer:
        return Transfer(self.manifest, self.slots, WINDOW)

    def serve(self, transfer: Transfer, at_most: int = 10**6) -> int:
        """Feed what is wanted; return how many messages it took."""
        sent = 0
        while not transfer.is_complete:
            for place in transfer.wanted():
                if sent == at_most:
                    return sent
                transfer.take(place.blob_id, place.number, self.retained[tuple(place)])
                sent += 1
        return sent


@pytest.fixture
def sender(tmp_path: Path) -> Sender:
    return Sender(tmp_path)


def test_every_file_arrives_whole(sender: Sender) -> None:
    """Hash-correct, under its content's name, nothing left in parts."""
    transfer = sender.begin()
    sender.serve(transfer)
    for role, path in sender.slots.model_files(sender.manifest).items():
        assert path.read_bytes() == FILES[role]
    assert list((path.parent.parent / "parts").iterdir()) == []
    assert transfer.progress_pct == 100


def test_never_more_than_a_window_is_asked_for(sender: Sender) -> None:
    """The broker sends at most window_bytes at once."""
    transfer = sender.begin()
    for place in transfer.wanted():
        transfer.take(place.blob_id, place.number, sender.retained[tuple(place)])
    while not transfer.is_complete:
        wanted = transfer.wanted()
        assert 0 < len(wanted) <= WINDOW // 1024
        transfer.take(wanted[0].blob_id, wanted[0].number, sender.retained[tuple(wanted[0])])


def test_a_restart_fetches_only_what_is_not_on_disk(sender: Sender) -> None:
    """No bitmap is kept: the part files are hashed again."""
    total = sender.serve(Sender.begin(sender), at_most=15)
    first = sender.begin()
    rest = sender.serve(first)
    indexes = len(FILES)
    assert total + rest <= len(sender.retained) + indexes
    assert first.is_complete


def test_a_hole_or_a_flipped_bit_in_a_part_is_fetched_again(sender: Sender) -> None:
    """What a power cut tore is found by its hash."""
    transfer = sender.begin()
    sender.serve(transfer, at_most=15)
    transfer.close()
    part = sender.slots.part_path(sender.manifest.blobs["model"])
    with part.open("r+b") as file:
        file.seek(1500)
        file.write(b"\x00\x00\x00")
        file.seek(0, os.SEEK_END)
        file.write(b"too long")
    sender.serve(sender.begin())
    assert sender.slots.model_files(sender.manifest)["model"].read_bytes() == FILES["model"]


def bad_messages(sender: Sender) -> List[Tuple[str, "int | None", bytes]]:
    """Return messages that must change nothing."""
    blob = sender.manifest.blobs["model"]
    good = sender.retained[blob.id, 0]
    flipped = bytes([good[0] ^ 1]) + good[1:]
    return [
        (blob.id, 0, flipped),
        (blob.id, 0, good[:-1]),
        (blob.id, 0, good + b"x"),
        (blob.id, 0, b""),
        (blob.id, 20, good),
        (blob.id, -1, good),
        (blob.id, 1, good),
        ("f" * 32, 0, good),
        (blob.id, None, b"x" * 640),
    ]


def test_a_bad_chunk_changes_nothing(sender: Sender) -> None:
    """Flipped, shortened, lengthened, misplaced or foreign: refused, and the good one still comes."""
    transfer = sender.begin()
    for place in transfer.wanted():
        transfer.take(place.blob_id, place.number, sender.retained[tuple(place)])
    before = transfer.wanted()
    for message in bad_messages(sender):
        assert transfer.take(*message) is False
    assert transfer.wanted() == before
    assert transfer.refused == 7
    sender.serve(transfer)
    assert transfer.is_complete


def test_chunks_may_come_twice_and_in_any_order(sender: Sender) -> None:
    """A duplicate is harmless."""
    transfer = sender.begin()
    for place in transfer.wanted():
        transfer.take(place.blob_id, place.number, sender.retained[tuple(place)])
    places = [place for place in sender.retained if place[1] is not None] * 2
    random.Random(1).shuffle(places)
    for blob_id, number in places:
        transfer.take(blob_id, number, sender.retained[blob_id, number])
    assert transfer.is_complete
    assert transfer.received_bytes >= sum(map(len, FILES.values()))


def test_a_chunk_before_its_index_is_not_believed(sender: Sender) -> None:
    """Nothing is written before it can be checked."""
    transfer = sender.begin()
    blob = sender.manifest.blobs["model"]
    assert transfer.take(blob.id, 0, sender.retained[blob.id, 0]) is False
    assert not sender.slots.part_path(blob).exists()


def test_what_is_missing_is_named_for_the_publisher(sender: Sender) -> None:
    """First the indexes, then chunk numbers."""
    transfer = sender.begin()
    assert all(need.index for need in transfer.needs(transfer.wanted()))
    for place in transfer.wanted():
        transfer.take(place.blob_id, place.number, sender.retained[tuple(place)])
    numbers = {(need.blob, number) for need in transfer.needs(transfer.wanted()) for number in need.numbers()}
    assert numbers == {(place.blob_id, place.number) for place in transfer.wanted()}


def test_a_full_disk_is_said_and_keeps_what_is_there(sender: Sender, monkeypatch: pytest.MonkeyPatch) -> None:
    """ENOSPC becomes an error that says what to do."""
    transfer = sender.begin()
    monkeypatch.setattr(os, "posix_fallocate", _no_space)
    with pytest.raises(StorageError, match="No space") as caught:
        sender.serve(transfer)
    assert caught.value.code == "disk_full"
    monkeypatch.undo()
    transfer.close()
    sender.serve(sender.begin())


def _no_space(*_: object) -> None:
    raise OSError(28, "No space left on device")
