"""Promises of updates.reporter that the way of a release does not show: when it has expired."""

import pytest

from contract.codec import decode
from contract.messages import ModelReport
from contract.stamps import format_time
from contract.topics import Topics
from tests.fakes.board import BOOT, DEVICE, Board
from tests.fakes.publisher import DAY_S, ISSUED_S

TOPIC = Topics().model_reported(DEVICE)


@pytest.fixture
def board(tmp_path):
    """It runs a release that expires in nine days."""
    board = Board(tmp_path)
    board.install(expires=format_time(ISSUED_S + 10 * DAY_S))
    return board


def count_reports(board):
    return sum(topic == TOPIC for topic, _ in board.broker.published)


def test_a_release_that_expires_is_told_once(board):
    """It goes on running; `stale` says that nobody vouches for it any more."""
    assert not board.reporter.check_expiry() and not board.report.stale
    board.clock.now += 10 * DAY_S
    before = count_reports(board)
    assert [board.reporter.check_expiry() for _ in range(3)] == [True] * 3
    assert board.report.stale and count_reports(board) == before + 1
    assert board.predictor.serving is not None


def test_a_clock_that_is_set_back_does_not_make_it_fresh(board):
    """Signed times are believed: a later release has been seen."""
    board.publish(issued=format_time(ISSUED_S + 20 * DAY_S))
    board.clock.now = 7.0
    assert board.reporter.check_expiry()


def test_without_a_model_nothing_is_stale(tmp_path):
    """Nor with one that is damaged."""
    board = Board(tmp_path)
    assert not board.reporter.check_expiry()
    board.install()
    board.clock.now += 10_000 * DAY_S
    for path in (tmp_path / "releases").iterdir():
        path.write_bytes(b"rot")
    assert not board.reporter.check_expiry()


def test_reports_are_numbered_and_name_their_rollout(board):
    """(device, boot, n) counts each once; the number begins anew with each boot, after a restart too."""
    reports = [decode(ModelReport, payload) for topic, payload in board.broker.published if topic == TOPIC]
    assert [report.n for report in reports] == list(range(1, len(reports) + 1))
    assert {(report.boot, report.rollout, report.sequence) for report in reports} == {(BOOT, "push-1", 1)}
    board.reboot()
    board.lane.connected()
    assert (board.report.n, board.report.rollout, board.report.sequence) == (1, "push-1", 1)
