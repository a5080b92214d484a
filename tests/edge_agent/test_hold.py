"""Promises of updates.hold: quiet hours and the update lock."""

import subprocess
import time

import pytest

from contract.errors import MessageError
from edge_agent.config import UpdateConfig
from edge_agent.updates.hold import Hold
from tests.fakes.board import FakeClock
from tests.fakes.waiting import wait_for


def at(quiet_hours, minute, now_s=None, lock="nowhere"):
    clock = FakeClock()
    clock.now = clock.now if now_s is None else now_s
    clock.local_minute = lambda: minute
    return Hold(UpdateConfig(quiet_hours=quiet_hours), lock, clock)


@pytest.mark.parametrize(
    ("quiet_hours", "minute", "may"),
    [
        ("08:00-18:00", 8 * 60 - 1, True),
        ("08:00-18:00", 8 * 60, False),
        ("08:00-18:00", 18 * 60 - 1, False),
        ("08:00-18:00", 18 * 60, True),
        ("22:30-06:00", 22 * 60 + 29, True),
        ("22:30-06:00", 22 * 60 + 30, False),
        ("22:30-06:00", 0, False),
        ("22:30-06:00", 6 * 60, True),
        ("", 0, True),
    ],
)
def test_quiet_hours_hold_from_their_first_minute_to_before_their_last(tmp_path, quiet_hours, minute, may):
    """Also over midnight."""
    hold = at(quiet_hours, minute, lock=tmp_path / "update.lock")
    assert (hold.may_fetch(), hold.may_switch()) == (may, may)


def test_a_clock_that_was_never_set_knows_no_quiet_hours(tmp_path):
    """In 1970 it is always midnight."""
    assert at("00:00-23:59", 5, now_s=300.0).may_fetch()


@pytest.mark.parametrize("wrong", ["8:00-18:00", "08:00-24:00", "08:00", "08:00-08:00", "08.00-18.00"])
def test_hours_that_make_no_sense_are_refused(wrong):
    """The person who wrote them hears it, not the board at night."""
    with pytest.raises(MessageError):
        UpdateConfig(quiet_hours=wrong)


def test_the_board_s_own_time_counts(monkeypatch):
    """Eight in the morning is where the board stands, summer time included."""
    clock = FakeClock()
    clock.now = 1_782_864_000.0
    monkeypatch.setenv("TZ", "Europe/Vienna")
    time.tzset()
    found = clock.local_minute()
    monkeypatch.undo()
    time.tzset()
    assert found == 2 * 60


@pytest.mark.parametrize("how", ["-x", "-s"])
def test_whoever_holds_the_lock_holds_until_its_process_ends(tmp_path, how):
    """flock(1), exclusive or shared, of any program in any language; it may also be killed."""
    path = tmp_path / "update.lock"
    hold = at("", 0, lock=path)
    assert not hold.is_locked() and not path.exists()
    command = ["flock", how, str(path), "sh", "-c", "echo held; exec sleep 60"]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"held\n"
    assert hold.is_locked() and hold.may_fetch() and not hold.may_switch()
    subprocess.run(["pkill", "-KILL", "-P", str(holder.pid)], check=True)
    holder.kill()
    holder.wait()
    holder.stdout.close()
    wait_for("the lock is gone", lambda: not hold.is_locked())
    assert hold.may_switch()
