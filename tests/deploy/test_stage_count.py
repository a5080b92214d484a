"""Each device of a stage counts once, whatever it says and however often."""

from dataclasses import replace

import pytest

from contract.messages import InstalledModel, Problem, TrustState
from deploy.fleets.fleet import Device, Wanted
from deploy.rollouts.rollout_book import Counted
from deploy.rollouts.rollout_rules import Tally
from deploy.rollouts.stage_count import StageCount
from tests.deploy.fake_device import BOOT, NOW, make_info, make_report

WANTED = Wanted(5, "a" * 64)
LATER = "01JD8Z6M5T3Q0E9W2K7R4C1XAZ"
RUNS = InstalledModel("toy", "1", "a" * 64, NOW)
REFUSED = Problem("selftest", "no")


@pytest.fixture
def count() -> StageCount:
    return StageCount(WANTED, [Counted("a"), Counted("b")])


def says(name: str, phase: str, sequence: "int | None" = 5, boot: str = BOOT, **changes) -> Device:
    report = make_report(phase, sequence, boot=boot, **changes)
    return Device(name, True, make_info(name, boot=boot), report, is_live=True)


def test_good_and_bad_are_told_apart(count):
    """A device that is not of the stage never counts."""
    assert count.observe(says("a", "active")).is_good
    assert count.observe(says("b", "rolled_back", error=REFUSED)).is_failed
    assert count.observe(says("stranger", "active")) is None
    assert count.tally == Tally(2, 1, 1) and [one.device for one in count.unfinished] == ["b"]


def test_the_same_end_again_is_no_news(count):
    """It is written once."""
    assert count.observe(says("a", "active", n=1)) is not None
    assert count.observe(says("a", "active", n=2)) is None


@pytest.mark.parametrize("phase", ["downloading", "verifying", "testing", "trial"])
def test_on_the_way_is_pending(count, phase):
    """Neither good nor bad."""
    assert count.observe(says("a", phase)) is None and count.tally.pending == 2


def test_who_has_begun_is_busy_until_it_ends_or_goes_offline(count):
    """One that is gone in the middle holds up nobody."""
    count.observe(says("a", "downloading"))
    count.observe(says("b", "testing"))
    count.observe(says("b", "testing", 4))
    assert count.tally.busy == 1
    count.observe(replace(says("a", "downloading"), online=False))
    assert count.tally.busy == 0
    count.observe(says("a", "trial"))
    count.observe(says("a", "failed", error=REFUSED))
    assert count.tally == Tally(2, 0, 1, busy=0)


def test_what_was_good_may_come_back(count):
    """During the soak."""
    count.observe(says("a", "active"))
    assert count.observe(says("a", "rolled_back", error=REFUSED)).is_failed
    assert count.tally == Tally(2, 0, 1)


def test_a_restart_changes_nothing(count):
    """A device that started again has forgotten the sequence, but runs the model."""
    count.observe(says("a", "active"))
    again = says("a", "active", None, LATER, current=RUNS, trust=TrustState(1, 5, 0))
    assert count.observe(again) is None and count.tally.good == 1


@pytest.mark.parametrize("ended", ["active", "failed"])
def test_a_device_imaged_anew_is_pending_again(count, ended):
    """It has forgotten that it ever saw the release; a mere restart of the agent has not."""
    count.observe(says("a", ended))
    fresh = says("a", "idle", None, LATER, trust=TrustState(1, 0, 0))
    assert count.observe(fresh) == Counted("a") and count.tally.pending == 2


def test_an_old_failure_is_not_one_of_this_stage(count):
    """What a device had said before, it may say again."""
    before = says("a", "failed", 4, error=REFUSED)
    count.start([before])
    assert count.observe(before) is None
    other = says("a", "failed", 4, error=replace(REFUSED, code="signature"))
    assert count.observe(other).is_failed


def test_a_report_of_a_boot_that_has_ended_is_not_heard(count):
    """It comes late, after the device has said who it is now."""
    late = replace(says("a", "failed", error=REFUSED), info=make_info("a", boot=LATER))
    assert count.observe(late) is None
