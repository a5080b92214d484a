"""The agent's side of an inference process: starts it, hands it work, notices when it hangs or dies."""

import collections
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Callable, Deque, Dict, NamedTuple, Optional, Sequence, Tuple, Union

from contract.artifacts import TensorSpec
from contract.codec import load_record
from contract.errors import ContractError
from contract.messages import Candidate, GoldenResult, Problem
from edge_agent.config import InferenceConfig
from edge_agent.errors import ModelError
from edge_agent.events import Classified, Event, WorkerAnswered, WorkerFailed, WorkerReady, WorkerTested
from edge_agent.frames import ANSWERED, CLASSIFY, FAILED, LOAD, READY, TEST, TESTED, Header, receive, send

_log = logging.getLogger(__name__)
_PROGRAM = (sys.executable, "-m", "edge_agent.worker")
_GOODBYE_S = 1.0
_READ_EVENTS = select.POLLIN | select.POLLHUP | select.POLLERR
# More threads of a linear algebra library would cost memory; the TFLite kernels have their own.
_THREADS_OF_LIBRARIES = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}

Post = Callable[[Event], None]


@dataclass(frozen=True)
class ModelFiles:
    """Where the files of one release lie."""

    model: Path
    labels: Path
    preprocessing: Path
    golden: Path

    @classmethod
    def roles(cls) -> Tuple[str, ...]:
        """Return the names of the files, which are also their roles in a release."""
        return tuple(entry.name for entry in fields(cls))


class _Command(NamedTuple):
    """What the process is asked to do, and for how long it may."""

    header: Header
    body: bytes
    timeout_s: float


class Worker:
    """One inference process. All methods belong to the agent's loop; a thread of its own posts the events.

    Commands are done one after the other, each with its own time limit. Whatever goes wrong with the process
    ends it, and is told by exactly one `WorkerFailed`. After `stop` nothing is told any more.
    """

    def __init__(self, number: int, config: InferenceConfig, post: Post, program: Sequence[str]) -> None:
        """Use `start`."""
        self.number = number
        self._config = config
        self._post_event = post
        self._lock = threading.Lock()
        self._is_stopped = False
        self._is_over = False
        self._commands: Deque[_Command] = collections.deque()
        self._doorbell, self._bell = socket.socketpair()
        self._connection, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [*program, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=dict(os.environ, **_THREADS_OF_LIBRARIES),
            )
        self._thread = threading.Thread(target=self._run, name=f"worker-{number}", daemon=True)

    @classmethod
    def start(
        cls,
        number: int,
        files: ModelFiles,
        config: InferenceConfig,
        edgetpu: Optional[str],
        post: Post,
        program: Sequence[str] = _PROGRAM,
    ) -> "Worker":
        """Start a process and let it load a release; returns at once, `WorkerReady` or `WorkerFailed` follows.

        Args:
            number: names the worker in its events.
            files: the release.
            config: limits of the process and of its answers.
            edgetpu: which Edge TPU to use, None for the CPU.
            post: takes the events, from another thread; must not block.
            program: the command line of the process; its socket's number is added.
        """
        worker = cls(number, config, post, program)
        header = {
            "do": LOAD,
            "model": str(files.model),
            "labels": str(files.labels),
            "preprocessing": str(files.preprocessing),
            "top_k": config.top_k,
            "max_pixels": config.max_pixels,
            "memory_bytes": config.worker_memory_bytes,
            "edgetpu": edgetpu,
        }
        worker._order(_Command(header, b"", config.load_timeout_s))
        worker._thread.start()
        return worker

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the process is there; when not, nothing of it is left."""
        return not self._is_over

    def submit(self, key: int, kind: str, payload: bytes) -> None:
        """Ask for a prediction; `WorkerAnswered` with `key` follows.

        Args:
            key: names the job in its answer.
            kind: IMAGE or ARRAY.
            payload: the picture, or the input tensor's bytes.
        """
        self._order(
            _Command({"do": CLASSIFY, "key": key, "kind": kind}, payload, self._config.timeout_s),
        )

    def test(self, golden: Path, timeout_s: float) -> None:
        """Ask for a run of the golden samples; `WorkerTested` or `WorkerFailed` follows."""
        self._order(_Command({"do": TEST, "golden": str(golden)}, b"", timeout_s))

    def stop(self) -> None:
        """End the process, at the latest by force after a second. Nothing of it is left, no event follows."""
        with self._lock:
            self._is_stopped = True
        try:
            # Both sides see the end of the stream: the process leaves, our thread wakes up.
            self._connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            _log.debug("worker %d has gone already", self.number)
        self._thread.join()

    def _order(self, command: _Command) -> None:
        with self._lock:
            if self._is_stopped or self._is_over:
                return
            self._commands.append(command)
            self._bell.send(b"!")

    def _run(self) -> None:
        """Do one command after the other until the process is gone; then clean up and say why."""
        problem: Optional[Problem] = None
        try:
            while True:
                self._post(self._do(self._next_command()))
        except socket.timeout:
            problem = Problem("worker_hung", "the inference process did not answer in time", "see its log")
        except (EOFError, OSError):
            problem = None
        except (ModelError, ContractError, KeyError, TypeError) as error:
            problem = _explain(error)
        finally:
            exit_code = self._reap(is_hopeless=problem is not None)
            self._fail(problem or _explain_exit(exit_code))

    def _next_command(self) -> _Command:
        """Wait for something to do.

        Raises:
            EOFError: the process is gone, or speaks without being asked.
        """
        poller = select.poll()
        poller.register(self._doorbell, _READ_EVENTS)
        poller.register(self._connection, _READ_EVENTS)
        ready = dict(poller.poll())
        if self._connection.fileno() in ready:
            receive(self._connection, time.monotonic() + _GOODBYE_S)
            raise ModelError("worker_protocol", "the inference process speaks without being asked")
        self._doorbell.recv(1)
        return self._commands.popleft()

    def _do(self, command: _Command) -> Event:
        deadline_s = time.monotonic() + command.timeout_s
        send(self._connection, command.header, command.body, deadline_s)
        answer, _ = receive(self._connection, deadline_s)
        if answer["is"] == FAILED:
            problem = load_record(Problem, answer["problem"])
            raise ModelError(problem.code, problem.message, problem.hint)
        return _read_event(self.number, command.header, answer)

    def _post(self, event: Event) -> None:
        with self._lock:
            if not self._is_stopped:
                self._post_event(event)

    def _fail(self, problem: Problem) -> None:
        with self._lock:
            self._is_over = True
            if not self._is_stopped:
                _log.warning("worker %d: %s: %s", self.number, problem.code, problem.message)
                self._post_event(WorkerFailed(self.number, problem))

    def _reap(self, is_hopeless: bool) -> int:
        """End the process if it has not ended, give back what it used, return its exit code."""
        self._connection.close()
        try:
            self._process.wait(0 if is_hopeless else _GOODBYE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
        exit_code = self._process.wait()
        with self._lock:
            self._is_over = True
            self._doorbell.close()
            self._bell.close()
        return exit_code


def _read_event(worker: int, asked: Header, answer: Header) -> Event:
    """Turn an answer into an event.

    Raises:
        ModelError: it answers another question.
        ContractError, KeyError, TypeError: it is not an answer.
    """
    if {LOAD: READY, TEST: TESTED, CLASSIFY: ANSWERED}[asked["do"]] != answer["is"]:
        raise ModelError("worker_protocol", "the inference process answers another question")
    if answer["is"] == READY:
        return WorkerReady(
            worker,
            runtime=str(answer["runtime"]),
            backend=str(answer["backend"]),
            inputs=tuple(load_record(TensorSpec, spec) for spec in answer["inputs"]),
            outputs=tuple(load_record(TensorSpec, spec) for spec in answer["outputs"]),
        )
    if answer["is"] == TESTED:
        return WorkerTested(worker, load_record(GoldenResult, answer["result"]))
    return WorkerAnswered(worker, asked["key"], _read_result(answer))


def _read_result(answer: Dict[str, Any]) -> Union[Classified, Problem]:
    if "problem" in answer:
        return load_record(Problem, answer["problem"])
    return Classified(
        top=tuple(load_record(Candidate, candidate) for candidate in answer["top"]),
        preprocess_ms=float(answer["preprocess_ms"]),
        inference_ms=float(answer["inference_ms"]),
        postprocess_ms=float(answer["postprocess_ms"]),
    )


def _explain(error: Exception) -> Problem:
    if isinstance(error, ModelError):
        return error.problem()
    return Problem("worker_protocol", f"the inference process sent a wrong answer: {error}"[:1000])


def _explain_exit(exit_code: int) -> Problem:
    if exit_code >= 0:
        return Problem("worker_died", f"worker ended with exit code {exit_code}", "see the agent's log")
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:
        name = f"signal {-exit_code}"
    return Problem("worker_died", f"worker died of {name}", "see the agent's log")
