"""Back to what ran before: an older release under a higher sequence."""

import time

import pytest

from deploy.releases.history import as_json, as_text, read_history
from deploy.releases.ledger import Issued
from deploy.releases.push import Order as PushOrder
from deploy.releases.push import push
from deploy.releases.rollback import Order, previous, roll_back
from host_cli.errors import GateNotMet, WrongUsage
from tests.deploy.helpers import write_bundle
from tests.deploy.rollout_helpers import boards


def history(*models: str) -> list[Issued]:
    return [Issued(n, "stable", (), "r", "toy", one, one, b"") for n, one in enumerate(models, 1)]


@pytest.mark.parametrize(
    "models, running, expected",
    [
        ("a", "a", None),
        ("ab", "b", 1),
        ("aab", "b", 2),
        ("aba", "a", None),  # after one roll back there is nothing older, and never what was left
        ("abcb", "b", 1),  # a second roll back goes further back
        ("abc", "a", None),
        ("ab", "x", None),
    ],
)
def test_what_ran_before(models, running, expected):
    """The newest release from before this model's first."""
    found = previous(history(*models), running)
    assert (found and found.sequence) == expected


@pytest.fixture
def two_versions(place, tmp_path):
    """Versions 1 and 2 pushed to the channel."""

    def send(version: str, **changes):
        bundle = write_bundle(tmp_path / version, model_bytes=1000 * int(version), version=version)
        order = PushOrder(bundle, place.fleet, place.address, base=place.base, **changes)
        return push(order, place.said.append)

    with boards(place.address, place.base, ["reef-1", "reef-2"], tags=("lab",)) as found:
        send("1")
        send("2")
        place.found, place.send = found, send
        yield place


def back(place, **changes):
    order = Order(place.fleet, place.address, base=place.base, **changes)
    return roll_back(order, time.time(), place.said.append)


def test_a_channel_goes_back(two_versions):
    """Everybody, and no bundle is needed."""
    result = back(two_versions)
    assert (result.version, result.sequence, len(result.outcomes), result.bad) == ("1", 3, 2, [])
    assert [one.model.version for one in two_versions.found["reef-2"].taken] == ["1", "2", "1"]
    with pytest.raises(GateNotMet, match="nothing older"):
        back(two_versions)


@pytest.mark.parametrize("whom", [{"names": ("reef-1",)}, {"tag": "lab"}])
def test_named_devices_and_tags_go_back(two_versions, whom):
    """They get a release of their own, and the others keep theirs."""
    result = back(two_versions, **whom)
    named = {one.device for one in result.outcomes}
    assert named == ({"reef-1"} if "names" in whom else {"reef-1", "reef-2"})
    assert two_versions.found["reef-1"].taken[-1].model.version == "1"
    assert set(two_versions.found["reef-1"].taken[-1].devices) == named


def test_back_to_a_version(two_versions):
    """Any that was ever released to the channel; another one is a typing error."""
    two_versions.send("3")
    assert back(two_versions, to="1").version == "1"
    with pytest.raises(WrongUsage, match="version 9 was never released"):
        back(two_versions, to="9")
    # An empty variable in a script is no wish to go back to whatever there was.
    with pytest.raises(WrongUsage, match="was never released"):
        back(two_versions, to="")


def test_devices_that_run_different_models_need_a_version(two_versions):
    """There is not one answer to what ran before."""
    two_versions.send("3", names=("reef-1",))
    with pytest.raises(WrongUsage, match="different models"):
        back(two_versions, names=("reef-1", "reef-2"))


def test_history_shows_who_did_what_with_which_key(two_versions):
    """For people and scripts; with a name only what may have reached that device."""
    two_versions.send("3", names=("reef-1",))
    shown = as_json(*read_history(two_versions.fleet, None))
    assert [one["version"] for one in shown["releases"]] == ["1", "2", "3"]
    assert shown["releases"][2]["devices"] == ["reef-1"] and shown["releases"][0]["key_id"]
    assert [one["what"] for one in shown["audit"]] == ["release"] * 3 and shown["audit"][0]["who"]
    (other, trail) = read_history(two_versions.fleet, "reef-2")
    assert [one.version for one in other] == ["1", "2"] and trail == []
    assert "toy 2  stable 100 %" in as_text(*read_history(two_versions.fleet, None))


def test_an_empty_history_says_so(fleet):
    """Rather than nothing."""
    assert as_text(*read_history(fleet, None)) == "nothing was released from this folder yet"
