"""Promises of upkeep.checkup: each fact makes its problem, and nothing else does."""

from dataclasses import replace

import pytest

from contract.messages import Problem
from edge_agent.outgoing.outbox import OutboxStats
from edge_agent.upkeep.checkup import Checkup, Facts
from edge_agent.upkeep.problems import Problems
from tests.fakes.board import BOOT, FakeClock

RESERVE_BYTES = 64 * 1024 * 1024
WELL = Facts(
    is_clock_set=True,
    free_bytes=RESERVE_BYTES,
    outbox=OutboxStats(0, 0, 7),
    is_outbox_saving=True,
    was_outbox_reset=False,
    not_ready="",
    refused={},
    stale=(),
    others=(),
)


@pytest.fixture
def problems():
    return Problems(BOOT, FakeClock(), lambda _report: None)


@pytest.fixture
def checkup(problems):
    return Checkup(problems, RESERVE_BYTES)


def codes(problems):
    return [each.code for each in problems.active()]


@pytest.mark.parametrize(
    ("code", "change"),
    [
        ("clock_not_set", {"is_clock_set": False}),
        ("disk_low", {"free_bytes": RESERVE_BYTES - 1}),
        ("outbox_not_saving", {"is_outbox_saving": False}),
        ("outbox_reset", {"was_outbox_reset": True}),
        ("not_ready", {"not_ready": "no model is loaded"}),
        ("not_ready", {"not_ready": "the newest answer failed: " + 1000 * "x"}),
        ("release_refused", {"refused": {"": Problem("scope", "for other hardware")}}),
        ("release_stale", {"stale": ("", "night")}),
        ("camera_lost", {"others": (Problem("camera_lost", "no picture"),)}),
    ],
)
def test_a_problem_comes_and_goes_with_its_fact(checkup, problems, code, change):
    """One code for each, and none on a board that is well."""
    checkup.look(WELL, 0.0)
    assert codes(problems) == []
    checkup.look(replace(WELL, **change), 1.0)
    assert codes(problems) == [code]
    checkup.look(WELL, 2.0)
    assert codes(problems) == []


def test_a_release_that_somebody_at_the_board_left_is_no_problem(checkup, problems):
    """It was their choice; `model/reported` says it."""
    checkup.look(replace(WELL, refused={"": Problem("rolled_back_by_hand", "chosen")}), 0.0)
    assert codes(problems) == []


def test_dropping_is_a_problem_for_a_minute_after_the_last_drop(checkup, problems):
    """What was dropped before the start is none."""
    checkup.look(WELL, 0.0)
    checkup.look(replace(WELL, outbox=OutboxStats(9, 900, 8)), 1.0)
    assert "8 messages" in problems.active()[0].message
    checkup.look(replace(WELL, outbox=OutboxStats(9, 900, 8)), 60.9)
    assert codes(problems) == ["outbox_dropping"]
    checkup.look(replace(WELL, outbox=OutboxStats(9, 900, 8)), 61.1)
    assert codes(problems) == []


def test_a_message_says_which_model(checkup, problems):
    """The main one has no name of its own."""
    refused = {"": Problem("scope", "for other hardware"), "night": Problem("expired", "too old")}
    checkup.look(replace(WELL, refused=refused), 0.0)
    assert problems.active()[0].message == "the main model: for other hardware; model night: too old"


def test_it_looks_once_a_second(checkup):
    """The loop comes by much more often."""
    assert checkup.is_due(0.0)
    checkup.look(WELL, 0.0)
    assert not checkup.is_due(0.9)
    assert checkup.is_due(1.0)


def test_what_two_rooms_say_alike_is_one_problem(checkup, problems):
    """Both messages are told; a hint says what to do."""
    lost = (Problem("camera_lost", "no left", "plug it in"), Problem("camera_lost", "no right"))
    checkup.look(replace(WELL, others=lost), 0.0)
    assert [each.message for each in problems.active()] == ["no left; no right"]


def test_what_others_have_set_is_left_alone(checkup, problems):
    """It clears only what it has set itself."""
    problems.set("elsewhere", "set by another room")
    checkup.look(WELL, 0.0)
    assert codes(problems) == ["elsewhere"]
