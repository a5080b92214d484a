"""What a release needs on the broker, how it gets there, and how holes in it are mended."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from contract.messages import ChunkNeed
from contract.topics import Topics
from deploy.releases.release import Blob
from host_cli.errors import GateNotMet
from host_mqtt.link import TOPIC_ROOM_BYTES, Link

GATHER_S = 0.2
REPEAT_AFTER_S = 1.0
# More than a fleet of any size misses; beyond it somebody asks for what does not exist.
MAX_ASKED = 100_000


class Fact(NamedTuple):
    """One retained message."""

    topic: str
    payload: bytes


class Piece(NamedTuple):
    """A chunk of a blob, or its index when `number` is None."""

    blob_id: str
    number: int | None


@dataclass(frozen=True)
class Retention:
    """Everything that must stay retained while a release is wanted.

    Publishing needs it once; a keeper compares it with what the broker still has.
    """

    topics: Topics
    blobs: Mapping[str, Blob] = field(repr=False)
    release_topics: tuple[str, ...]
    release: bytes = field(repr=False)

    @classmethod
    def build(
        cls, topics: Topics, blobs: Iterable[Blob], release_topics: Iterable[str], release: bytes
    ) -> "Retention":
        """Collect it; equal files are kept once."""
        return cls(topics, {blob.ref.id: blob for blob in blobs}, tuple(release_topics), release)

    @property
    def chunks(self) -> int:
        """How many chunks there are."""
        return sum(blob.ref.chunks for blob in self.blobs.values())

    @property
    def largest_bytes(self) -> int:
        """The largest payload."""
        return max(len(fact.payload) for fact in itertools.chain(self.blob_facts(), self.release_facts()))

    def blob_facts(self) -> Iterator[Fact]:
        """Yield the chunks of every blob, each blob followed by its index."""
        for blob_id in self.blobs:
            yield from self.facts_of(blob_id)

    def facts_of(self, blob_id: str) -> Iterator[Fact]:
        """Yield the chunks of one blob, then its index."""
        for number in range(self.blobs[blob_id].ref.chunks):
            yield self._fact(Piece(blob_id, number))
        yield self._fact(Piece(blob_id, None))

    def release_facts(self) -> Iterator[Fact]:
        """Yield the signed release: whoever sees it finds everything it names."""
        for topic in self.release_topics:
            yield Fact(topic, self.release)

    def mend(self, pieces: Iterable[Piece]) -> Iterator[Fact]:
        """Yield those of the pieces that belong to this release."""
        for piece in pieces:
            blob = self.blobs.get(piece.blob_id)
            if blob is not None and (piece.number is None or piece.number < blob.ref.chunks):
                yield self._fact(piece)

    def _fact(self, piece: Piece) -> Fact:
        blob = self.blobs[piece.blob_id]
        if piece.number is None:
            return Fact(self.topics.blob_index(piece.blob_id), blob.index)
        return Fact(self.topics.blob_chunk(piece.blob_id, piece.number), blob.chunk(piece.number))


class Needs:
    """What devices asked for: gathered for GATHER_S, so that one publish answers many of them."""

    def __init__(self) -> None:
        self._asked: dict[Piece, float] = {}
        self._mended: dict[Piece, float] = {}

    def ask(self, need: ChunkNeed, now_s: float) -> None:
        """Note what one device misses; what was sent within REPEAT_AFTER_S is on its way already."""
        pieces = [Piece(need.blob, number) for number in need.numbers()]
        if need.index:
            pieces.append(Piece(need.blob, None))
        for piece in pieces:
            if len(self._asked) >= MAX_ASKED:
                return
            if now_s - self._mended.get(piece, -REPEAT_AFTER_S) >= REPEAT_AFTER_S:
                self._asked.setdefault(piece, now_s)

    def take_due(self, now_s: float) -> list[Piece]:
        """Return what is to be sent again now, and forget that it was asked for."""
        due = [piece for piece, asked_s in self._asked.items() if now_s - asked_s >= GATHER_S]
        self._mended = {piece: at_s for piece, at_s in self._mended.items() if now_s - at_s < REPEAT_AFTER_S}
        for piece in due:
            del self._asked[piece]
            self._mended[piece] = now_s
        return due


def require_room(link: Link, retention: Retention) -> None:
    """Check that the broker takes every payload.

    Raises:
        GateNotMet: it does not.
    """
    room = link.max_packet_bytes - TOPIC_ROOM_BYTES
    if retention.largest_bytes > room:
        what = f"the broker takes at most {room} bytes, the largest payload has {retention.largest_bytes}"
        raise GateNotMet(what, str(link.address), "give a smaller --chunk-bytes")


def publish_release(link: Link, retention: Retention, advance: Callable[[float], None]) -> int:
    """Publish every blob, and when the broker has all of them, the release.

    Args:
        link: the open connection.
        retention: what to publish.
        advance: told the bytes of each chunk and index.

    Returns:
        The payload bytes that were published.

    Raises:
        GateNotMet: the broker takes no payload of this size; nothing was published.
        Unreachable: the broker went away; no device sees the release.
    """
    require_room(link, retention)
    sent = publish_facts(link, retention.blob_facts(), advance)
    return sent + publish_facts(link, retention.release_facts())


def publish_facts(
    link: Link, facts: Iterable[Fact], advance: Callable[[float], None] = lambda amount: None
) -> int:
    """Publish retained and wait until the broker acknowledged all; return the payload bytes."""
    sent = 0
    for fact in facts:
        link.publish(fact.topic, fact.payload, retain=True)
        sent += len(fact.payload)
        advance(len(fact.payload))
    link.flush()
    return sent
