import gc
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from edge_agent.config import InferenceConfig
from edge_agent.events import (
    ARRAY,
    IMAGE,
    Classified,
    WorkerAnswered,
    WorkerFailed,
    WorkerReady,
    WorkerTested,
)
from edge_agent.inference import frames, workers
from edge_agent.inference.frames import read_event
from edge_agent.inference.host import Host
from edge_agent.inference.workers import ModelFiles, Worker
from tests.fakes.waiting import wait_for

STAND_IN = Path(__file__).resolve().parent / "stand_in_worker.py"
IMPATIENT = InferenceConfig(timeout_s=0.5, load_timeout_s=20)
WAIT_S = 30


@pytest.fixture
def start(tiny_files, events, no_thread_left):
    """Start workers that are stopped at the end; with a fault it is the stand-in that has it."""
    started = []

    def start(files=tiny_files, config=IMPATIENT, fault="", host=None):
        host = host or (Host((sys.executable, str(STAND_IN), fault)) if fault else None)
        worker = Worker.start(len(started) + 1, files, config, events.put, host)
        started.append(worker)
        return worker

    yield start
    for worker in started:
        worker.stop()


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def children():
    """Return the process ids of our children, the dead ones that nobody waited for too."""
    lists = Path("/proc/self/task").glob("*/children")
    return {pid for each in lists for pid in each.read_text().split()}


def open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


def next_failure(events):
    event = events.get(timeout=WAIT_S)
    assert isinstance(event, WorkerFailed), event
    return event.problem


def test_worker_loads_tests_and_answers(start, tiny_files, events, golden):
    """The story of a release: ready, tested, answering; all by the same process."""
    worker = start()
    ready = events.get(timeout=WAIT_S)
    assert isinstance(ready, WorkerReady) and ready.worker == worker.number
    assert worker.resident_bytes() > 5 * 1024 * 1024
    # When memory is short, the kernel takes this process and not the agent.
    assert Path(f"/proc/{worker.pid}/oom_score_adj").read_text() == "1000\n"
    assert ready.inputs[0].shape == (1, 28, 28, 1) and ready.backend == "cpu"
    worker.test(tiny_files.golden, 20)
    tested = events.get(timeout=WAIT_S)
    assert isinstance(tested, WorkerTested) and tested.result.top1_agreement == 1.0
    worker.submit(41, ARRAY, golden[0][2].tobytes())
    answered = events.get(timeout=WAIT_S)
    assert isinstance(answered, WorkerAnswered) and (answered.worker, answered.key) == (worker.number, 41)
    assert isinstance(answered.result, Classified) and answered.result.top[0].id == golden[1][2].argmax()


def test_start_returns_at_once(start):
    """The loop does not wait for a model to be loaded."""
    started_s = time.monotonic()
    start()
    assert time.monotonic() - started_s < 0.1


def test_two_workers_live_side_by_side(start, events, golden):
    """A candidate is warm before the old one leaves, and takes over without a gap."""
    first, second = start(), start()
    assert {events.get(timeout=WAIT_S).worker for _ in range(2)} == {1, 2}
    first.submit(1, ARRAY, golden[0][0].tobytes())
    second.submit(2, ARRAY, golden[0][0].tobytes())
    assert {(event.worker, event.key) for event in (events.get(timeout=WAIT_S) for _ in range(2))} == {
        (1, 1),
        (2, 2),
    }
    first.stop()
    second.submit(3, ARRAY, golden[0][0].tobytes())
    assert events.get(timeout=WAIT_S).key == 3


def test_jobs_are_answered_in_order(start, events, golden):
    """Several jobs may be handed over; each gets its own answer."""
    worker = start()
    events.get(timeout=WAIT_S)
    for key in range(20):
        worker.submit(key, ARRAY, golden[0][key].tobytes())
    answers = [events.get(timeout=WAIT_S) for _ in range(20)]
    assert [answer.key for answer in answers] == list(range(20))
    assert [answer.result.top[0].id for answer in answers] == golden[1].argmax(axis=1).tolist()


def test_clients_mistake_is_answered(start, events):
    """A bad picture is a Problem for the client; the worker lives."""
    worker = start()
    events.get(timeout=WAIT_S)
    worker.submit(1, IMAGE, b"no picture")
    answer = events.get(timeout=WAIT_S)
    assert answer.result.code == "bad_image" and worker.is_running


def test_model_that_cannot_be_loaded_fails_with_its_reason(start, events, tiny_files, tmp_path):
    """The worker's own words arrive; nothing of it is left."""
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(b"garbage")
    worker = start(ModelFiles(broken, tiny_files.labels, tiny_files.preprocessing, tiny_files.golden))
    assert next_failure(events).code == "model_unreadable"
    assert not worker.is_running and not is_alive(worker.pid)


def test_model_that_crashes_the_interpreter_takes_only_the_worker_down(start, events, tiny_files, tmp_path):
    """Half a model may be refused, crash, or ask for any memory: a reason arrives, and we live on."""
    half = tmp_path / "half.tflite"
    half.write_bytes(tiny_files.model.read_bytes()[:2000])
    start(ModelFiles(half, tiny_files.labels, tiny_files.preprocessing, tiny_files.golden))
    assert next_failure(events).code in ("model_unreadable", "worker_died", "out_of_memory")


@pytest.mark.parametrize(
    ("fault", "code", "message"),
    [
        ("load-segfault", "worker_died", "SIGSEGV"),
        ("load-exit", "worker_died", "exit code 3"),
        ("classify-segfault", "worker_died", "SIGSEGV"),
        ("later-segfault", "worker_died", "SIGSEGV"),
        ("later-exit", "worker_died", "exit code 3"),
        ("classify-hang", "worker_hung", "in time"),
        ("classify-half", "worker_hung", "in time"),
        ("test-hang", "worker_hung", "in time"),
        ("classify-flood", "worker_protocol", "frame of"),
        ("later-flood", "worker_protocol", ""),
        ("later-empty", "worker_protocol", "without being asked"),
        ("classify-noise", "worker_protocol", "not JSON"),
        ("classify-list", "worker_protocol", "not an object"),
        ("classify-empty", "worker_protocol", "wrong answer"),
        ("classify-wrong_kind", "worker_protocol", "another question"),
        ("classify-wrong_score", "worker_protocol", "score"),
    ],
)
def test_fault_ends_the_worker_with_a_reason(start, events, fault, code, message):
    """Whatever a worker does, exactly one failure says why, and the process is gone."""
    worker = start(fault=fault)
    if not fault.startswith("load"):
        assert isinstance(events.get(timeout=WAIT_S), WorkerReady)
    if fault.startswith("classify"):
        worker.submit(1, ARRAY, b"abcd")
    if fault.startswith("test"):
        worker.test(Path("golden"), 0.3)
    problem = next_failure(events)
    assert problem.code == code and message in problem.message
    assert not worker.is_running and not is_alive(worker.pid)
    worker.submit(2, ARRAY, b"abcd")
    worker.stop()
    assert events.empty()


def test_model_that_takes_too_long_to_load_is_given_up(start, events):
    """Loading has a limit of its own."""
    start(config=InferenceConfig(load_timeout_s=1), fault="load-hang")
    assert next_failure(events).code == "worker_hung"


def test_worker_that_never_reads_does_not_hold_the_loop(start, events):
    """Submitting 4 MB to a process that reads nothing returns at once; the deadline ends it."""
    worker = start(config=InferenceConfig(timeout_s=0.5, load_timeout_s=1), fault="x-deaf")
    started_s = time.monotonic()
    worker.submit(1, IMAGE, bytes(4 * 1024 * 1024))
    assert time.monotonic() - started_s < 0.1
    assert next_failure(events).code == "worker_hung"


def test_a_flood_of_orders_does_not_hold_the_loop(start, events):
    """More than the doorbell takes are all done, in their order."""
    worker = start()
    events.get(timeout=WAIT_S)
    loop = threading.Thread(
        target=lambda: [worker.submit(key, ARRAY, b"short") for key in range(1000)], daemon=True
    )
    loop.start()
    loop.join(WAIT_S)
    assert not loop.is_alive()
    assert [events.get(timeout=WAIT_S).key for _ in range(1000)] == list(range(1000))


def test_a_host_that_is_slow_does_not_hold_the_loop(start, events):
    """Another worker's process that is slow to die keeps the new one out, not the loop that lets it go."""
    host = Host()
    with host._lock:
        worker = start(host=host)
        loop = threading.Thread(target=worker.let_go, daemon=True)
        loop.start()
        loop.join(1)
        is_held = loop.is_alive()
    worker.stop()
    assert not is_held and not worker.is_running and events.empty()


def test_large_picture_travels(start, events):
    """4 MB go through the socket whole: the worker says what is wrong with them."""
    worker = start()
    events.get(timeout=WAIT_S)
    worker.submit(1, ARRAY, bytes(4 * 1024 * 1024))
    assert "4194304 bytes" in events.get(timeout=WAIT_S).result.message


def test_the_loop_sends_only_what_cannot_block_it(start, events, golden, monkeypatch):
    """A small command goes out at once, a large one by the worker's thread: the process may read slowly."""
    worker = start()
    events.get(timeout=WAIT_S)
    senders = []

    def send(*arguments):
        senders.append(threading.current_thread())
        frames.send(*arguments)

    monkeypatch.setattr(workers, "send", send)
    for payload in (golden[0][0].tobytes(), bytes(4 * 1024 * 1024)):
        worker.submit(1, ARRAY, payload)
        events.get(timeout=WAIT_S)
    assert senders == [threading.current_thread(), worker._thread]


def test_killed_worker_is_noticed_while_idle(start, events):
    """A process that dies without work, say for lack of memory, is told within a moment."""
    worker = start()
    events.get(timeout=WAIT_S)
    os.kill(worker.pid, signal.SIGKILL)
    assert "SIGKILL" in next_failure(events).message


def test_program_that_does_not_exist_is_told(start, events, tiny_files):
    """A broken installation is a failure like any other."""
    worker = Worker.start(9, tiny_files, IMPATIENT, events.put, Host(("/no/such/program",)))
    assert next_failure(events).code == "worker_not_started"
    worker.stop()


def test_stop_leaves_nothing_behind(start, tiny_files, events):
    """No process, thread or file descriptor survives ten workers, whenever they are stopped."""
    gc.collect()
    files_before, children_before = open_files(), children()
    for number in range(10):
        worker = start()
        if number % 2:
            assert isinstance(events.get(timeout=WAIT_S), WorkerReady)
        worker.stop()
        assert not worker.is_running and not is_alive(worker.pid or 2**22)
    assert (open_files(), children()) == (files_before, children_before)


def test_stop_is_fast_and_silent(start, tiny_files, events):
    """An idle worker leaves in a moment; nothing is told after stop, and stopping twice is allowed."""
    worker = start()
    events.get(timeout=WAIT_S)
    worker.test(tiny_files.golden, 20)
    started_s = time.monotonic()
    worker.stop()
    assert time.monotonic() - started_s < 1
    worker.stop()
    while not events.empty():
        assert isinstance(events.get(), WorkerTested)


def test_answer_that_is_being_read_is_not_told_after_stop(start, events, golden, monkeypatch):
    """Also an answer that had already arrived is kept back."""
    worker = start()
    events.get(timeout=WAIT_S)
    is_reading = threading.Event()

    def read_slowly(*arguments):
        is_reading.set()
        time.sleep(0.3)
        return read_event(*arguments)

    monkeypatch.setattr(workers, "read_event", read_slowly)
    worker.submit(1, ARRAY, golden[0][0].tobytes())
    assert is_reading.wait(WAIT_S)
    worker.stop()
    assert events.empty()


def test_worker_that_will_not_leave_is_killed(start, events):
    """Stop takes little more than a second, whatever the process thinks of it."""
    worker = start(fault="x-stubborn")
    events.get(timeout=WAIT_S)
    started_s = time.monotonic()
    worker.stop()
    assert 0.5 < time.monotonic() - started_s < 3
    assert not is_alive(worker.pid)


def test_fds_of_one_worker_stay_away_from_another(start, events):
    """When the agent lets one worker go, it leaves although the other still runs."""
    first = start()
    events.get(timeout=WAIT_S)
    start()
    events.get(timeout=WAIT_S)
    started_s = time.monotonic()
    first.stop()
    assert time.monotonic() - started_s < 0.9


class _StuckHost(Host):
    """The kernel does not come back from starting the process."""

    def __init__(self):
        super().__init__()
        self.is_released = threading.Event()

    def sit(self):
        self.is_released.wait(WAIT_S)
        return super().sit()


def test_a_thread_that_does_not_tell_what_became_of_its_process_is_noticed(start, monkeypatch):
    """Not before loading may have taken its time; the agent's watchdog asks."""
    host = _StuckHost()
    worker = start(config=InferenceConfig(load_timeout_s=1), host=host)
    assert not worker.is_wedged
    monkeypatch.setattr(workers, "_WEDGED_S", 0.1)
    wait_for("it is wedged", lambda: worker.is_wedged)
    host.is_released.set()
    wait_for("it is not any more", lambda: not worker.is_wedged)


def test_a_hung_process_is_the_workers_own_business(start, events, monkeypatch):
    """It is killed and told of; its thread does not hang at any time."""
    monkeypatch.setattr(workers, "_WEDGED_S", 5.0)
    worker = start(config=InferenceConfig(load_timeout_s=1), fault="load-hang")
    assert next_failure(events).code == "worker_hung"
    assert not worker.is_wedged
    worker.stop()
    assert not worker.is_wedged
