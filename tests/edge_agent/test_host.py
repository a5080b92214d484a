"""Promises of inference.host and inference.pool: who shares a process, and who is blamed for its end."""

import os
import queue
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from edge_agent.config import InferenceConfig
from edge_agent.events import ARRAY, DeviceReset, WorkerAnswered, WorkerFailed, WorkerReady
from edge_agent.inference import child as child_module
from edge_agent.inference import device_reset
from edge_agent.inference.child import Child
from edge_agent.inference.host import SHARED, Host
from edge_agent.inference.pool import WorkerPool
from edge_agent.inference.workers import Worker

STAND_IN = Path(__file__).resolve().parent / "stand_in_worker.py"
CONFIG = InferenceConfig(timeout_s=0.5, load_timeout_s=20)
WAIT_S = 30


@pytest.fixture
def start(tiny_files, events, no_thread_left):
    """Start workers in one process, that of the stand-in if it shall misbehave."""
    started, hosts = [], {}

    def start(fault=""):
        program = ((sys.executable, str(STAND_IN), fault),) if fault else ()
        host = hosts.setdefault(fault, Host(*program))
        started.append(Worker.start(len(started) + 1, tiny_files, CONFIG, events.put, host))
        ready = events.get(timeout=WAIT_S)
        assert isinstance(ready, WorkerReady) and ready.worker == started[-1].number
        return started[-1]

    yield start
    for worker in started:
        worker.stop()


def failures(events, count):
    """Return the codes of the next failures by worker."""
    found = [events.get(timeout=WAIT_S) for _ in range(count)]
    assert all(isinstance(event, WorkerFailed) for event in found)
    return {event.worker: event.problem.code for event in found}


def test_two_models_answer_in_one_process(start, events, golden):
    """Each has its own socket, interpreter and answers."""
    first, second = start(), start()
    assert first.pid == second.pid
    for worker in (first, second):
        worker.submit(worker.number, ARRAY, golden[0][0].tobytes())
    answers = [events.get(timeout=WAIT_S) for _ in range(2)]
    assert {answer.key for answer in answers} == {1, 2}
    assert all(isinstance(answer, WorkerAnswered) for answer in answers)


def test_one_that_leaves_does_not_disturb_the_other(start, events, golden):
    """The process ends with the last one, and the next one gets a new process."""
    first, second = start(), start()
    first.stop()
    second.submit(1, ARRAY, golden[0][0].tobytes())
    assert isinstance(events.get(timeout=WAIT_S), WorkerAnswered)
    pid = second.pid
    second.stop()
    assert start().pid != pid


@pytest.mark.parametrize(
    ("fault", "code"), [("classify-segfault", "worker_died"), ("classify-hang", "worker_hung")]
)
def test_only_the_one_that_was_busy_is_blamed(start, events, fault, code):
    """The others are lost with the process, through no fault of their own."""
    guilty, other = start(fault), start(fault)
    guilty.submit(1, ARRAY, b"abcd")
    assert failures(events, 2) == {guilty.number: code, other.number: SHARED}
    assert not guilty.is_running and not other.is_running


def test_a_process_that_dies_without_work_is_everybodys(start, events):
    """Nobody can tell; none is let off."""
    first, second = start(), start()
    os.kill(first.pid, signal.SIGKILL)
    assert failures(events, 2) == {first.number: "worker_died", second.number: "worker_died"}


def test_a_model_that_cannot_be_loaded_leaves_the_other_alone(start, events, golden):
    """It is refused in words; the process goes on."""
    first = start()
    second = start()
    second.submit(1, ARRAY, b"too short")
    assert events.get(timeout=WAIT_S).result.code == "bad_input"
    first.submit(2, ARRAY, golden[0][0].tobytes())
    assert isinstance(events.get(timeout=WAIT_S), WorkerAnswered)


@pytest.mark.parametrize("keep_delegate", [True, False])
def test_a_model_is_loaded_again_in_the_living_process(start, events, golden, keep_delegate):
    """It is ready again, by the same process, and answers."""
    worker = start()
    pid = worker.pid
    worker.reload(keep_delegate)
    assert isinstance(events.get(timeout=WAIT_S), WorkerReady) and worker.pid == pid
    worker.submit(1, ARRAY, golden[0][0].tobytes())
    assert events.get(timeout=WAIT_S).result.top[0].id == golden[1][0].argmax()


def test_models_for_the_cpu_have_a_process_each(tiny_files, events, no_thread_left):
    """One that crashes takes no other down."""
    pool = WorkerPool(events.put)
    workers = [pool.start(tiny_files, CONFIG) for _ in range(2)]
    assert {events.get(timeout=WAIT_S).worker for _ in workers} == {1, 2}
    assert len(set(pool.pids())) == 2
    pool.stop()
    assert set(pool.pids()) == set()


def test_a_device_is_reset_when_nobody_uses_it(tiny_files, tmp_path, monkeypatch, no_thread_left):
    """The process of the Edge TPU is ended first, nobody in it is blamed."""
    monkeypatch.setattr(device_reset, "_RESET", "reset")
    (tmp_path / "reset").write_text("")
    events: queue.Queue[object] = queue.Queue()
    pool = WorkerPool(events.put, tmp_path)
    worker = pool.start(replace(tiny_files, edgetpu=":0"), CONFIG)
    assert isinstance(events.get(timeout=WAIT_S), WorkerReady)
    pool.reset_device()
    told = [events.get(timeout=WAIT_S) for _ in range(2)]
    assert DeviceReset(None) in told
    assert [event.problem.code for event in told if isinstance(event, WorkerFailed)] == [SHARED]
    assert (tmp_path / "reset").read_text() == "1"
    worker.stop()


def test_a_prepared_process_takes_the_first_model(tiny_files, events, no_thread_left):
    """It imports the runtime while the agent is still being built; the next model gets one of its own."""
    spare = Host()
    spare.prepare()
    prepared = spare._crew.child.pid
    pool = WorkerPool(events.put, spare=spare)
    workers = [pool.start(tiny_files, CONFIG) for _ in range(2)]
    assert {events.get(timeout=WAIT_S).worker for _ in workers} == {1, 2}
    assert workers[0].pid == prepared != workers[1].pid
    pool.stop()


def test_a_prepared_process_that_nobody_needed_ends(events):
    """With the pool: a device without a model leaves nothing behind."""
    spare = Host()
    spare.prepare()
    child = spare._crew.child
    WorkerPool(events.put, spare=spare).stop()
    assert not child.is_running


def test_a_process_that_cannot_be_killed_is_left_behind(monkeypatch):
    """It hangs in a driver; whoever ends it goes on all the same."""
    child = Child((sys.executable, "-c", "import time; time.sleep(60)"))
    process = child._process
    monkeypatch.setattr(process, "kill", lambda: None)
    monkeypatch.setattr(child_module, "_DEATH_S", 0.1)
    assert child.end(0) == -signal.SIGKILL
    monkeypatch.undo()
    process.kill()
    process.wait()
