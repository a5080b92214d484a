"""What devices say, folded into one picture; and when a release counts as arrived."""

from dataclasses import replace

import pytest

from contract.codec import encode
from contract.messages import InstalledModel, Problem, TrustState
from contract.topics import Topics
from deploy.fleets.fleet import Device, Fleet, Wanted, give_up, judge
from tests.deploy.fake_device import NOW, make_info, make_report

TOPICS = Topics()
WANTED = Wanted(5, "a" * 64)
INSTALLED = InstalledModel("toy", "1", "a" * 64, NOW)
ERROR = Problem("signature", "not signed by us")


def seen(report, live=True) -> Device:
    return Device("reef-1", online=True, report=report, is_live=live)


def test_messages_are_folded_by_device():
    """Status, info and report of one device make one picture."""
    fleet = Fleet(TOPICS)
    fleet.observe(TOPICS.status("reef-1"), b"online", True)
    fleet.observe(TOPICS.info("reef-1"), encode(make_info("reef-1")), True)
    assert fleet.observe(TOPICS.model_reported("reef-1"), encode(make_report("idle")), True) == "reef-1"
    device = fleet.get("reef-1")
    assert device.online and device.info.channel == "stable" and device.report.phase == "idle"
    assert not device.is_live and [one.name for one in fleet.on_channel("stable")] == ["reef-1"]


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        ("coral/reef-1/info", b"{"),
        ("coral/reef-1/model/reported", b'{"v":1}'),
        ("coral/reef-1/status", b"perhaps"),
        ("coral/Reef/status", b"online"),
        ("other/reef-1/status", b"online"),
        ("coral/reef-1/info", b""),
    ],
)
def test_what_cannot_be_understood_is_left_out(topic, payload):
    """A stranger's message changes nothing and raises nothing."""
    fleet = Fleet(TOPICS)
    assert fleet.observe(topic, payload, False) is None
    assert fleet.known() == []


def test_the_report_is_that_of_the_model_which_follows_the_channel():
    """A device with several models reports on each; the others' reports are not mixed in."""
    for channel, sequence in (("parts", 7), ("stable", 5), (None, 5)):
        fleet = Fleet(TOPICS, channel)
        fleet.observe(TOPICS.info("a"), encode(replace(make_info("a"), models={"defects": "parts"})), True)
        fleet.observe(TOPICS.model_reported("a"), encode(make_report("active", 5)), True)
        fleet.observe(TOPICS.model_reported("a", "defects"), encode(make_report("active", 7)), True)
        assert fleet.get("a").report.sequence == sequence


def test_an_order_does_not_make_a_device_known():
    """Only what a device says itself shows that it exists."""
    fleet = Fleet(TOPICS)
    fleet.observe(TOPICS.model_desired("reef-1"), b"release", True)
    assert fleet.get("reef-1").desired == b"release" and fleet.known() == []


def test_active_with_our_sequence_is_success():
    """The plain case."""
    outcome = judge(seen(make_report("active", 5)), WANTED, 1.5)
    assert outcome.is_good and outcome.seconds == 1.5


def test_a_device_that_restarted_is_known_by_its_model():
    """After a restart it names no sequence, but what it runs and the highest it has seen."""
    report = make_report("active", current=INSTALLED, trust=TrustState(1, 5, 0))
    assert judge(seen(report), WANTED, 1.0).is_good
    assert judge(seen(replace(report, trust=TrustState(1, 4, 0))), WANTED, 1.0) is None
    other = replace(INSTALLED, sha256="b" * 64)
    assert judge(seen(replace(report, current=other)), WANTED, 1.0) is None


@pytest.mark.parametrize("phase", ["failed", "rolled_back"])
def test_a_failure_carries_the_devices_reason(phase):
    """With a reason, or with the fact that there is none."""
    outcome = judge(seen(make_report(phase, 5, error=ERROR)), WANTED, 1.0)
    assert (outcome.phase, outcome.error, outcome.is_good) == (phase, ERROR, False)
    assert judge(seen(make_report(phase, 5)), WANTED, 1.0).error.code == "no_reason"


@pytest.mark.parametrize("sequence", [None, 4])
def test_a_refusal_that_does_not_name_us_counts(sequence):
    """A device does not believe the number of a release that it does not trust."""
    report = make_report("failed", sequence, error=ERROR)
    assert judge(seen(report), WANTED, 1.0).error == ERROR
    assert judge(seen(report, live=False), WANTED, 1.0) is None
    assert judge(seen(report), WANTED, 1.0, before=report) is None


@pytest.mark.parametrize("phase", ["idle", "downloading", "verifying", "testing", "trial"])
def test_on_the_way_is_no_outcome(phase):
    """Only the three ends are ends."""
    assert judge(seen(make_report(phase, 5)), WANTED, 1.0) is None


def test_the_release_before_is_no_outcome():
    """That something older runs says nothing."""
    assert judge(seen(make_report("active", 4)), WANTED, 1.0) is None
    assert judge(Device("reef-1"), WANTED, 1.0) is None


def test_a_newer_release_supersedes():
    """Waiting on would be in vain."""
    assert judge(seen(make_report("active", 6)), WANTED, 1.0).error.code == "superseded"


@pytest.mark.parametrize(
    ("device", "phase", "words"),
    [
        (Device("reef-1", online=False), "unknown", "offline"),
        (Device("reef-1", online=True), "unknown", "said nothing"),
        (seen(make_report("testing", 5)), "testing", "still testing"),
        (seen(make_report("downloading", 4, error=ERROR)), "unknown", "not signed by us"),
    ],
)
def test_giving_up_says_what_is_known(device, phase, words):
    """Offline, silent, or stuck in a phase."""
    outcome = give_up(device, WANTED, 60.0)
    assert outcome.phase == phase and words in outcome.error.message and not outcome.is_good
