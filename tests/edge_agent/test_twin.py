"""Promises of learning.twin: the CPU's version of what the Edge TPU runs is compared with it."""

import time
from pathlib import Path

import pytest

from contract.messages import Problem
from edge_agent.config import ShadowConfig
from edge_agent.events import WorkerFailed, WorkerReady
from edge_agent.inference.predictor import Predictor
from edge_agent.learning.twin import Twin
from tests.edge_agent.recovering_agent import PATIENCE_S, is_from, run_recovering
from tests.edge_agent.test_resident import install
from tests.fakes.board import BOOT, Board, FakeWorker


class Stage:
    """A board with an Edge TPU, and a twin of its model with workers of its own."""

    def __init__(self, folder: Path) -> None:
        self.board = board = Board(folder, edgetpu=":0")
        self.workers = []
        predictor = Predictor(board.config, BOOT, board.clock, lambda prediction, _asked: prediction)
        self.twin = Twin(board.slots, board.clock, predictor, self._start)

    def _start(self, files):
        self.workers.append(FakeWorker(100 + len(self.workers), files))
        return self.workers[-1]

    def ready(self):
        """The newest worker has loaded its model."""
        model = self.board.publisher.manifest().model
        event = WorkerReady(self.workers[-1].number, "fake 1.0", "cpu", model.inputs, model.outputs)
        self.twin.ready(event)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def test_it_runs_the_fallback_of_what_is_installed_on_the_cpu(stage):
    """Each release has its own; the one before is let go."""
    stage.twin.tick()
    assert stage.workers == []
    install(stage.board)
    stage.twin.tick()
    stage.ready()
    first = stage.workers[0]
    assert first.files.edgetpu is None
    assert first.files.model.read_bytes() != stage.board.workers[0].files.model.read_bytes()
    assert stage.twin.predictor.serving.worker is first
    install(stage.board, 2)
    stage.twin.tick()
    stage.ready()
    assert not first.is_running and stage.twin.predictor.serving.worker is stage.workers[1]


def test_a_model_that_is_not_compiled_has_none(stage):
    """It would be compared with itself."""
    stage.board.install()
    stage.twin.tick()
    assert stage.workers == []


def test_one_that_dies_is_started_again_after_a_pause(stage):
    """The model on the Edge TPU does not notice."""
    install(stage.board)
    stage.twin.tick()
    stage.ready()
    stage.twin.failed(WorkerFailed(100, Problem("worker_died", "it died")))
    assert stage.twin.predictor.serving is None
    stage.twin.tick()
    assert len(stage.workers) == 1
    stage.board.clock.monotonic += 1.0
    stage.twin.tick()
    stage.ready()
    assert stage.twin.predictor.serving.worker is stage.workers[1]


def test_what_the_edge_tpu_sees_differently_from_the_cpu_is_a_sample(tmp_path, runtime):
    """Told with a whole agent whose Edge TPU begins to answer something else."""
    with run_recovering(tmp_path / "state", shadow=ShadowConfig(share=1.0, max_temp_c=120)) as running:
        running.ask_until(is_from("edgetpu"))
        result = compare_until(running, lambda result: result.agreed >= 2)
        assert result.compared == result.agreed
        runtime.order("wrong")
        result = compare_until(running, lambda result: result.compared > result.agreed)
        until_s = time.monotonic() + PATIENCE_S
        while not running.agent._tally.samples["disagreement"] and time.monotonic() < until_s:
            time.sleep(0.02)
        assert running.agent._tally.samples["disagreement"] == 1


def compare_until(running, is_right):
    """Ask until the comparison says this, and return it."""
    until_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < until_s:
        running.ask()
        result = running.agent.models.shadow_result
        if result is not None and is_right(result):
            return result
        time.sleep(0.01)
    raise AssertionError("it was not compared")
