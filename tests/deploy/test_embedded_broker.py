"""The broker from a wheel: enough for a demonstration, and what it cannot do is written down here."""

import json

import pytest

from contract.chunks import SMALL_CHUNK_BYTES
from contract.topics import Topics
from deploy.fleets.status import read_status
from deploy.releases.push import Order, push
from host_mqtt.address import Address
from host_mqtt.link import Link
from host_mqtt.roll_call import remembered
from tests.deploy.fake_device import FakeDevice
from tests.deploy.helpers import read_line, run_deploy, stop
from tests.fakes.waiting import wait_for

pytest.importorskip("iotcore", reason="iotcore is not installed")


@pytest.fixture(scope="module")
def embedded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("embedded")
    process = run_deploy("broker", "--embedded", "--dir", str(folder), "--port", "0", "--json")
    ready = json.loads(read_line(process.stdout))
    yield Address(ready["host"], ready["port"])
    stop(process)
    assert process.returncode == 0


def test_it_speaks_mqtt_311(embedded):
    """MQTT 5 is hung up on, so the connection falls back."""
    with Link(embedded) as link:
        assert not link.mqtt5


@pytest.mark.parametrize("size", [SMALL_CHUNK_BYTES, 64 * 1024])
def test_it_carries_retained_chunks(embedded, base, size):
    """16 KiB and 64 KiB, for one who comes later."""
    topics = Topics(base)
    with Link(embedded) as link:
        for number in range(64):
            link.publish(topics.blob_chunk("a" * 32, number), bytes([number]) * size, retain=True)
        link.flush()
    with Link(embedded) as link:
        wanted = [topics.blob_chunk("a" * 32, number) for number in range(64)]
        found = {one.topic: one.payload for one in remembered(link, topics, wanted)}
    assert found == {topic: bytes([number]) * size for number, topic in enumerate(wanted)}


def test_it_sends_the_last_will(embedded, base):
    """A board that vanishes is seen."""
    FakeDevice(embedded, base, "reef-1").__enter__().crash()
    wait_for("the last will", lambda: read_status(embedded, base, "reef-1")[0].online is False)


def test_a_push_goes_through_it(embedded, base, bundle, fleet):
    """The whole story, with the agent's own kind of client."""
    with FakeDevice(embedded, base, "reef-1") as device:
        device.play(FakeDevice.install)
        result = push(Order(bundle, fleet, embedded, ("reef-1",), base=base, timeout_s=10), lambda text: None)
    assert result.outcomes[0].is_good
