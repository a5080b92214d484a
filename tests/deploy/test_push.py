"""The story of a push, against a real broker and boards that play their part."""

import hashlib
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from contract.codec import decode
from contract.envelope import Envelope
from contract.messages import InstalledModel, Problem, TrustState
from contract.topics import Topics
from deploy.releases.desk import Desk
from deploy.releases.ledger import Ledger
from deploy.releases.push import Order, preview_as_json, push
from deploy.releases.sending import as_json
from deploy.trust.keys import init_fleet, load_root
from deploy.trust.signing import verify
from host_cli.errors import GateNotMet, Unreachable, WrongUsage
from host_mqtt.link import Link
from host_mqtt.roll_call import remembered
from tests.deploy.fake_device import NOW, FakeDevice
from tests.deploy.helpers import write_bundle
from tests.deploy.rollout_helpers import LossyBroker

Pusher = Callable[..., object]


@pytest.fixture
def send(bundle: Path, fleet: Path, address, base: str) -> Pusher:
    said: list[str] = []

    def run(*names: str, **changes):
        values = {"bundle": bundle, "fleet": fleet, "broker": address, "names": names, "base": base}
        return push(Order(**{**values, "timeout_s": 10.0, **changes}), said.append)

    run.said = said
    return run


def retained(link, topics) -> dict[str, bytes]:
    found = remembered(link, topics, [topics.base + "/#"])
    return {one.topic: one.payload for one in found if one.retained}


def test_a_release_reaches_a_named_device(send, device, link, topics, fleet):
    """Fetched, checked, reported active; signed by the fleet's release key; counted."""
    device.play(FakeDevice.install)
    result = send("reef-1")
    assert [(one.device, one.phase, one.is_good) for one in result.outcomes] == [("reef-1", "active", True)]
    assert (result.sequence, result.version, result.model_bytes) == (1, "1", 50_000)
    assert result.bytes_published > 50_000 and result.chunks == 4 + 3
    envelope = decode(Envelope, retained(link, topics)[topics.model_desired("reef-1")])
    root = load_root(fleet)
    verify(envelope, root.roles["release"], root.keys)
    assert as_json(result)["devices"][0].keys() == {"device", "phase", "error", "seconds"}


def test_a_release_reaches_a_whole_channel(send, device, address, base):
    """One publish, every device that is online; its own topic stays empty."""
    with FakeDevice(address, base, "reef-2") as second, FakeDevice(address, base, "lab-1", "lab") as stranger:
        device.play(FakeDevice.install)
        second.play(FakeDevice.install)
        result = send()
        assert {one.device: one.phase for one in result.outcomes} == {"reef-1": "active", "reef-2": "active"}
        assert stranger._arrived.empty()


@pytest.mark.parametrize("phase", ["failed", "rolled_back"])
def test_a_device_that_says_no_is_told_with_its_reason(send, device, address, base, phase):
    """The others still count as done."""
    with FakeDevice(address, base, "reef-2") as second:
        device.play(FakeDevice.install)
        second.play(lambda one: one.refuse(phase))
        result = send("reef-1", "reef-2")
    bad = result.bad
    assert [(one.device, one.phase, one.error.code) for one in bad] == [("reef-2", phase, "selftest")]
    assert not as_json(result)["ok"]


def test_a_refused_signature_ends_the_waiting(send, device):
    """The device names no sequence, for it does not believe the one in the release."""

    def refuse(one: FakeDevice) -> None:
        one.await_release()
        one.report("failed", None, error=Problem("signature", "not signed by us"))

    device.play(refuse)
    assert send("reef-1").bad[0].error.code == "signature"


def test_a_silent_device_is_given_up_in_time(send, device):
    """Silence is a failure with a reason."""
    started = time.monotonic()
    result = send("reef-1", timeout_s=0.5)
    assert time.monotonic() - started < 3
    assert result.bad[0].error.code == "timeout" and "said nothing" in result.bad[0].error.message


def test_a_device_that_crashes_is_told_as_offline(send, address, base):
    """Its last will says so."""
    fake = FakeDevice(address, base, "reef-1").__enter__()
    fake.play(lambda one: (one.await_release(), one.crash()))
    result = send("reef-1", timeout_s=2.0)
    assert "offline" in result.bad[0].error.message


def test_a_missing_chunk_is_sent_again(send, device):
    """A device that asks gets it, and the push says so."""

    def install(one: FakeDevice) -> None:
        release = one.await_release()
        data = one.fetch(release, forget=1)
        assert hashlib.sha256(data).hexdigest() == release.blobs["model"].sha256
        one.report("active", release.sequence)

    device.play(install)
    result = send("reef-1", chunk_bytes=4096)
    assert result.outcomes[0].is_good and "published 1 missing pieces again" in send.said


def test_a_malformed_need_does_no_harm(send, device, topics):
    """Whatever stands on a device's topic, the push goes on."""

    def install(one: FakeDevice) -> None:
        release = one.await_release()
        one.send(topics.model_need(one.name), b"gimme", retain=False)
        one.send(topics.model_reported(one.name), b"\xff", retain=False)
        one.report("active", release.sequence)

    device.play(install)
    assert send("reef-1").outcomes[0].is_good


def test_sequences_go_above_what_the_broker_and_the_devices_know(send, device, link, topics, fleet):
    """Also when the sequence file was lost."""
    device.report("active", 41, trust=TrustState(1, 41, 0))
    assert send("reef-1", wait=False).sequence == 42
    (fleet / "sequence").unlink()
    device.report("active", 7, trust=TrustState(1, 7, 0))
    assert send("reef-1", wait=False).sequence == 43


def test_a_device_that_is_offline_counts_for_the_sequence(send, device, address, base):
    """The channel's release waits for it, and it would refuse a number below what it knows."""
    with FakeDevice(address, base, "reef-2") as second:
        second.report("active", 70, trust=TrustState(1, 70, 0))
        second.send(second.topics.status("reef-2"), b"offline")
        assert send(wait=False).sequence == 71


def test_a_strangers_release_does_not_push_the_sequence_up(fleet, tmp_path, send, device, link, topics):
    """A release that our key did not sign could claim the highest number there is."""
    send("reef-1", wait=False)
    wire = retained(link, topics)[topics.model_desired("reef-1")]
    init_fleet(tmp_path / "other", 0.0)
    ours, theirs = Desk(fleet, topics), Desk(tmp_path / "other", topics)
    assert (ours.read_sequence(wire), theirs.read_sequence(wire)) == (1, 0)
    assert ours.read_sequence(b"junk") == 0
    assert ours.read_sequence((fleet / "root-1.json").read_bytes()) == 0


def test_a_changed_bundle_is_not_published(send, device, bundle, link, topics, fleet):
    """Not one chunk; and no sequence number is spent."""
    (bundle / "model.tflite").write_bytes(b"changed")
    with pytest.raises(GateNotMet):
        send("reef-1")
    assert not any("_blob" in topic or "desired" in topic for topic in retained(link, topics))
    assert not (fleet / "sequence").exists()


def test_missing_keys_end_it_before_the_broker_is_asked(send, tmp_path):
    """There is nothing to sign with."""
    with pytest.raises(WrongUsage, match="cannot read it"):
        send("reef-1", fleet=tmp_path / "nowhere")


def test_an_unknown_device_gets_nothing(send, device, link, topics):
    """The known one is served, the unknown one is a failure; alone it ends the push."""
    device.play(FakeDevice.install)
    result = send("reef-1", "typo")
    assert [(one.device, one.phase) for one in result.outcomes] == [("reef-1", "active"), ("typo", "unknown")]
    assert topics.model_desired("typo") not in retained(link, topics)
    with pytest.raises(Unreachable, match="never heard of typo"):
        send("typo")


def test_not_waiting_returns_at_once(send, device):
    """Published, and that is all that is promised."""
    result = send("reef-1", wait=False)
    assert result.outcomes == () and device.await_release().sequence == result.sequence


def test_a_second_version_follows_the_first(send, device, tmp_path):
    """The report about the first release does not end the waiting for the second."""
    device.play(FakeDevice.install)
    send("reef-1")
    with FakeDevice(send_address(device), device.topics.base, "reef-1") as again:
        again._take()
        again.play(FakeDevice.install)
        result = send("reef-1", bundle=write_bundle(tmp_path / "two", model_bytes=20_000, version="2"))
    assert (result.sequence, result.version, result.outcomes[0].is_good) == (2, "2", True)


def test_a_tag_means_every_device_that_carries_it(send, address, base):
    """Pinned, as if they had been named; a tag that nobody carries is a typing error."""
    with (
        FakeDevice(address, base, "reef-1", tags=("lab", "floor2")) as first,
        FakeDevice(address, base, "reef-2") as second,
    ):
        first.play(FakeDevice.install)
        assert [one.device for one in send(tag="floor2").outcomes] == ["reef-1"]
        assert second._arrived.empty()
        with pytest.raises(Unreachable, match="no device carries the tag roof"):
            send(tag="roof")


def test_a_dry_run_says_who_would_get_it(send, device, fleet, link, topics):
    """And nothing is published, signed, counted or written down."""
    device.report("active", 1, current=InstalledModel("toy", "0", "a" * 64, NOW))
    before = retained(link, topics)
    preview = preview_as_json(send("reef-1", "typo", dry_run=True))
    assert preview["devices"] == [{"device": "reef-1", "status": "online", "version": "0"}]
    assert (preview["unknown"], preview["version"], preview["chunks"]) == (["typo"], "1", 4 + 3)
    with Link(link.address) as again:
        assert retained(again, topics) == before
    assert not (fleet / "sequence").exists() and not (fleet / "blobs").exists()


@pytest.mark.parametrize("model_bytes, limit, expected", [(2**21, 0, 65536), (2**21, 40_000, 32768)])
def test_f14_chunks_fit_into_what_the_broker_takes(
    bundle, fleet, tmp_path, base, model_bytes, limit, expected
):
    """64 KiB for a large file where the broker allows it, less where it does not."""
    broker = LossyBroker(tmp_path, *([f"max_packet_size {limit}"] if limit else []))
    try:
        large = write_bundle(tmp_path / "large", model_bytes=model_bytes)
        with FakeDevice(broker.address, base, "reef-1") as board:
            board.play(FakeDevice.install)
            result = push(Order(large, fleet, broker.address, base=base, timeout_s=20.0), print)
        assert not result.bad and result.chunks == model_bytes // expected + 3
    finally:
        broker.kill()


def test_f14_a_broker_that_takes_too_little_gets_nothing(bundle, fleet, tmp_path, base):
    """Neither files nor the release; and the ledger does not want what cannot be."""
    broker = LossyBroker(tmp_path, "max_packet_size 2000")
    try:
        order = Order(bundle, fleet, broker.address, base=base, wait=False)
        with pytest.raises(GateNotMet, match="takes at most 976 bytes"):
            push(order, print)
        with Link(broker.address) as link:
            assert not retained(link, Topics(base))
        with Ledger(fleet) as ledger:
            assert ledger.releases() == [] and ledger.wanted() == []
    finally:
        broker.kill()


def send_address(device: FakeDevice):
    return device._address
