"""Collecting: stored once, acknowledged when safe, and no message can end it."""

import time

import pytest

from contract.codec import encode
from deploy.fleets.collector import collect, filters, session_for
from deploy.fleets.results import ResultStore
from host_cli.errors import Unreachable
from host_mqtt.link import Link
from tests.deploy.fake_device import make_prediction

TIMEOUT_S = 10.0


@pytest.fixture
def store_address(tmp_path):
    return f"sqlite:///{tmp_path / 'results.db'}"


def run(address, topics, store_address, act=lambda: None, messages: int = 0):
    """Collect while `act` runs, and until `messages` have arrived."""
    with ResultStore(store_address) as store, Link(address, session_for(store_address)) as link:
        link.subscribe(filters(topics))
        act()
        deadline = time.monotonic() + TIMEOUT_S
        arrived = []
        real, link.receive = link.receive, lambda timeout: _note(real(timeout), arrived)
        return collect(
            link, topics, store, lambda: len(arrived) >= messages or time.monotonic() > deadline
        ).as_json()


def _note(message, arrived):
    if message is not None:
        arrived.append(message)
    return message


def test_predictions_are_stored_and_replays_are_not(address, device, topics, store_address):
    """Five messages, three predictions, one gap; plus the birth document."""

    def act():
        for seq in (1, 2, 2, 4, 1):
            device.predict(seq)

    counts = run(address, topics, store_address, act, 6)
    assert counts == {"stored": 3, "duplicates": 2, "refused": 0, "gaps": 1}


@pytest.mark.parametrize(
    "payload",
    [b"", b"junk", b"{}", b"\xff\xfe", b'{"v":1}', b"[" * 1000, encode(make_prediction("reef-2", 1))],
)
def test_a_malformed_prediction_is_counted_and_no_more(address, device, topics, store_address, payload):
    """Also one that speaks for another device; the good one after it is stored."""

    def act():
        device.send(topics.prediction("reef-1", "camera"), payload, retain=False)
        device.predict(1)

    counts = run(address, topics, store_address, act, 3)
    assert (counts["stored"], counts["refused"]) == (1, 1)


def test_a_prediction_on_another_sources_topic_is_refused(address, device, topics, store_address):
    """The key of a prediction is its topic's."""

    def act():
        wire = encode(make_prediction("reef-1", 1, source="door"))
        device.send(topics.prediction("reef-1", "camera"), wire, retain=False)

    assert run(address, topics, store_address, act, 2)["refused"] == 1


def test_what_comes_during_a_restart_is_not_lost(address, device, topics, store_address):
    """The broker keeps the session of a store's collector for a while."""
    run(address, topics, store_address, lambda: device.predict(1), 2)
    device.predict(2)
    device.predict(3)
    assert run(address, topics, store_address, messages=2) == {
        "stored": 2,
        "duplicates": 0,
        "refused": 0,
        "gaps": 0,
    }


def test_what_could_not_be_stored_comes_again(address, device, topics, store_address, monkeypatch):
    """Acknowledged only after the commit: the store fails, the prediction is still there."""
    with monkeypatch.context() as broken, pytest.raises(Unreachable):
        broken.setattr(
            ResultStore, "save", lambda self, arrived: (_ for _ in ()).throw(Unreachable("full", "", ""))
        )
        run(address, topics, store_address, lambda: device.predict(1), 2)
    assert run(address, topics, store_address, messages=2)["stored"] == 1


def test_a_thousand_predictions_are_collected_quickly(address, device, topics, store_address):
    """Batches, not one commit each."""

    def act():
        for seq in range(1, 1001):
            topic = topics.prediction("reef-1", "camera")
            device.client.publish(topic, encode(make_prediction("reef-1", seq)), 1)

    started = time.monotonic()
    counts = run(address, topics, store_address, act, 1001)
    assert (counts["stored"], counts["gaps"]) == (1000, 0) and time.monotonic() - started < TIMEOUT_S
