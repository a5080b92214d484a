"""A device with a release of its own goes back to its channel."""

import json
import time

import pytest

from deploy.cli import main
from deploy.releases.desk import Desk
from deploy.releases.keeper import Keeper
from deploy.releases.ledger import Ledger
from deploy.releases.push import Order as PushOrder
from deploy.releases.push import push
from deploy.releases.unpin import Order, unpin
from host_cli.errors import Unreachable, WrongUsage
from host_mqtt.link import Link
from tests.deploy.fake_device import TIMEOUT_S
from tests.deploy.helpers import write_bundle
from tests.deploy.rollout_helpers import boards


@pytest.fixture
def pinned(place, tmp_path):
    """Version 1 on the channel, version 2 on reef-1 alone."""

    def send(version: str, **changes):
        bundle = write_bundle(tmp_path / version, model_bytes=1000 * int(version), version=version)
        order = PushOrder(bundle, place.fleet, place.address, base=place.base, **changes)
        return push(order, place.said.append)

    with boards(place.address, place.base, ["reef-1", "reef-2"], tags=("lab",)) as found:
        place.found, place.send = found, send
        send("1")
        send("2", names=("reef-1",))
        yield place


def give_back(place, **changes):
    order = Order(place.fleet, place.address, base=place.base, timeout_s=TIMEOUT_S, **changes)
    return unpin(order, time.time(), place.said.append)


@pytest.mark.parametrize("whom", [{"names": ("reef-1",)}, {"tag": "lab"}])
def test_a_device_follows_its_channel_again(pinned, whom):
    """Its own release is gone, and the channel's comes under a sequence above it, in the same rollout."""
    before = pinned.found["reef-2"].taken[-1]
    result = give_back(pinned, **whom)
    assert (result.version, result.sequence, result.bad) == ("1", 3, [])
    assert [one.device for one in result.outcomes] == ["reef-1"]
    after = pinned.found["reef-2"].taken[-1]
    assert (after.sequence, after.rollout) == (3, before.rollout) and after.has_same_content(before)
    own = pinned.topics.model_desired("reef-1")
    assert own not in pinned.retained_now()
    with Ledger(pinned.fleet) as ledger:
        assert ledger.wanted_on(own).payload == b""
        assert [one.about for one in ledger.entries() if one.what == "unpinned"] == ["reef-1"]
    pinned.send("3")
    assert pinned.found["reef-1"].taken[-1].model.version == "3"


def test_the_channels_release_is_there_before_the_own_one_goes(pinned):
    """A device without one of its own asks what the channel has: the old one is below what it knows."""
    own = pinned.topics.model_desired("reef-1")
    with Link(pinned.address) as link:
        link.subscribe([own, pinned.channel_topic])
        give_back(pinned, names=("reef-1",))
        heard = []
        while own not in heard:
            message = link.receive(TIMEOUT_S)
            if not message.retained:
                heard.append(message.topic)
    assert heard == [pinned.channel_topic, own]


def test_nobody_to_give_back(pinned):
    """A device that follows its channel already, and one that nobody knows."""
    with pytest.raises(WrongUsage, match="nobody has a release of its own"):
        give_back(pinned, names=("reef-2",))
    with pytest.raises(Unreachable, match="never heard of reef-9"):
        give_back(pinned, names=("reef-9",))
    assert len(pinned.sequences()) == 2


def test_no_unpin_beside_a_rollout(pinned):
    """The rollout would take the release for somebody else's, and end."""
    assert pinned.roll_out(percents=(50.0, 100.0), wait=False).rollout.is_unfinished
    count = len(pinned.sequences())
    with pytest.raises(WrongUsage, match="is not finished: it is running"):
        give_back(pinned, names=("reef-1",))
    assert len(pinned.sequences()) == count
    assert pinned.topics.model_desired("reef-1") in pinned.retained_now()


def test_a_channel_without_a_release(place, tmp_path, capsys):
    """The device keeps what it runs, and takes part in what comes next."""
    with boards(place.address, place.base, ["reef-1"]):
        bundle = write_bundle(tmp_path / "1")
        push(PushOrder(bundle, place.fleet, place.address, ("reef-1",), base=place.base), place.said.append)
        where = ["--fleet", str(place.fleet), "--broker", str(place.address), "--base", place.base]
        assert main(["unpin", "reef-1", *where, "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == {"ok": True, "release": None, "devices": []}
        assert place.topics.model_desired("reef-1") not in place.retained_now()
        assert main(["unpin", "reef-1", *where]) == 2
        assert main(["unpin", *where]) == 2
        assert "one of names and --tag" in capsys.readouterr().err


def test_the_keeper_finishes_an_unpin(pinned):
    """Killed between the ledger and the broker: everything was written in one step."""
    own = pinned.topics.model_desired("reef-1")

    class Killed(Exception):
        pass

    def die(*_: object) -> None:
        raise Killed

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr("deploy.releases.sending.Sender.publish_freed", die)
        give_back(pinned, names=("reef-1",))
    assert own in pinned.retained_now()
    assert any("deploy keep goes on with it" in one for one in pinned.said)
    with Desk(pinned.fleet, pinned.topics) as desk, Link(pinned.address) as link:
        Keeper(desk, link, pinned.said.append).check()
    retained = pinned.retained_now()
    assert own not in retained
    with Desk(pinned.fleet, pinned.topics) as desk:
        assert desk.read_sequence(retained[pinned.channel_topic]) == 3
