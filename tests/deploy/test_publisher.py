"""What is retained: everything a release names, the release last, and holes mended once for all."""

import pytest

from contract.chunks import HASH_BYTES
from contract.messages import ChunkNeed
from deploy.releases import publisher
from deploy.releases.bundle import load_bundle
from deploy.releases.publisher import GATHER_S, REPEAT_AFTER_S, Needs, Piece, Retention, publish_release
from deploy.releases.release import cut_blobs
from host_cli.errors import GateNotMet, Unreachable
from host_mqtt.roll_call import remembered
from tests.deploy.fake_device import FakeDevice


@pytest.fixture
def retention(bundle, topics) -> Retention:
    blobs = cut_blobs(load_bundle(bundle), 1024).values()
    return Retention.build(topics, blobs, [topics.model_desired("reef-1")], b"the signed release")


def test_every_piece_of_a_release_is_retained(link, topics, retention):
    """Chunks, indexes and the release are there for who comes later, and the bytes are counted."""
    told: list[float] = []
    sent = publish_release(link, retention, told.append)
    found = {one.topic: one.payload for one in remembered(link, topics, [topics.base + "/#"]) if one.retained}
    facts = [*retention.blob_facts(), *retention.release_facts()]
    assert found == {fact.topic: fact.payload for fact in facts}
    assert sent == sum(len(fact.payload) for fact in facts) == sum(told) + len(b"the signed release")
    assert retention.chunks == 49 + 3


class Cable:
    """Lets so many messages through, then breaks."""

    def __init__(self, link, messages: int) -> None:
        self._link, self._left = link, messages
        self.max_packet_bytes, self.address = link.max_packet_bytes, link.address

    def publish(self, topic: str, payload: bytes, *, retain: bool) -> None:
        self._left -= 1
        if self._left < 0:
            raise Unreachable("cable cut", "here", "mend it")
        self._link.publish(topic, payload, retain=retain)

    def flush(self) -> None:
        self._link.flush()
        if self._left == 0:
            raise Unreachable("cable cut", "here", "mend it")


@pytest.mark.parametrize("messages", [0, 1, 30, 56])
def test_a_push_that_breaks_leaves_no_release(link, topics, retention, messages):
    """However far it came: no device sees a release whose files are not all there."""
    with pytest.raises(Unreachable):
        publish_release(Cable(link, messages), retention, lambda amount: None)
    link.flush()
    found = [one.topic for one in remembered(link, topics, [topics.base + "/#"]) if one.retained]
    assert len(found) == messages and topics.model_desired("reef-1") not in found


def test_payloads_the_broker_would_refuse_are_not_sent(link, topics, retention):
    """The broker's limit is known from the connection, so nothing is published by half."""
    link.max_packet_bytes = 2000
    with pytest.raises(GateNotMet, match="takes at most 976 bytes"):
        publish_release(link, retention, lambda amount: None)
    assert not [one for one in remembered(link, topics, [topics.base + "/#"]) if one.retained]


def test_equal_files_are_kept_once(bundle, topics):
    """Two files with the same bytes are one blob."""
    blob = cut_blobs(load_bundle(bundle))["model"]
    once = Retention.build(topics, [blob], [], b"")
    twice = Retention.build(topics, [blob, blob], [], b"")
    assert list(once.blob_facts()) == list(twice.blob_facts())


def test_mending_gives_what_belongs_to_the_release(retention):
    """A chunk, an index; never another release's blob or a chunk that is not there."""
    blob_id, blob = next(iter(retention.blobs.items()))
    facts = list(
        retention.mend([Piece(blob_id, 2), Piece(blob_id, None), Piece(blob_id, 400), Piece("f" * 32, 0)])
    )
    assert [fact.payload for fact in facts] == [blob.chunk(2), blob.index]
    assert len(facts[1].payload) == blob.ref.chunks * HASH_BYTES


def need(*numbers: int, index: bool = False) -> ChunkNeed:
    return ChunkNeed("a" * 32, index, ChunkNeed.pack(numbers))


def test_one_answer_for_all_who_ask():
    """What several devices miss within a moment is sent once."""
    needs = Needs()
    needs.ask(need(1, 2), 0.0)
    needs.ask(need(2, 3, index=True), GATHER_S / 2)
    assert needs.take_due(GATHER_S * 0.9) == []
    assert needs.take_due(GATHER_S * 1.5) == [Piece("a" * 32, n) for n in (1, 2, 3, None)]
    assert needs.take_due(9.0) == []


def test_what_is_on_its_way_is_not_sent_again():
    """Only after a while does the same question count again."""
    needs = Needs()
    needs.ask(need(1), 0.0)
    assert len(needs.take_due(1.0)) == 1
    needs.ask(need(1), 1.0 + REPEAT_AFTER_S / 2)
    assert needs.take_due(9.0) == []
    needs.ask(need(1), 1.0 + REPEAT_AFTER_S)
    assert len(needs.take_due(9.0)) == 1


def test_a_device_that_subscribes_later_finds_it_all(link, address, base, retention):
    """The publisher may be long gone."""
    publish_release(link, retention, lambda amount: None)
    with FakeDevice(address, base, "reef-1") as device:
        assert device._take() == b"the signed release"


def test_what_does_not_exist_can_be_asked_for_without_end(monkeypatch):
    """Whoever asks for a million pieces of nothing fills no memory."""
    monkeypatch.setattr(publisher, "MAX_ASKED", 100)
    needs = Needs()
    for number in range(1000):
        needs.ask(ChunkNeed(f"{number:032x}", True, b""), now_s=0.0)
    assert len(needs.take_due(GATHER_S)) == 100
    needs.take_due(GATHER_S + REPEAT_AFTER_S)
    assert needs._mended == {}
