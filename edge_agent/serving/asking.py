"""Where a thread asks the loop for a prediction and waits for it, not for ever."""

import queue
import threading
import time
from typing import Callable, NamedTuple, Optional, Set, Union

from contract.messages import Prediction, Problem
from edge_agent.events import InferenceAsked

BUSY = Problem("busy", "too many requests are waiting", "try again a little later")
_LATE = Problem("timeout", "no answer in time", "see /readyz, or allow more: http.timeout_s")
_STOPPING = Problem("stopping", "the agent is being stopped", "try again a little later")


class Found(NamedTuple):
    """What the loop answered: a prediction with the model's raw output, or why there is none."""

    result: Union[Prediction, Problem]
    output: bytes = b""


class _Reply:
    """Where one thread waits; the first answer counts."""

    def __init__(self) -> None:
        self._is_there = threading.Event()
        self._lock = threading.Lock()
        self._result: Union[Prediction, Problem] = _LATE
        self.output = b""

    def keep_output(self, output: bytes) -> None:
        """Take the model's raw output, which comes before the answer."""
        self.output = output

    def set(self, result: Union[Prediction, Problem]) -> None:
        """Answer."""
        with self._lock:
            if not self._is_there.is_set():
                self._result = result
                self._is_there.set()

    def wait(self, timeout_s: float) -> Found:
        """Return the answer, or the problem that there is none in time."""
        self._is_there.wait(timeout_s)
        return Found(self._result, self.output)


class Asker:
    """Asks on behalf of clients that wait."""

    def __init__(self, ask: Callable[[InferenceAsked], None], source: str, timeout_s: float) -> None:
        """Prepare.

        Args:
            ask: takes a question from any thread; must not block, raises `queue.Full` when there is no room.
            source: who asks, as in the prediction topic.
            timeout_s: how long a client waits.
        """
        self._ask = ask
        self._source = source
        self._timeout_s = timeout_s
        self._waiting: Set[_Reply] = set()
        self._is_stopping = False

    def ask(
        self,
        kind: str,
        payload: bytes,
        top_k: Optional[int] = None,
        model: str = "",
        takes_raw: bool = False,
        file: Optional[str] = None,
    ) -> Found:
        """Ask and wait; the arguments are those of `InferenceAsked`."""
        reply = _Reply()
        self._waiting.add(reply)
        try:
            if self._is_stopping:
                return Found(_STOPPING)
            self._ask(
                InferenceAsked(
                    kind,
                    payload,
                    self._source,
                    time.monotonic(),
                    reply.set,
                    top_k,
                    reply.keep_output,
                    model,
                    takes_raw,
                    file,
                )
            )
            return reply.wait(self._timeout_s)
        except queue.Full:
            return Found(BUSY)
        finally:
            self._waiting.discard(reply)

    def stop(self) -> None:
        """Answer everybody who still waits."""
        self._is_stopping = True
        for reply in tuple(self._waiting):
            reply.set(_STOPPING)
