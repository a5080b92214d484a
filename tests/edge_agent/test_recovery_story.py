"""Stories of recovery: a real agent, real processes, and a runtime that hangs, crashes and lies when told."""

import contextlib
import queue
import time
from pathlib import Path
from typing import Any, Callable

import pytest

from contract.messages import Prediction
from edge_agent.config import InferenceConfig
from edge_agent.events import ARRAY, InferenceAsked, WorkerReady
from edge_agent.recovery import ladder
from tests.edge_agent.recovering_agent import GATE_MS, PATIENCE_S, is_from, run_recovering
from tests.fakes.faulty import INPUT, FaultyRuntime

TIMEOUT_S = 0.4
RUNGS = (
    "reload the model",
    "reload the delegate",
    "restart the worker",
    "reset the device",
    "restart the service",
)


@pytest.fixture
def run(tmp_path: Path, runtime: FaultyRuntime) -> Callable[..., Any]:
    """Run an agent with a release for the runtime."""
    inference = InferenceConfig(timeout_s=TIMEOUT_S)
    return lambda is_compiled=True: run_recovering(tmp_path / "state", is_compiled, inference)


@pytest.mark.parametrize(("fault", "code"), [("hang", "worker_hung"), ("crash", "worker_died")])
def test_the_fallback_answers_until_the_edge_tpu_is_back(runtime, run, fault, code):
    """The request that hangs or kills the process is answered by the CPU, and no other is lost either."""
    with run() as running:
        running.ask_until(is_from("edgetpu"))
        runtime.hold_file.touch()
        runtime.order(fault, until="process")
        answers = [running.ask()]
        assert is_from("cpu")(answers[0]) and answers[0].degraded.startswith(code)
        assert running.problems() == [code]
        runtime.hold_file.unlink()
        answers += running.ask_until(is_from("edgetpu"))
        assert all(isinstance(answer, Prediction) for answer in answers)
        assert answers[-1].degraded is None and running.problems() == []


@pytest.mark.parametrize("rung, until", list(enumerate(("interpreter", "delegate", "process", "reset"))))
def test_nonsense_is_cured_by_the_first_rung_that_helps(runtime, run, caplog, rung, until):
    """NaN three times in a row climbs as far as needed, and no further."""
    with run() as running:
        running.ask_until(is_from("edgetpu"))
        runtime.order("nan", until=until)
        assert running.ask().code == "model_not_finite"
        running.ask_until(lambda _: not running.problems())
        running.ask_until(
            lambda _: [step for step in RUNGS if step in caplog.text] == list(RUNGS[: rung + 1])
        )
        assert running.ask_until(is_from("edgetpu"))[-1].degraded is None


def test_at_last_the_agent_ends_with_a_failure(runtime, run, caplog, tmp_path):
    """All rungs in their order; that it ended is written down, so that the next one does not do so too."""
    with run() as running:
        running.ask_until(is_from("edgetpu"))
        runtime.order("nan")
        until_s = time.monotonic() + PATIENCE_S
        while running.thread.is_alive() and time.monotonic() < until_s:
            told: queue.Queue[Any] = queue.Queue()
            running.agent.mailbox.offer(InferenceAsked(ARRAY, INPUT, "test", time.monotonic(), told.put))
            with contextlib.suppress(queue.Empty):
                told.get(timeout=0.1)
        assert [error.code for error in running.errors] == ["model_not_finite"]
    steps = [step for line in caplog.messages for step in RUNGS if line.endswith(f"next: {step}; ")]
    assert list(dict.fromkeys(steps)) == list(RUNGS)
    assert (tmp_path / "state" / "recovery.json").exists()


def test_a_slow_model_is_loaded_again(runtime, run, caplog):
    """The median of the newest inferences beyond the release's gate is a fault; nobody waits meanwhile."""
    with run() as running:
        running.ask_until(is_from("edgetpu"))
        runtime.order("slow", until="interpreter")
        answers = running.ask_until(lambda _: "model_slow" in running.problems())
        answers += running.ask_until(lambda _: not running.problems())
        assert all(isinstance(answer, Prediction) for answer in answers)
        assert running.ask().latency_ms.inference < GATE_MS
    assert [step for step in RUNGS if step in caplog.text] == ["reload the model"]


def test_a_delegate_that_cannot_be_loaded_leaves_the_work_to_the_fallback(runtime, run, monkeypatch):
    """From the start on, with the reason in each prediction; the Edge TPU takes over when it is there."""
    monkeypatch.setattr(ladder, "_LOOK_AGAIN_S", 0.5)
    runtime.order("refuse")
    with run() as running:
        answers = running.ask_until(is_from("cpu"))
        assert answers[-1].degraded.startswith("edgetpu_")
        runtime.obey_again()
        answers += running.ask_until(is_from("edgetpu"))
        assert all(isinstance(answer, Prediction) for answer in answers)


@pytest.mark.parametrize("fault", ["hang", "crash"])
def test_a_model_for_the_cpu_is_started_again(runtime, run, fault):
    """It has no fallback: the request waits, and is answered by the model itself."""
    with run(is_compiled=False) as running:
        running.ask_until(is_from("cpu"))
        runtime.order(fault, until="process", backend="cpu")
        answers = running.ask_until(lambda _: True) + running.ask_until(is_from("cpu"))
        assert [answer.degraded for answer in answers] == [None, None]


def test_a_second_model_is_loaded_while_the_first_holds_the_edge_tpu(runtime, run, tmp_path):
    """The driver lets one process in: both are in it, and the first goes on answering."""
    with run() as running:
        running.ask_until(is_from("edgetpu"))
        lane = next(iter(running.agent.models.lanes.values()))
        first = lane.predictor.serving
        events: queue.Queue[Any] = queue.Queue()
        running.agent.models.pool._post = events.put
        second = running.agent.models.pool.start(first.model.files, InferenceConfig())
        ready = events.get(timeout=PATIENCE_S)
        assert isinstance(ready, WorkerReady) and ready.backend == "edgetpu"
        assert second.pid == first.worker.pid
        second.stop()
        assert is_from("edgetpu")(running.ask())
