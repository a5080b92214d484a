"""What a board shall be."""

import sys
from dataclasses import replace

import pytest

from deploy.boards import register
from deploy.boards.register import Board
from deploy.boards.survey import EnrolledAs
from deploy.enrolment.goal import Wish, decide, warn_of_itself
from deploy.enrolment.identity import build_enrolled
from deploy.trust.certificates import block
from host_cli.errors import WrongUsage
from host_mqtt.address import Address
from tests.deploy.test_survey import GOOD

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

BROKER = Address("broker.lan", 8883, tls=True)
KEY, OTHER_KEY = "ssh-ed25519 AAAA", "ssh-ed25519 BBBB"
BEFORE = EnrolledAs("", "reef-7", ("roof",), Address("old.lan", 8883, tls=True), "reef", "", "")


def goal_of(fleet, found=GOOD, before=None, key=KEY, **wish):
    return decide(Wish(fleet, **{"broker": BROKER, **wish}), found, before, key, "mendel@board")


def test_a_new_board_is_called_as_it_calls_itself(fleet):
    """Mendel gives each board a name of its own."""
    goal = goal_of(fleet)
    assert (goal.device, goal.tags, goal.base) == ("deft-orange", (), "coral")
    assert goal_of(fleet, replace(GOOD, hostname="Deft-Orange.local")).device == "deft-orange"


@pytest.mark.parametrize("hostname", ["", "localhost", "my_board", "-x", "x" * 64, "über"])
def test_a_board_without_a_usable_name_needs_one(fleet, hostname):
    """Its name becomes a part of topics."""
    with pytest.raises(WrongUsage, match="no name of its own") as caught:
        goal_of(fleet, replace(GOOD, hostname=hostname))
    assert "--name" in caught.value.hint


def test_a_board_keeps_what_nobody_changes(fleet):
    """Its name, tags, broker and base; an empty list of tags is a change."""
    kept = goal_of(fleet, before=BEFORE, broker=None)
    assert (kept.device, kept.tags, kept.broker, kept.base) == ("reef-7", ("roof",), BEFORE.broker, "reef")
    assert goal_of(fleet, before=BEFORE, tags=()).tags == ()


def test_a_board_that_was_wiped_gets_its_name_back(fleet):
    """The book knows it by its host key."""
    register.save(fleet, Board("reef-3", "b", 22, "mendel", KEY, (), "", "", "coral", "0" * 64, 0))
    assert goal_of(fleet).device == "reef-3"


def test_a_name_that_is_taken_or_blocked_is_refused(fleet):
    """Also when the board itself calls itself so."""
    register.save(fleet, Board("deft-orange", "b", 22, "mendel", OTHER_KEY, (), "", "", "coral", "0" * 64, 0))
    with pytest.raises(WrongUsage, match="another board is called deft-orange") as caught:
        goal_of(fleet)
    assert str(register.path_of(fleet, "deft-orange")) in caught.value.hint
    block(fleet, "stolen")
    with pytest.raises(WrongUsage, match="stolen is blocked"):
        goal_of(fleet, name="stolen")


def test_what_the_board_says_it_was_enrolled_as_goes_before_the_book(fleet):
    """Another computer may have renamed it."""
    register.save(fleet, Board("reef-3", "b", 22, "mendel", KEY, (), "", "", "coral", "0" * 64, 0))
    assert goal_of(fleet, before=BEFORE).device == "reef-7"


def test_a_name_that_nobody_typed_may_be_blocked_too(fleet):
    """The board's own, and that with which it was enrolled."""
    block(fleet, "deft-orange")
    block(fleet, "reef-7")
    for before in (None, BEFORE):
        with pytest.raises(WrongUsage, match="is blocked"):
            goal_of(fleet, before=before)


@pytest.mark.parametrize(
    ("change", "hardware", "edgetpu"),
    [
        ({}, "coral-dev-board", "pci:0"),
        ({"model": "MediaTek Coral Dev Board Mini", "has_apex_device": False}, "coral-dev-board-mini", None),
        (
            {"os_id": "debian", "model": "Raspberry Pi 4 Model B Rev 1.4"},
            "Raspberry Pi 4 Model B Rev 1.4",
            "pci:0",
        ),
        ({"os_id": "debian", "model": "", "has_apex_device": False}, "debian aarch64", None),
        ({"os_id": "", "model": "x" * 200, "has_apex_device": False}, "x" * 64, None),
    ],
)
def test_the_board_says_what_hardware_it_is(fleet, change, hardware, edgetpu):
    """And whether an Edge TPU is on its bus."""
    goal = goal_of(fleet, replace(GOOD, **change))
    assert (goal.hardware, goal.edgetpu) == (hardware, edgetpu)


@pytest.mark.parametrize("broker", ["localhost", "127.0.0.1", "::1"])
def test_a_broker_on_the_board_itself_is_warned_of(broker):
    """On this computer that address works, so that a person may well give it."""
    address = Address(broker, 8883, tls=True)
    [warning] = warn_of_itself(address, "192.168.1.17")
    assert broker in warning and "--broker" in warning
    assert warn_of_itself(address, "127.0.3.4") == []
    assert warn_of_itself(Address("broker.lan", 8883, tls=True), "192.168.1.17") == []


def test_a_strange_name_of_the_hardware_is_one_in_the_settings_too(fleet):
    """JSON writes some letters as two halves, which TOML does not take: the agent would not start."""
    goal = goal_of(fleet, replace(GOOD, os_id="debian", model='a "\\reef\U0001f980'))
    assert tomllib.loads(build_enrolled(goal).decode())["hardware"] == goal.hardware
