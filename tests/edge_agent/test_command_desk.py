"""Promises of upkeep.command_desk: signed orders are obeyed once, answered always, and never when kept."""

from dataclasses import replace
from pathlib import Path
from typing import List

import pytest

from contract.codec import decode
from contract.messages import CommandAnswer, Problem
from contract.topics import Topics
from edge_agent.upkeep.command_desk import CommandDesk
from tests.fakes.board import DEVICE, Board
from tests.fakes.publisher import DAY_S, ISSUED_S, tiny_files

RESPONSE = Topics().command_response(DEVICE)


class Desk:
    """A board with two releases, and what its desk did."""

    def __init__(self, folder: Path) -> None:
        self.board = board = Board(folder)
        board.install()
        board.install(files={**tiny_files(), "labels": b"\n".join(b"other %d" % n for n in range(10))})
        self.restarts: List[Problem] = []
        self.desk = CommandDesk(
            board.config,
            trust=board.trust,
            link=board.link,  # type: ignore[arg-type]
            clock=board.clock,
            main=board.lane,
            restart=self.restarts.append,
        )

    def order(self, wire: bytes, retained: bool = False) -> None:
        message = self.board.link.message(self.desk.topic, wire)
        self.desk.take(replace(message, retained=retained))

    @property
    def answers(self) -> "List[CommandAnswer]":
        return [
            decode(CommandAnswer, wire) for topic, wire in self.board.broker.published if topic == RESPONSE
        ]

    @property
    def version(self) -> str:
        current = self.board.report.current
        assert current is not None
        return current.version


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_rollback_goes_back_to_the_last_known_good(desk: Desk) -> None:
    """Once: the same order again changes nothing, and is told so."""
    assert desk.version == "2"
    wire = desk.board.publisher.command(1)
    desk.order(wire)
    assert desk.version == "1"
    desk.order(wire)
    assert desk.version == "1"
    assert [(one.counter, one.status) for one in desk.answers] == [(1, "ok"), (0, "error")]
    assert desk.answers[1].error is not None and desk.answers[1].error.code == "command_replayed"


def test_restart_asks_for_a_new_start_after_the_answer(desk: Desk) -> None:
    """The service manager starts the agent again."""
    desk.order(desk.board.publisher.command(1, "restart"))
    assert [problem.code for problem in desk.restarts] == ["restart_ordered"]
    assert desk.answers == [CommandAnswer(1, "ok")]


def test_an_order_that_cannot_be_done_is_answered_with_the_reason(desk: Desk) -> None:
    """And is not obeyed later either."""
    desk.order(desk.board.publisher.command(1))
    desk.board.publish(files={**tiny_files(), "labels": b"\n".join(b"third %d" % n for n in range(10))})
    desk.order(desk.board.publisher.command(2))
    assert desk.answers[1].counter == 2 and desk.answers[1].error is not None
    assert desk.answers[1].error.code == "update_under_way"


def test_an_order_that_the_broker_kept_is_ignored(desk: Desk) -> None:
    """Orders are never retained: who retains one wants it obeyed at every connection."""
    desk.order(desk.board.publisher.command(1, "restart"), retained=True)
    assert desk.restarts == [] and desk.answers == []


@pytest.mark.parametrize("payload", [b"", b"restart", b"{}", b"[" * 1000, b"\xff" * 100_000])
def test_what_is_no_order_is_answered_and_left(desk: Desk, payload: bytes) -> None:
    """Nobody knows its counter: 0."""
    desk.order(payload)
    assert desk.answers[0].counter == 0 and desk.answers[0].error is not None
    assert desk.answers[0].error.code == "envelope_invalid"


def test_a_board_in_1970_judges_by_the_newest_signed_time(desk: Desk) -> None:
    """Its clock says 1970; the release that it runs was issued later than this order ended."""
    desk.board.clock.now = 0.0
    late = desk.board.publisher.command(1, issued="2020-01-01T00:00:00Z", expires="2020-01-02T00:00:00Z")
    desk.order(late)
    assert desk.answers[0].error is not None and desk.answers[0].error.code == "expired"
    desk.order(desk.board.publisher.command(2))
    assert desk.answers[1].status == "ok"
    assert desk.board.slots.state.time_floor_s == ISSUED_S < ISSUED_S + DAY_S
