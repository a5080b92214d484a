"""The agent's side of an inference process: starts it, hands it work, notices when it hangs or dies."""

import collections
import logging
import select
import socket
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Deque, NamedTuple, Optional, Sequence

from contract.messages import Problem
from edge_agent.child import Child, explain_exit
from edge_agent.config import InferenceConfig
from edge_agent.errors import ModelError
from edge_agent.events import Event, WorkerFailed
from edge_agent.frames import CLASSIFY, LOAD, TEST, Header, read_event, receive, send

_log = logging.getLogger(__name__)
_PROGRAM = (sys.executable, "-m", "edge_agent.worker")
_GOODBYE_S = 1.0
_READ_EVENTS = select.POLLIN | select.POLLHUP | select.POLLERR
_SEE_LOG = "see the agent's log"

Post = Callable[[Event], None]


@dataclass(frozen=True)
class ModelFiles:
    """Where the files of one release lie."""

    model: Path
    labels: Path
    preprocessing: Path
    golden: Path


class _Command(NamedTuple):
    """What the process is asked to do, and for how long it may."""

    header: Header
    body: bytes
    timeout_s: float


class Worker:
    """One inference process. Its methods belong to the agent's loop; a thread of its own posts the events.

    Commands are done one after the other, each with its own time limit, so a process that hangs is noticed
    and killed. Whatever goes wrong with it is told by exactly one `WorkerFailed`, when nothing of it is left.
    """

    def __init__(self, number: int, post: Post, program: Sequence[str], timeout_s: float) -> None:
        """Use `start`."""
        self.number = number
        self._post_event = post
        self._program = program
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._is_stopped = False
        self._is_over = False
        self._child: Optional[Child] = None
        self._commands: Deque[_Command] = collections.deque()
        self._doorbell, self._bell = socket.socketpair()
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
        """Start a process that loads a release. Returns at once; `WorkerReady` or `WorkerFailed` follows.

        Args:
            number: names the worker in its events.
            files: the release.
            config: limits of the process and of its answers.
            edgetpu: which Edge TPU to use, None for the CPU.
            post: takes the events, from another thread; must not block.
            program: the command line of the process; the number of its socket is added.

        Raises:
            ModelError: no file descriptor or thread is left for it.
        """
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
        try:
            worker = cls(number, post, program, config.timeout_s)
            worker._order(_Command(header, b"", config.load_timeout_s))
            worker._thread.start()
        except (OSError, RuntimeError) as error:
            raise ModelError("worker_not_started", f"no inference process: {error}") from error
        return worker

    @property
    def pid(self) -> int:
        """The process id, 0 before it has one."""
        return self._child.pid if self._child else 0

    @property
    def is_running(self) -> bool:
        """Whether the process is there or about to be; when not, nothing of it is left."""
        return not self._is_over

    def submit(self, key: int, kind: str, payload: bytes, top_k: Optional[int] = None) -> None:
        """Ask for a prediction; `WorkerAnswered` with `key` follows.

        Args:
            key: names the job in its answer.
            kind: IMAGE or ARRAY.
            payload: the picture, or the input tensor's bytes.
            top_k: how many labels to name, None for as many as configured.
        """
        header = {"do": CLASSIFY, "key": key, "kind": kind, "top_k": top_k}
        self._order(_Command(header, payload, self._timeout_s))

    def test(self, golden: Path, timeout_s: float) -> None:
        """Ask for a run of the golden samples; `WorkerTested` or `WorkerFailed` follows."""
        self._order(_Command({"do": TEST, "golden": str(golden)}, b"", timeout_s))

    def stop(self) -> None:
        """End the process, at the latest by force after a second. Nothing of it is left, no event follows."""
        with self._lock:
            self._is_stopped = True
            if self._child is not None:
                self._child.hang_up()
        self._thread.join()

    def _order(self, command: _Command) -> None:
        with self._lock:
            if not self._is_stopped and not self._is_over:
                self._commands.append(command)
                self._bell.send(b"!")

    def _run(self) -> None:
        """Do one command after the other until the process is gone; then clean up and say why."""
        problem: Optional[Problem] = None
        try:
            child = self._spawn()
            while True:
                self._post(self._do(child, self._next_command(child)))
        except socket.timeout:
            problem = Problem("worker_hung", "the inference process did not answer in time", _SEE_LOG)
        except ModelError as error:
            problem = error.problem()
        except (EOFError, OSError):
            _log.debug("worker %d is gone", self.number)
        finally:
            self._end(problem)

    def _spawn(self) -> Child:
        with self._lock:
            if self._is_stopped:
                raise EOFError
            try:
                self._child = Child(self._program)
            except OSError as error:
                raise ModelError("worker_not_started", f"no inference process: {error}") from error
            return self._child

    def _next_command(self, child: Child) -> _Command:
        """Wait for something to do.

        Raises:
            EOFError: the process is gone.
            ModelError: it speaks without being asked.
        """
        poller = select.poll()
        poller.register(self._doorbell, _READ_EVENTS)
        poller.register(child.connection, _READ_EVENTS)
        if any(descriptor == child.connection.fileno() for descriptor, _ in poller.poll()):
            receive(child.connection, time.monotonic() + _GOODBYE_S)
            raise ModelError("worker_protocol", "the inference process speaks without being asked")
        self._doorbell.recv(1)
        return self._commands.popleft()

    def _do(self, child: Child, command: _Command) -> Event:
        deadline_s = time.monotonic() + command.timeout_s
        send(child.connection, command.header, command.body, deadline_s)
        answer, body = receive(child.connection, deadline_s)
        return read_event(self.number, command.header, answer, body)

    def _post(self, event: Event) -> None:
        with self._lock:
            if not self._is_stopped:
                self._post_event(event)

    def _end(self, problem: Optional[Problem]) -> None:
        """Leave nothing behind, then say why. A process that did something wrong is not waited for."""
        if self._child is not None:
            exit_code = self._child.end(_GOODBYE_S if problem is None else 0)
            problem = problem or explain_exit(exit_code)
        with self._lock:
            self._is_over = True
            self._doorbell.close()
            self._bell.close()
            if problem is not None and not self._is_stopped:
                _log.warning("worker %d: %s: %s", self.number, problem.code, problem.message)
                self._post_event(WorkerFailed(self.number, problem))
