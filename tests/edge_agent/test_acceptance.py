"""Promises of updates.acceptance: what an order means to a device, on a board with fake time and workers."""

import errno
from dataclasses import replace
from pathlib import Path

import pytest

from contract.manifest import Rollout
from edge_agent.errors import ModelError
from tests.edge_agent.test_faults_updates import answers, finish, next_stage
from tests.edge_agent.test_updater import other_files
from tests.fakes.board import DEVICE, Board


@pytest.fixture
def board(tmp_path: Path) -> Board:
    """Version 1 answers."""
    board = Board(tmp_path)
    board.install()
    return board


def order_of(board: Board, files: "dict[str, bytes]", **changes: object) -> bytes:
    for data in files.values():
        board.broker.retain(board.publisher.messages(data))
    return board.publisher.release(board.publisher.manifest(files, **changes))


@pytest.mark.parametrize(
    "changes", [{"devices": ("board-b",)}, {"rollout": Rollout("r", percent=0.0)}], ids=["devices", "percent"]
)
def test_a_channels_release_for_others_is_nobody_s_business_here(board: Board, changes: object) -> None:
    """No error, no report; what is on its way in goes on; only its number is kept."""
    board.publish(files=other_files(2))
    told = len(board.broker.published)
    board.updater.connected()
    board.order(order_of(board, other_files(3), **changes), is_own=False)  # type: ignore[arg-type]
    assert len(board.broker.published) == told
    assert board.slots.state.sequence_high == 3 and board.link.acknowledged
    finish(board)
    assert (board.report.phase, board.report.current.version) == ("active", "2")


def test_on_its_own_topic_a_release_for_others_is_an_error(board: Board) -> None:
    """Somebody mixed up two boards."""
    board.order(order_of(board, other_files(2), devices=("board-b",)))
    assert (board.report.phase, board.report.error.code) == ("failed", "scope")
    assert board.report.sequence is None and board.report.rollout is None


def test_a_release_that_names_this_device_is_its_own(board: Board) -> None:
    """As a canary."""
    board.updater.connected()
    board.order(order_of(board, other_files(2), devices=(DEVICE, "board-b")), is_own=False)
    finish(board)
    assert board.report.current.version == "2"


def test_the_next_stage_of_what_runs_is_adopted_without_a_trial(board: Board) -> None:
    """The new number is reported, nothing is fetched, loaded or switched; since when it runs stays true."""
    first = board.install(files=other_files(2), rollout=Rollout("r", percent=99.9))
    since = board.report.current.since
    worker, board.clock.now = board.predictor.serving.worker, board.clock.now + 99
    board.order(next_stage(board, first))
    assert (board.report.phase, board.report.sequence, board.report.rollout) == ("active", 3, "r")
    assert board.download() == 0 and board.predictor.serving.worker is worker
    assert board.report.current.since == since
    board.reboot()
    assert (board.report.sequence if board.broker.published else None) == 3


def test_the_next_stage_during_the_trial_is_what_is_committed(board: Board) -> None:
    """One soak, from the first switch."""
    first = board.install(files=other_files(2), rollout=Rollout("r", percent=99.9, soak_s=60.0))
    board.pass_time(40)
    board.order(next_stage(board, first))
    assert (board.report.phase, board.report.sequence) == ("trial", 3)
    board.pass_time(21)
    assert (board.report.phase, board.report.sequence) == ("active", 3)
    assert board.slots.release(board.slots.state.active.release).sequence == 3


def test_what_failed_is_tried_again_in_another_rollout(board: Board) -> None:
    """A new push of the same bundle is a new chance."""
    bad = board.install(files=other_files(2), rollout=Rollout("r", soak_s=60.0))
    board.worker_fails()
    board.order(next_stage(board, bad))
    assert board.report.phase == "failed" and len(board.workers) == 2
    board.install(files=other_files(2), rollout=Rollout("again"))
    assert (board.report.phase, board.report.current.version) == ("active", "4") and answers(board) == "4"


def test_an_order_for_what_failed_here_still_ends_what_is_under_way(board: Board) -> None:
    """The highest number wins, also when its answer is a failure."""
    bad = board.install(files=other_files(2), rollout=Rollout("r", soak_s=60.0))
    board.worker_fails()
    board.publish(files=other_files(3))
    board.order(next_stage(board, bad))
    assert board.link.subscribed == [] and board.slots.state.candidate is None
    assert (board.report.phase, board.report.sequence) == ("failed", 4)


def test_a_stranger_s_order_is_no_failure_of_any_rollout(board: Board) -> None:
    """Nobody can stop a rollout by sending junk to its devices."""
    board.order(b"junk")
    assert (board.report.phase, board.report.error.code) == ("failed", "envelope_invalid")
    assert (board.report.sequence, board.report.rollout) == (None, None)
    board.publish(files=other_files(2))
    board.order(b"junk")
    assert (board.report.phase, board.report.sequence) == ("downloading", 2)


def test_a_file_that_never_comes_whole_is_given_up_after_three_attempts(board: Board) -> None:
    """Each of its chunks is right, the file is not: whoever cut it made a mistake, or this disk does."""
    files = other_files(2)
    manifest = board.publisher.manifest(files)
    wrong = replace(manifest.blobs["labels"], sha256="f" * 64)
    for topic, payload in board.publisher.messages(files["labels"]):
        board.broker.retain([(topic.replace(manifest.blobs["labels"].id, "f" * 32), payload)])
    board.order(board.publisher.release(replace(manifest, blobs={**manifest.blobs, "labels": wrong})))
    for _ in range(3):
        board.download()
        assert (board.report.phase, board.report.error.code) == ("failed", "blob_damaged")
        board.pass_time(100)
    assert board.report.error.code == "too_many_attempts" and board.slots.state.candidate is None


def test_a_board_without_a_free_process_tries_again_later(board: Board, monkeypatch) -> None:
    """It is not the release that failed; no attempt is used up."""

    def refuse(_files: object) -> None:
        raise ModelError("worker_not_started", "no process")

    board.publish(files=other_files(2))
    monkeypatch.setattr(board.updater._tryout, "_start_worker", refuse)
    board.download()
    assert (board.report.phase, board.report.error.code) == ("failed", "worker_not_started")
    assert board.slots.state.candidate.attempts == 0
    monkeypatch.undo()
    board.pass_time(20)
    board.ready()
    board.tested()
    assert board.report.current.version == "2"


def test_an_order_that_the_disk_does_not_take_is_taken_when_there_is_room_again(
    board: Board, monkeypatch
) -> None:
    """Without another connection; it is acknowledged then and not before."""

    def refuse(_path: object, _data: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(board.disk, "write", refuse)
    before = len(board.link.acknowledged)
    board.publish(files=other_files(2))
    board.pass_time(20)
    assert (board.report.phase, board.report.error.code) == ("failed", "disk_full")
    assert board.slots.state.candidate is None and len(board.link.acknowledged) == before
    monkeypatch.undo()
    board.pass_time(40)
    finish(board)
    assert board.report.current.version == "2" and len(board.link.acknowledged) == before + 1
