"""What the fleet needs stays on the broker; what others order since is not undone."""

import shutil
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from contract.codec import encode
from contract.messages import ChunkNeed, TrustState
from deploy.releases import keeper as module
from deploy.releases.desk import Desk
from deploy.releases.keeper import Keeper
from deploy.releases.keeping import keep
from deploy.releases.ledger import Ledger
from deploy.releases.push import Order, push
from deploy.trust.rotation import rotate
from host_cli.errors import Unreachable
from host_mqtt.link import Link
from tests.deploy.fake_device import FakeDevice
from tests.deploy.helpers import write_bundle
from tests.deploy.rollout_helpers import LossyBroker, boards, in_background
from tests.fakes.waiting import wait_for


@pytest.fixture
def pushed(place):
    """A release for reef-1 that nobody waits for."""
    with FakeDevice(place.address, place.base, "reef-1"):
        push(Order(place.bundle, place.fleet, place.address, base=place.base, wait=False), place.said.append)
    return place


@contextmanager
def keeping(place):
    over: list[bool] = []
    place.said.clear()
    work = lambda: keep(place.fleet, place.address, place.base, lambda: bool(over), place.said.append)  # noqa: E731
    with in_background(work) as kept:
        wait_for("it listens", lambda: any("keeping" in one for one in place.said))
        try:
            yield kept
        finally:
            over.append(True)


def test_a_release_that_was_taken_away_comes_back(pushed, link):
    """Whoever cleared the topic, the ledger says what is wanted."""
    with keeping(pushed), Link(pushed.address) as other:
        wire = pushed.retained(link)[pushed.channel_topic]
        other.publish(pushed.channel_topic, b"", retain=True)
        with FakeDevice(pushed.address, pushed.base, "reef-2") as board:
            assert board._take() in (wire, b"") and board.client.is_connected()
            wait_for("it is back", lambda: pushed.retained_now().get(pushed.channel_topic) == wire)


def test_what_is_missing_at_the_start_is_published_files_first(pushed, link, monkeypatch):
    """A keeper that starts finds out itself; nobody has to ask."""
    for topic in pushed.retained(link):
        if "_blob" in topic or topic == pushed.channel_topic:
            link.publish(topic, b"", retain=True)
    link.flush()
    published: list[str] = []
    real = module.publish_facts
    spy = lambda link, facts: published.extend(one.topic for one in facts) or real(link, facts)  # noqa: E731
    monkeypatch.setattr(module, "publish_facts", spy)
    with keeping(pushed), FakeDevice(pushed.address, pushed.base, "reef-2") as board:
        release = board.await_release()
        assert len(board.fetch(release)) == release.blobs["model"].size
    assert published[-1] == pushed.channel_topic and published[-2].endswith("/index")


def test_a_device_that_misses_a_chunk_is_answered_without_a_bundle(pushed, link):
    """From the store in the fleet's folder."""
    shutil.rmtree(pushed.bundle)
    with keeping(pushed), FakeDevice(pushed.address, pushed.base, "reef-2") as board:
        release = board.await_release()
        assert len(board.fetch(release, forget=1)) == release.blobs["model"].size


def test_what_the_broker_still_has_is_not_published_again(pushed, link):
    """It is only slow: everybody who waits for it would get it twice, and it would be slower still."""
    with keeping(pushed) as kept, FakeDevice(pushed.address, pushed.base, "reef-2") as board:
        blob = board.await_release().blobs["model"]
        lost = board.topics.blob_chunk(blob.id, blob.chunks - 1)
        chunk = pushed.retained(link)[lost]
        link.publish(lost, b"", retain=True)
        for number in range(blob.chunks):
            board.ask(blob.id, number)
        wait_for("the lost one is back", lambda: pushed.retained_now().get(lost) == chunk)
    assert kept[0].bytes_published == len(chunk)


def test_it_steps_back_for_a_newer_release_from_elsewhere(pushed, tmp_path):
    """Another machine has its own ledger; ours forgets the topic and says so in the audit trail."""
    other = tmp_path / "other"
    shutil.copytree(pushed.fleet, other)
    with keeping(pushed), FakeDevice(pushed.address, pushed.base, "reef-1"):
        push(Order(pushed.bundle, other, pushed.address, base=pushed.base, wait=False), pushed.said.append)
        wait_for("it yields", lambda: any("came from elsewhere" in one for one in pushed.said))
    with Ledger(pushed.fleet) as ledger:
        assert ledger.wanted() == [] and ledger.entries()[-1].what == "yielded"


def test_a_strangers_release_is_replaced(pushed, link):
    """Only what our release key signed can be newer."""
    wire = pushed.retained(link)[pushed.channel_topic]
    with keeping(pushed):
        link.publish(pushed.channel_topic, b'{"sequence":999}', retain=True)
        wait_for("ours is back", lambda: pushed.retained_now().get(pushed.channel_topic) == wire)


def test_what_was_ordered_since_is_not_undone(pushed, tmp_path):
    """A push in another terminal writes the ledger first, so the keeper follows it."""
    two = write_bundle(tmp_path / "two", model_bytes=3000, version="2")
    with keeping(pushed), FakeDevice(pushed.address, pushed.base, "reef-1") as board:
        push(Order(two, pushed.fleet, pushed.address, base=pushed.base, wait=False), pushed.said.append)
        wait_for("version 2", lambda: board.await_release().model.version == "2")
        with Link(pushed.address) as other:
            other.publish(pushed.channel_topic, b"", retain=True)
        wait_for("version 2 again", lambda: board._take() != b"")
    assert not any("elsewhere" in one for one in pushed.said)


def test_a_damaged_file_in_the_store_stops_only_its_release(pushed, link, caplog):
    """The keeper says so and keeps the rest; it never publishes what its name does not say."""
    (blob,) = [one for one in (pushed.fleet / "blobs").iterdir() if one.stat().st_size == 50_000]
    blob.write_bytes(b"damaged")
    with keeping(pushed), FakeDevice(pushed.address, pushed.base, "reef-2") as board:
        board.ask(blob.name[:32], 0)
        wait_for("it says so", lambda: "gone or damaged" in caplog.text)


def test_malformed_requests_do_no_harm(pushed):
    """Nor ones for blobs or chunks that there are not."""
    with keeping(pushed) as kept, FakeDevice(pushed.address, pushed.base, "reef-2") as board:
        board.send(board.topics.model_need("reef-2"), b"\xff{", retain=False)
        board.ask("f" * 32, 7)
        need = ChunkNeed("e" * 32, True, b"\xff" * 64)
        board.send(board.topics.model_need("reef-2"), encode(need), retain=False)
        release = board.await_release()
        board.fetch(release, forget=0)
    assert kept[0].bytes_published == 16384


def test_where_nothing_is_retained_it_tells_who_appears(bundle, fleet, tmp_path, base):
    """On a broker without retained messages a device hears its order from the keeper, once it says hello."""
    broker = LossyBroker(tmp_path, "retain_available false")
    over: list[bool] = []
    said: list[str] = []
    try:
        order = Order(bundle, fleet, broker.address, base=base, wait=False)
        push(order, said.append)
        work = lambda: keep(fleet, broker.address, base, lambda: bool(over), said.append)  # noqa: E731
        with in_background(work):
            wait_for("it listens", lambda: any("keeping" in one for one in said))
            with FakeDevice(broker.address, base, "reef-1", retains=False) as board:
                release = board.await_release()
                assert release.sequence == 1
                board.report("active", 1, trust=TrustState(1, 1, 0))
            over.append(True)
    finally:
        broker.kill()


def test_files_that_nobody_needs_are_cleared(pushed, tmp_path, link):
    """What a wanted release names stays, also if an older one names it too."""
    two = write_bundle(tmp_path / "two", model_bytes=3000, version="2")
    push(Order(two, pushed.fleet, pushed.address, base=pushed.base, wait=False), pushed.said.append)
    with Desk(pushed.fleet, pushed.topics) as desk:
        old, new = (one.manifest.blobs for one in desk.ledger.releases())
        Keeper(desk, link, pushed.said.append).tidy()
        assert {topic.split("/")[2] for topic in pushed.retained_now() if "/_blob/" in topic} == {
            ref.id for ref in new.values()
        }
        assert old["model"].id != new["model"].id and old["labels"].id == new["labels"].id
        assert desk.store.get(old["model"].sha256)


def test_a_keeper_that_runs_learns_of_a_replaced_key(pushed, tmp_path, link):
    """It verifies, and keeps, what the new release key signed, files and all."""
    with Desk(pushed.fleet, pushed.topics) as desk:
        keeper = Keeper(desk, link, pushed.said.append)
        rotate(pushed.fleet, "release", pushed.fleet / "keys", time.time())
        two = write_bundle(tmp_path / "two", model_bytes=3000, version="2")
        push(Order(two, pushed.fleet, pushed.address, base=pushed.base, wait=False), pushed.said.append)
        before = pushed.retained_now()
        for topic in before:
            link.publish(topic, b"", retain=True)
        link.flush()
        keeper.check()
        after = pushed.retained_now()
        index = pushed.topics.blob_index(desk.ledger.releases()[-1].manifest.blobs["model"].id)
        assert after[pushed.channel_topic] == before[pushed.channel_topic]
        assert after[index] == before[index]
        assert desk.read_release(desk.seal(desk.ledger.releases()[0].manifest)) is not None


def test_nothing_is_cleared_while_a_rollout_may_go_back(pushed, tmp_path, link):
    """The release before is needed until it is over."""
    with boards(pushed.address, pushed.base, ["reef-1"]):
        pushed.bundle = write_bundle(tmp_path / "two", model_bytes=3000, version="2")
        pushed.roll_out(["reef-1"], (100.0,), wait=False)
        before = set(pushed.retained_now())
        with Desk(pushed.fleet, pushed.topics) as desk:
            Keeper(desk, link, pushed.said.append).tidy()
        assert {topic for topic in before if "/_blob/" in topic} <= set(pushed.retained_now())


def test_without_a_broker_it_does_not_start(fleet, tmp_path):
    """Exit code 3, at once."""
    broker = LossyBroker(tmp_path)
    broker.kill()
    with pytest.raises(Unreachable):
        keep(fleet, broker.address, "coral", lambda: False, print)


def test_a_check_does_not_listen_twice(pushed, link):
    """It compares on a connection of its own, so nobody hears everything again."""
    with Desk(pushed.fleet, pushed.topics) as desk:
        keeper = Keeper(desk, link, pushed.said.append)
        keeper.check()
    assert link.receive(0.2) is None and Path(pushed.fleet / "ledger.db").exists()
