"""The agent's side of a loaded model: has a process load it, hands it work, notices when it hangs or dies."""

import collections
import contextlib
import logging
import select
import socket
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Deque, NamedTuple, Optional, Tuple

from contract.messages import Problem
from edge_agent.config import InferenceConfig
from edge_agent.errors import ModelError
from edge_agent.events import Event, WorkerFailed
from edge_agent.inference.frames import (
    CLASSIFY,
    LOAD,
    RELOAD,
    SAMPLE,
    SMALL_BYTES,
    TEST,
    Header,
    read_event,
    receive,
    send,
)
from edge_agent.inference.host import Host, Seat
from edge_agent.sensors import Sensors

_log = logging.getLogger(__name__)
_GOODBYE_S = 1.0
_MOST_RINGS = 64
# A process is killed and buried in a few seconds, even if several are at once; later than this, nobody will.
_WEDGED_S = 30.0
# How late the thread may notice that what the loop has sent takes too long.
_WATCH_S = 0.1
_READ_EVENTS = select.POLLIN | select.POLLHUP | select.POLLERR
_HUNG = Problem("worker_hung", "the inference process did not answer in time", "see the agent's log")

Post = Callable[[Event], None]


@dataclass(frozen=True)
class ModelFiles:
    """Where the files of one release lie, and which Edge TPU runs the model, None for the CPU."""

    model: Path
    labels: Path
    preprocessing: Path
    golden: Path
    edgetpu: Optional[str] = None


class _Command(NamedTuple):
    """What the process is asked to do, and how long it may take."""

    header: Header
    body: bytes
    timeout_s: float


class Worker:
    """One loaded model. Its methods belong to the agent's loop; a thread of its own posts the events.

    Commands are done one after the other, each with its own time limit, so a process that hangs is noticed
    and killed. Whatever goes wrong with it is told by exactly one `WorkerFailed`, when nothing of it is left.
    The loop itself sends a small command to an idle process, which saves waking the thread for it; the thread
    sends the others, and receives all answers.
    """

    def __init__(self, number: int, post: Post, host: Host, load: _Command, timeout_s: float) -> None:
        """Use `start`."""
        self.number = number
        self._post_event = post
        self._host = host
        self._load = load
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._is_stopped = False
        self._is_over = False
        self._is_open = False
        self._seat: Optional[Seat] = None
        # The first one is under way if it has a deadline.
        self._commands: Deque[_Command] = collections.deque()
        self._deadline_s: Optional[float] = None
        # By when the thread has a process, or is done with it.
        self._due_s = time.monotonic() + load.timeout_s
        self._doorbell, self._bell = socket.socketpair()
        # The loop rings it, and must never wait.
        self._bell.setblocking(False)
        self._thread = threading.Thread(target=self._run, name=f"worker-{number}", daemon=True)

    @classmethod
    def start(
        cls,
        number: int,
        files: ModelFiles,
        config: InferenceConfig,
        post: Post,
        host: Optional[Host] = None,
    ) -> "Worker":
        """Have a process load a release. Returns at once; `WorkerReady` or `WorkerFailed` follows.

        Args:
            number: names the worker in its events.
            files: the release.
            config: limits of the process and of its answers.
            post: takes the events, from another thread; must not block.
            host: the process to share with other workers, None for one of its own.

        Raises:
            ModelError: no file descriptor or thread is left for it.
        """
        header = {
            "do": LOAD,
            "model": str(files.model),
            "labels": str(files.labels),
            "preprocessing": str(files.preprocessing),
            "top_k": config.top_k,
            "min_score": config.min_score,
            "max_pixels": config.max_pixels,
            "memory_bytes": config.worker_memory_bytes,
            "edgetpu": files.edgetpu,
        }
        try:
            load = _Command(header, b"", config.load_timeout_s)
            worker = cls(number, post, host or Host(), load, config.timeout_s)
            worker._order(load)
            worker._thread.start()
        except (OSError, RuntimeError) as error:
            raise ModelError("worker_not_started", f"no inference process: {error}") from error
        return worker

    @property
    def pid(self) -> int:
        """The process id, 0 before it has one."""
        return self._seat.pid if self._seat else 0

    def resident_bytes(self) -> int:
        """Return how much memory its process holds, 0 if it cannot be told; others may share the process."""
        return Sensors().resident_bytes([self.pid]) if self.pid else 0

    @property
    def is_running(self) -> bool:
        """Whether its process is there or about to be; when not, nothing of it is left."""
        return not self._is_over

    @property
    def is_wedged(self) -> bool:
        """Whether its thread hangs: what takes too long, or has ended, is not told any more."""
        due_s = self._deadline_s if self._is_open else self._due_s
        return not self._is_over and due_s is not None and time.monotonic() > due_s + _WEDGED_S

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

    def sample(self, key: int, kind: str, payload: bytes, max_bytes: int) -> None:
        """Ask for an input in at most `max_bytes`; `WorkerSampled` with `key` follows."""
        header = {"do": SAMPLE, "key": key, "kind": kind, "max_bytes": max_bytes}
        # It is read twice: as the model does, and to make it small.
        self._order(_Command(header, payload, 2 * self._timeout_s))

    def reload(self, keep_delegate: bool) -> None:
        """Load the model again in the living process; `WorkerReady` or `WorkerFailed` follows.

        Args:
            keep_delegate: only make a new interpreter; else the way to the Edge TPU is opened anew too.
        """
        again = _Command({"do": RELOAD}, b"", self._load.timeout_s)
        self._order(again if keep_delegate else self._load)

    def test(self, golden: Path, timeout_s: float) -> None:
        """Ask for a run of the golden samples; `WorkerTested` or `WorkerFailed` follows."""
        self._order(_Command({"do": TEST, "golden": str(golden)}, b"", timeout_s))

    def let_go(self) -> None:
        """Leave the process, which ends with its last worker, at the latest by force after a second.

        Returns at once; no event follows.
        """
        with self._lock:
            self._is_stopped = True
            if self._seat is not None:
                self._seat.hang_up()

    def stop(self) -> None:
        """As `let_go`, and wait until nothing of this worker is left."""
        self.let_go()
        self._thread.join()

    def _order(self, command: _Command) -> None:
        with self._lock:
            if self._is_stopped or self._is_over:
                return
            self._commands.append(command)
            if len(self._commands) > 1:
                return
            if self._is_open and len(command.body) <= SMALL_BYTES:
                self._send_now()
            else:
                with contextlib.suppress(BlockingIOError):
                    self._bell.send(b"!")

    def _send_now(self) -> None:
        assert self._seat is not None
        command, deadline_s = self._begin(self._seat)
        try:
            send(self._seat.connection, command.header, command.body, deadline_s)
        except OSError:
            _log.debug("worker %d does not listen; its thread will see why", self.number)

    def _run(self) -> None:
        problem: Optional[Problem] = None
        try:
            seat = self._sit()
            problem = self._work(seat) if seat else None
        except OSError as error:
            problem = Problem("worker_not_started", f"no inference process: {error}")
        self._end(problem)

    def _sit(self) -> Optional[Seat]:
        if self._is_stopped:
            return None
        # Without the lock, which the loop wants: another worker's process may be slow to die.
        seat = self._host.sit()
        with self._lock:
            self._seat, is_stopped = seat, self._is_stopped
            self._is_open = not is_stopped
        if not is_stopped:
            return seat
        seat.leave()
        return None

    def _work(self, seat: Seat) -> Optional[Problem]:
        """Do one command after the other while there is a process; return why it ended, if not asked to."""
        try:
            problem = self._talk(seat)
            seat.leave()
            return problem
        except socket.timeout:
            seat.condemn()
            return _HUNG
        except ModelError as error:
            seat.condemn()
            return error.problem()
        except (EOFError, OSError):
            if not self._is_stopped:
                return seat.bury()
            seat.leave()
            return None

    def _talk(self, seat: Seat) -> Problem:
        """Go on until the model cannot be loaded; return why.

        Raises:
            EOFError, OSError: the process is gone.
            socket.timeout: it has not answered in time.
            ModelError: what it says makes no sense.
        """
        try:
            while True:
                if self._await(seat):
                    event = self._hear(seat)
                    if isinstance(event, WorkerFailed):
                        return event.problem
                    self._post(event)
                self._go_on(seat)
        finally:
            # From now on the loop must not send: the socket's number may soon be another's.
            with self._lock:
                self._is_open = False
                self._due_s = time.monotonic() + _GOODBYE_S

    def _await(self, seat: Seat) -> bool:
        """Wait for something to do; True if the process speaks.

        Raises:
            socket.timeout: it has not answered in time.
        """
        poller = select.poll()
        poller.register(self._doorbell, _READ_EVENTS)
        poller.register(seat.connection, _READ_EVENTS)
        ready = {descriptor for descriptor, _ in poller.poll(_WATCH_S * 1000)}
        if self._doorbell.fileno() in ready:
            self._doorbell.recv(_MOST_RINGS)
        if seat.connection.fileno() in ready:
            return True
        deadline_s = self._deadline_s
        if deadline_s is not None and time.monotonic() >= deadline_s:
            raise socket.timeout
        return False

    def _hear(self, seat: Seat) -> Event:
        """Receive an answer.

        Raises:
            EOFError: the process is gone.
            ModelError: it speaks without being asked.
        """
        deadline_s = self._deadline_s
        answer, body = receive(seat.connection, deadline_s or time.monotonic() + _GOODBYE_S)
        if deadline_s is None:
            raise ModelError("worker_protocol", "the inference process speaks without being asked")
        with self._lock:
            command = self._commands.popleft()
            self._deadline_s = None
            seat.is_busy = False
        return read_event(self.number, command.header, answer, body)

    def _go_on(self, seat: Seat) -> None:
        """Send the next command, if it waits for the thread."""
        with self._lock:
            if not self._commands or self._deadline_s is not None:
                return
            command, deadline_s = self._begin(seat)
        send(seat.connection, command.header, command.body, deadline_s)

    def _begin(self, seat: Seat) -> Tuple[_Command, float]:
        command = self._commands[0]
        self._deadline_s = deadline_s = time.monotonic() + command.timeout_s
        seat.is_busy = True
        return command, deadline_s

    def _post(self, event: Event) -> None:
        with self._lock:
            if not self._is_stopped:
                self._post_event(event)

    def _end(self, problem: Optional[Problem]) -> None:
        with self._lock:
            self._is_over = True
            self._doorbell.close()
            self._bell.close()
            if problem is not None and not self._is_stopped:
                _log.warning("worker %d: %s: %s", self.number, problem.code, problem.message)
                self._post_event(WorkerFailed(self.number, problem))
