"""Whom a release is for."""

from dataclasses import replace

import pytest

from contract.codec import encode
from contract.topics import Topics
from deploy.fleets.fleet import Fleet
from deploy.releases.targets import choose
from host_cli.errors import Unreachable, WrongUsage
from tests.deploy.fake_device import make_info

TOPICS = Topics()


def fleet_of(*names: str, channel: str = "stable", status: bytes = b"online") -> Fleet:
    fleet = Fleet(TOPICS)
    for name in names:
        fleet.observe(TOPICS.status(name), status, True)
        fleet.observe(TOPICS.info(name), encode(make_info(name, channel)), True)
    return fleet


def test_named_devices_get_a_release_of_their_own():
    """Once each, in the order they were named."""
    targets = choose(fleet_of("a", "b"), ("b", "a", "b"), "stable", True)
    assert targets.pinned == targets.waited_for == ("b", "a")


def test_a_name_nobody_heard_of_is_left_out_and_told():
    """The known ones get it; a typing error shows."""
    targets = choose(fleet_of("a"), ("a", "typo"), "stable", True)
    assert targets.pinned == ("a",) and targets.unknown[0].error.code == "unknown_device"
    assert "typo" in targets.remarks[0]


def test_only_unknown_names_end_it():
    """There is nobody to send to."""
    with pytest.raises(Unreachable, match="never heard of typo"):
        choose(fleet_of("a"), ("typo",), "stable", True)


def test_a_device_of_another_channel_would_refuse():
    """So it is told before anything is sent."""
    with pytest.raises(WrongUsage, match="follows channel lab"):
        choose(fleet_of("a", channel="lab"), ("a",), "stable", True)


def test_more_names_than_a_manifest_holds_are_refused():
    """The limit of the contract, told in words."""
    with pytest.raises(WrongUsage, match="at most 64"):
        choose(fleet_of("a"), tuple(f"d{n}" for n in range(65)), "stable", True)


def test_a_channel_may_be_that_of_another_model_of_a_device():
    """It is waited for, also if its main model has a release of its own."""
    fleet = fleet_of("b")
    fleet.observe(TOPICS.status("a"), b"online", True)
    fleet.observe(TOPICS.info("a"), encode(replace(make_info("a"), models={"defects": "parts"})), True)
    fleet.observe(TOPICS.model_desired("a"), b"release", True)
    targets = choose(fleet, (), "parts", True)
    assert targets.waited_for == ("a",) and not targets.remarks
    assert choose(fleet, (), "stable", True).waited_for == ("b",)


def test_a_channel_waits_for_those_who_are_there():
    """Offline devices and other channels are not waited for."""
    fleet = fleet_of("a")
    fleet.observe(TOPICS.status("b"), b"offline", True)
    fleet.observe(TOPICS.info("b"), encode(make_info("b")), True)
    targets = choose(fleet, (), "stable", True)
    assert targets.pinned == () and targets.waited_for == ("a",)


def test_a_pinned_device_keeps_its_own_release():
    """A device's own topic overrides its channel, so it is not waited for; and that is told."""
    fleet = fleet_of("a", "b")
    fleet.observe(TOPICS.model_desired("a"), b"release", True)
    targets = choose(fleet, (), "stable", True)
    assert targets.waited_for == ("b",) and "a has a release of its own" in targets.remarks[0]


def test_waiting_for_nobody_is_not_a_success():
    """Without anyone online --wait ends, --no-wait publishes for later."""
    with pytest.raises(Unreachable, match="is online"):
        choose(fleet_of("a", status=b"offline"), (), "stable", True)
    assert choose(fleet_of("a", status=b"offline"), (), "stable", False).waited_for == ()
