"""Promises of recovery.resident: what it does about each fault, on a board with fake time and workers."""

from dataclasses import replace
from pathlib import Path
from typing import List

import pytest

from contract.manifest import Rollout
from contract.messages import Prediction, Problem
from edge_agent.events import IMAGE, DeviceReset, InferenceAsked
from edge_agent.inference.host import SHARED
from tests.fakes.board import FOUND, Board
from tests.fakes.publisher import tiny_files

NAN = Problem("model_not_finite", "the model answered NaN or infinity")


@pytest.fixture
def board(tmp_path: Path) -> Board:
    """A board on whose Edge TPU a compiled release answers: worker 1."""
    board = Board(tmp_path, edgetpu=":0")
    install(board)
    return board


def install(board: Board, number: int = 1) -> bytes:
    labels = b"\n".join(b"class %d of %d" % (n, number) for n in range(10))
    files = {**tiny_files(), "labels": labels, "fallback": tiny_files()["model"], "model": b"compiled"}
    return board.install(files=files, model=replace(board.publisher.manifest().model, compiled=True))


def ask(board: Board) -> List[object]:
    told: List[object] = []
    board.predictor.ask(InferenceAsked(IMAGE, b"png", "http", board.clock.monotonic_s(), told.append))
    return told


def codes(board: Board) -> List[str]:
    return [problem.code for problem in board.resident.problems()]


def answer_nonsense(board: Board, times: int = 3) -> None:
    for _ in range(times):
        ask(board)
        board.answer(worker=board.predictor.serving.worker.number - 1, result=NAN)


def is_on_edgetpu(board: Board) -> bool:
    serving = board.predictor.serving
    return serving is not None and serving.model.files.edgetpu == ":0"


def test_a_hung_worker_is_replaced_and_its_request_goes_to_the_fallback(board: Board) -> None:
    """Fallback and new worker are started at the same time; the one that is ready first answers."""
    told = ask(board)
    board.worker_fails(code="worker_hung")
    fallback, wanted = board.workers[1:]
    assert (fallback.files.edgetpu, wanted.files.edgetpu) == (None, ":0")
    board.ready(worker=1)
    board.answer(worker=1)
    assert isinstance(told[0], Prediction) and told[0].degraded == "worker_hung: it died"
    assert codes(board) == ["worker_hung"]
    board.ready(worker=2)
    assert is_on_edgetpu(board) and not fallback.is_running and codes(board) == []


def test_a_fallback_that_dies_is_started_again(board: Board) -> None:
    """With a pause; the Edge TPU is not blamed for it."""
    board.worker_fails()
    board.worker_fails(worker=1)
    board.pass_time(1)
    assert [worker.files.edgetpu for worker in board.workers] == [":0", None, ":0", None]


def test_nonsense_is_reloaded_in_the_living_worker(board: Board) -> None:
    """First the model alone; nobody is asked there meanwhile."""
    answer_nonsense(board)
    assert board.workers[0].reloads == [True] and board.workers[0].is_running
    told = ask(board)
    assert told == []
    board.ready(worker=0)
    board.answer(worker=0)
    assert isinstance(told[0], Prediction) and codes(board) == []
    answer_nonsense(board)
    assert board.workers[0].reloads == [True, False]


def test_a_slow_model_is_reloaded_unless_the_chip_is_hot(board: Board) -> None:
    """The release's own gate decides, 1000 ms here."""
    slow = replace(FOUND, inference_ms=1001.0)
    board.resident.heat(91.0)
    for _ in range(25):
        ask(board)
        board.pass_time(3)
        board.answer(worker=0, result=slow)
    assert board.workers[0].reloads == [] and codes(board) == ["edgetpu_hot"]
    board.resident.heat(60.0)
    ask(board)
    board.pass_time(3)
    board.answer(worker=0, result=slow)
    assert board.workers[0].reloads == [True] and codes(board) == ["model_slow"]


def test_a_hot_chip_rests_between_inferences(board: Board) -> None:
    """After 1 ms of work at 90 degrees, 4 ms pass before the next; who asks waits."""
    board.resident.heat(90.0)
    ask(board)
    board.answer()
    ask(board)
    assert len(board.workers[0].jobs) == 1 and board.predictor.rest_s() == pytest.approx(0.004)
    board.clock.monotonic += 0.0041
    board.predictor.tick()
    assert len(board.workers[0].jobs) == 2


def test_a_dead_chip_is_reset_and_then_looked_at_again(board: Board) -> None:
    """The fallback answers until it reads a temperature that a chip has."""
    board.resident.heat(-89.7)
    board.resident.tick()
    assert board.resets == 1 and not board.workers[0].is_running
    board.resident.device_reset(DeviceReset(None))
    board.ready(worker=1)
    assert board.predictor.serving.model.degraded.startswith("edgetpu_dead")
    assert len(board.workers) == 2 and codes(board) == ["edgetpu_dead", "edgetpu_dead"]
    board.resident.heat(50.0)
    board.pass_time(60)
    board.ready()
    assert is_on_edgetpu(board) and codes(board) == []


def test_a_reset_that_is_not_allowed_is_not_the_end(board: Board) -> None:
    """The model is loaded anew in any case."""
    for _ in range(5):
        board.worker_fails()
        board.pass_time(10)
    assert board.resets == 1
    before = len(board.workers)
    board.resident.device_reset(DeviceReset(Problem("edgetpu_reset", "no right")))
    assert len(board.workers) == before + 1


def test_the_last_step_ends_the_service_and_is_on_disk_before(board: Board) -> None:
    """So that the next one does not do it again at once."""
    board.worker_fails()
    board.ready()
    for _ in range(4):
        board.worker_fails()
        board.pass_time(10)
    board.resident.device_reset(DeviceReset(None))
    board.worker_fails()
    assert [problem.code for problem in board.restarts] == ["worker_died"]
    assert (Path(board.config.state_dir) / "recovery.json").exists()


def test_requests_that_take_processes_down_do_not_end_the_service(tmp_path: Path) -> None:
    """Whoever may ask could otherwise stop everything with a picture that takes too long."""
    board = Board(tmp_path)
    board.install()
    for _ in range(10):
        told = ask(board)
        for _ in range(2):
            board.worker_fails(code="worker_hung")
            board.pass_time(1)
            board.ready()
        assert isinstance(told[0], Problem) and told[0].code == "worker_lost"
    assert board.restarts == [] and codes(board) == []


def test_an_absent_edge_tpu_never_rolls_a_release_back(board: Board) -> None:
    """It is not the model's fault, however often it is tried."""
    install(board, 2)
    active = board.slots.state.active
    board.worker_fails(code="edgetpu_absent")
    for _ in range(5):
        board.pass_time(61)
        board.worker_fails(code="edgetpu_absent")
    assert board.slots.state.active == active and board.resets == 0


def test_who_was_lost_with_anothers_process_comes_back_at_once(board: Board) -> None:
    """It uses up no budget, and its request no try."""
    told = ask(board)
    for _ in range(10):
        board.worker_fails(code=SHARED)
        board.ready()
    assert is_on_edgetpu(board) and board.resets == 0 and told == []
    board.answer()
    assert isinstance(told[0], Prediction)


def test_a_release_that_comes_while_the_edge_tpu_is_away_waits_for_it(board: Board) -> None:
    """It is neither refused nor run by its fallback; no attempt is used up."""
    envelope = install_until_load(board)
    board.worker_fails(code="edgetpu_absent")
    assert board.report.error.code == "edgetpu_absent"
    assert board.slots.state.candidate is not None and board.slots.state.candidate.attempts == 0
    board.pass_time(500)
    board.ready(model=board.slots.release(board.slots.state.candidate.release).model)
    board.tested()
    assert board.report.phase == "active" and envelope and is_on_edgetpu(board)


def install_until_load(board: Board) -> bytes:
    labels = b"\n".join(b"other %d" % n for n in range(10))
    files = {**tiny_files(), "labels": labels, "fallback": tiny_files()["model"], "model": b"compiled"}
    envelope = board.publish(files=files, model=replace(board.publisher.manifest().model, compiled=True))
    board.download()
    return envelope


def test_a_candidate_that_another_model_took_down_is_tried_again(board: Board) -> None:
    """It is not refused for what it did not do."""
    install_until_load(board)
    board.worker_fails(code=SHARED)
    assert board.slots.state.refused == ()
    board.pass_time(20)
    board.ready()
    board.tested()
    assert board.report.phase == "active"


def test_a_trial_that_takes_both_processes_down_loses_no_request(board: Board) -> None:
    """The one before is started again, its fallback answers."""
    labels = b"\n".join(b"other %d" % n for n in range(10))
    files = {**tiny_files(), "labels": labels, "fallback": tiny_files()["model"], "model": b"compiled"}
    model = replace(board.publisher.manifest().model, compiled=True)
    board.install(files=files, model=model, rollout=Rollout("soak", soak_s=60.0))
    assert board.report.phase == "trial"
    told = ask(board)
    board.worker_fails(worker=1)
    board.worker_fails(worker=0, code=SHARED)
    assert board.report.phase == "rolled_back"
    board.ready(worker=2)
    board.answer(worker=2)
    assert isinstance(told[0], Prediction) and told[0].degraded == "worker_shared: it died"


def test_the_fallback_of_an_old_release_never_answers_for_a_new_one(board: Board) -> None:
    """A release that came while the fallback answered has a fallback of its own."""
    board.worker_fails(code="edgetpu_absent")
    board.ready(worker=1)
    install_until_load(board)
    board.ready()
    board.tested()
    assert is_on_edgetpu(board) and not board.workers[1].is_running
    board.worker_fails()
    labels = {worker.files.labels for worker in board.workers if worker.is_running}
    assert labels == {board.workers[2].files.labels}
    assert [worker.files.edgetpu for worker in board.workers] == [":0", None, ":0", None, ":0"]


def test_a_stage_that_is_adopted_while_the_fallback_answers_ends_with_the_model(board: Board) -> None:
    """The next try is for a release of another number: a fallback that is let go stands in nobody's way."""
    running = board.slots.release(board.slots.state.active.release)
    board.worker_fails()
    board.ready(worker=1)
    assert board.predictor.serving is not None and not is_on_edgetpu(board)
    board.order(board.publisher.release(replace(running, sequence=99, rollout=Rollout("stage-2"))))
    assert board.report.sequence == 99
    board.worker_fails(worker=2)
    board.pass_time(61)
    assert not board.workers[1].is_running and board.predictor.is_restarting
    board.ready()
    assert is_on_edgetpu(board) and board.predictor.serving.worker.is_running


def test_a_fallback_that_never_starts_is_tried_for_ever(board: Board) -> None:
    """A day is more tries than a float has powers of two."""
    board.worker_fails(code="edgetpu_absent")
    for _ in range(1100):
        fallback = next(worker for worker in board.workers if worker.is_running)
        board.worker_fails(worker=fallback.number - 1, code="model_load")
        board.pass_time(61)
        for worker in board.workers:
            if worker.is_running and worker.files.edgetpu is not None:
                board.worker_fails(worker=worker.number - 1, code="edgetpu_absent")
    assert any(worker.is_running and worker.files.edgetpu is None for worker in board.workers)
