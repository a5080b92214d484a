"""Promises of inference.predictor and recovery.resident: nobody who asks is forgotten."""

import math
from dataclasses import replace
from pathlib import Path
from typing import List, Union

import pytest

from contract.messages import Prediction, Problem
from edge_agent.config import InferenceConfig
from edge_agent.events import IMAGE, RAW, Classified, InferenceAsked
from edge_agent.inference.predictor import Predictor
from tests.fakes.board import BOOT, DEVICE, Board
from tests.fakes.publisher import tiny_files


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path)


class Client:
    """Asks, and keeps what it is told."""

    def __init__(self, board: Board, source: str = "http") -> None:
        self._board, self._source = board, source
        self.told: List[Union[Prediction, Problem]] = []

    def ask(self) -> None:
        now_s = self._board.clock.monotonic_s()
        self._board.predictor.ask(InferenceAsked(IMAGE, b"png", self._source, now_s, self.told.append))


def test_a_prediction_says_everything_about_itself(board: Board) -> None:
    """Who, when, with what, how sure, how long; the same document is published and answered."""
    board.install()
    client = Client(board)
    client.ask()
    board.clock.monotonic += 0.5
    board.answer()
    prediction = client.told[0]
    assert isinstance(prediction, Prediction)
    assert board.predictions == [prediction]
    assert (prediction.device, prediction.source, prediction.seq) == (DEVICE, "http", 1)
    assert (prediction.label, prediction.score, prediction.backend) == ("class 0", 0.9, "cpu")
    assert prediction.model.version == "1"
    assert prediction.latency_ms.total == pytest.approx(500)


def test_numbers_rise_without_gaps_for_each_source(board: Board) -> None:
    """A gap in `seq` means a loss, so problems do not use up numbers."""
    board.install()
    for source in ("http", "mqtt", "http"):
        Client(board, source).ask()
        board.answer()
    assert [(each.source, each.seq) for each in board.predictions] == [("http", 1), ("mqtt", 1), ("http", 2)]


def test_without_a_model_the_client_is_told_at_once(board: Board) -> None:
    """Nobody waits for something that may never come."""
    client = Client(board)
    client.ask()
    assert [each.code for each in client.told] == ["no_model"]


def test_a_full_queue_refuses_and_loses_nobody(board: Board) -> None:
    """What is taken is answered, what is not taken is told."""
    board.install()
    client = Client(board)
    room = InferenceConfig().queue + 1
    for _ in range(room + 2):
        client.ask()
    assert [each.code for each in client.told] == ["busy", "busy"]
    for _ in range(room):
        board.answer()
    assert len(client.told) == room + 2 and len(board.predictions) == room


def test_no_request_is_lost_at_a_switch(board: Board) -> None:
    """The old worker ends what it has begun; what waits goes to the new one."""
    board.install()
    client = Client(board)
    for _ in range(3):
        client.ask()
    board.install(files={**tiny_files(), "labels": b"\n".join(b"other %d" % n for n in range(10))})
    assert board.workers[0].is_running
    board.answer(worker=0)
    assert not board.workers[0].is_running
    board.answer(worker=1)
    board.answer(worker=1)
    assert [each.model.version for each in board.predictions] == ["1", "2", "2"]
    assert len(client.told) == 3


def test_a_dead_worker_is_started_again_and_the_request_tried_once_more(board: Board) -> None:
    """The client notices a delay, nothing else."""
    board.install()
    client = Client(board)
    client.ask()
    client.ask()
    board.worker_fails()
    assert client.told == []
    board.pass_time(1)
    board.ready()
    board.answer()
    board.answer()
    assert len(board.predictions) == 2


def test_a_request_that_kills_every_worker_is_given_up(board: Board) -> None:
    """Two tries, then the client is told and the others go on."""
    board.install()
    deadly, other = Client(board), Client(board)
    deadly.ask()
    other.ask()
    for _ in range(2):
        board.worker_fails()
        board.pass_time(5)
        board.ready()
    board.answer()
    assert [each.code for each in deadly.told] == ["worker_lost"]
    assert isinstance(other.told[0], Prediction)


def test_an_installed_model_that_keeps_failing_gives_way_to_the_last_known_good(board: Board) -> None:
    """Never without a model while there is one that worked."""
    board.install()
    board.install(files={**tiny_files(), "labels": b"\n".join(b"other %d" % n for n in range(10))})
    for _ in range(3):
        board.worker_fails()
        board.pass_time(60)
    board.ready()
    assert (board.report.phase, board.report.current.version) == ("rolled_back", "1")
    assert board.predictor.serving.model.version.version == "1"


def test_a_reboot_serves_what_was_active(board: Board) -> None:
    """No broker is needed."""
    board.install()
    board.broker.retained.clear()
    board.reboot()
    board.ready()
    client = Client(board)
    client.ask()
    board.answer()
    assert isinstance(client.told[0], Prediction)


def test_a_damaged_model_on_disk_is_not_served(board: Board) -> None:
    """Its hash is checked before it is loaded; the client is told to come back."""
    board.install()
    path = board.slots.model_files(board.slots.release(board.slots.state.active.release))["model"]
    path.write_bytes(b"rotten")
    board.reboot()
    assert board.workers == [] and board.predictor.serving is None


@pytest.mark.parametrize("edgetpu, given", [(":0", [False, True]), (None, [True, True])])
def test_a_model_waits_for_its_turn_on_the_edge_tpu_only(board: Board, edgetpu, given) -> None:
    """Other models share it; on the CPU nobody is asked. The loop may sleep until the turn comes."""
    board.install()
    serving = board.predictor.serving
    assert serving is not None
    turn = [False]
    predictor = Predictor(
        board.config, BOOT, board.clock, lambda prediction, _asked: prediction, may_start=lambda: turn[0]
    )
    files = replace(serving.model.files, edgetpu=edgetpu)
    predictor.switch(replace(serving, model=replace(serving.model, files=files)))
    jobs = board.workers[-1].jobs
    predictor.ask(InferenceAsked(IMAGE, b"png", "http", 0.0, lambda _result: None))
    found = [bool(jobs)]
    assert predictor.rest_s() == math.inf
    turn[0] = True
    assert predictor.rest_s() == (math.inf if jobs else 0.0)
    predictor.tick()
    assert [*found, bool(jobs)] == given


def test_what_a_model_asks_of_the_edge_tpu_is_its_size_and_whether_anybody_waits(board: Board) -> None:
    """On the CPU it asks nothing of it."""
    board.install()
    predictor, serving = board.predictor, board.predictor.serving
    assert serving is not None and predictor.edgetpu_load() is None
    files = replace(serving.model.files, edgetpu=":0")
    predictor.switch(replace(serving, model=replace(serving.model, files=files)))
    assert predictor.edgetpu_load() == (len(tiny_files()["model"]), False)
    Client(board).ask()
    assert predictor.edgetpu_load() == (len(tiny_files()["model"]), True)


def test_raw_outputs_are_for_those_who_take_them(board: Board) -> None:
    """They get them without a number; the others are told, and nothing is published."""
    board.install()
    serving = board.predictor.serving
    assert serving is not None
    board.predictor.switch(replace(serving, ready=replace(serving.ready, meaning=RAW)))
    told: List[Union[Prediction, Problem]] = []
    outputs: List[bytes] = []
    for takes_raw in (False, True):
        asked = InferenceAsked(
            IMAGE, b"png", "http", 0.0, told.append, on_output=outputs.append, takes_raw=takes_raw
        )
        board.predictor.ask(asked)
        board.answer(result=Classified((), 0.1, 1.0, 0.1, b"raw"))
    problem, prediction = told
    assert isinstance(problem, Problem) and problem.code == "model_output_raw"
    assert isinstance(prediction, Prediction) and (prediction.label, prediction.seq) == ("", 0)
    assert outputs == [b"raw"] and board.predictions == []


def test_a_detector_that_finds_nothing_says_so(board: Board) -> None:
    """It is published like any other: no label, score 0."""
    board.install()
    client = Client(board)
    client.ask()
    board.answer(result=Classified((), 0.1, 1.0, 0.1))
    assert [(each.label, each.score, each.top, each.seq) for each in board.predictions] == [("", 0.0, (), 1)]
    assert client.told == board.predictions
