"""Promises of upkeep.problems: what is wrong now, told once when it begins."""

import pytest

from edge_agent.upkeep.problems import MAX_PROBLEMS, Problems
from tests.fakes.board import BOOT, FakeClock


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def told():
    return []


@pytest.fixture
def problems(clock, told):
    return Problems(BOOT, clock, told.append)


def test_a_problem_is_listed_while_it_is_true(problems, clock):
    """With the time of its beginning, however often it is said; its message may change."""
    problems.set("disk_low", "60 MiB are free")
    since = clock.stamp()
    clock.now += 5
    problems.set("disk_low", "50 MiB are free")
    assert [(each.code, each.message, each.since) for each in problems.active()] == [
        ("disk_low", "50 MiB are free", since)
    ]
    problems.clear("disk_low")
    problems.clear("never_set")
    assert problems.active() == ()


def test_an_occurrence_is_told_once(problems, clock, told):
    """Not each time that somebody notices it, however long it lasts."""
    for _ in range(3):
        problems.set("disk_low", "no room", "delete something")
        clock.monotonic += 3600
    assert [(each.code, each.message, each.hint, each.boot) for each in told] == [
        ("disk_low", "no room", "delete something", BOOT)
    ]


def test_what_comes_and_goes_is_told_once_a_minute(problems, clock, told):
    """A loose plug does not flood the broker; the list still shows it."""
    for _ in range(100):
        problems.set("camera_lost", "no picture")
        problems.clear("camera_lost")
        clock.monotonic += 1
    assert len(told) == 2


def test_the_list_is_bounded(problems, told):
    """By number and by the length of a message."""
    for number in range(2 * MAX_PROBLEMS):
        problems.set(f"code_{number}", "x" * 5000)
    assert len(problems.active()) == len(told) == MAX_PROBLEMS
    assert len(problems.active()[0].message) == 1000
