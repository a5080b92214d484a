"""Requests in, numbered predictions out: who waits, which worker answers, and the warm switch between two."""

import collections
import logging
from dataclasses import dataclass
from typing import Callable, Deque, Dict, List, Optional, Tuple

from contract.messages import Latency, Prediction, Problem
from edge_agent.clock import Clock
from edge_agent.config import AgentConfig
from edge_agent.events import Classified, InferenceAsked, WorkerAnswered, WorkerReady
from edge_agent.runnable import RunnableModel
from edge_agent.workers import Worker

_log = logging.getLogger(__name__)
_NO_MODEL = Problem("no_model", "no model is installed yet", "push one: deploy push BUNDLE --to DEVICE")
_BUSY = Problem("busy", "too many requests are waiting", "try again a little later")
_WORKER_LOST = Problem(
    "worker_lost", "the inference process died twice on this request", "see the agent's log"
)
_MAX_TRIES = 2


@dataclass(frozen=True)
class Serving:
    """A worker that is ready to answer, and what it answers with."""

    worker: Worker
    ready: WorkerReady
    model: RunnableModel


@dataclass(frozen=True)
class _Waiting:
    asked: InferenceAsked
    tries: int = 0


@dataclass(frozen=True)
class _Running:
    waiting: _Waiting
    serving: Serving
    sent_s: float


class Predictor:
    """One request at a time goes to the serving worker; the others wait, at most `inference.queue` of them.

    Attributes:
        serving: who answers now, None before the first model and while its worker is started anew.
    """

    def __init__(
        self, config: AgentConfig, boot: str, clock: Clock, publish: Callable[[Prediction], None]
    ) -> None:
        self._config = config
        self._boot = boot
        self._clock = clock
        self._publish = publish
        self._waiting: Deque[_Waiting] = collections.deque()
        self._running: Dict[Tuple[int, int], _Running] = {}
        self._retired: List[Worker] = []
        self._sequences: Dict[str, int] = {}
        self._next_key = 0
        self.serving: Optional[Serving] = None
        self.is_restarting = False

    @property
    def queue_length(self) -> int:
        """How many requests wait for the worker; may be read from any thread."""
        return len(self._waiting)

    def ask(self, asked: InferenceAsked) -> None:
        """Take a request; it is answered now with a problem, or later with a prediction."""
        if self.serving is None and not self.is_restarting:
            asked.answer(_NO_MODEL)
        elif len(self._waiting) >= self._config.inference.queue:
            asked.answer(_BUSY)
        else:
            self._waiting.append(_Waiting(asked))
            self._dispatch()

    def switch(self, serving: Optional[Serving]) -> Optional[Serving]:
        """Let another worker answer from now on; returns the one before, which still ends what it began."""
        before, self.serving = self.serving, serving
        self.is_restarting = False
        if serving is None:
            self.give_up(_NO_MODEL)
        self._dispatch()
        return before

    def retire(self, worker: Worker) -> None:
        """Stop a worker as soon as it has answered what it was given."""
        self._retired.append(worker)
        self._stop_idle()

    def answered(self, event: WorkerAnswered) -> None:
        """Pass on what a worker found."""
        running = self._running.pop((event.worker, event.key), None)
        if running is None:
            return
        if isinstance(event.result, Problem):
            running.waiting.asked.answer(event.result)
        else:
            prediction = self._build(running, event.result)
            self._publish(prediction)
            running.waiting.asked.on_output(event.result.output)
            running.waiting.asked.answer(prediction)
        self._stop_idle()
        self._dispatch()

    def lost(self, worker: int) -> bool:
        """A worker died: what it was working on is tried once more. True if it was the one that serves."""
        for place in [place for place in self._running if place[0] == worker]:
            running = self._running.pop(place)
            if running.waiting.tries + 1 < _MAX_TRIES:
                self._waiting.appendleft(_Waiting(running.waiting.asked, running.waiting.tries + 1))
            else:
                running.waiting.asked.answer(_WORKER_LOST)
        self._retired = [other for other in self._retired if other.number != worker]
        was_serving = self.serving is not None and self.serving.worker.number == worker
        if was_serving:
            self.serving = None
            self.is_restarting = True
        return was_serving

    def give_up(self, problem: Problem) -> None:
        """No worker will come back: answer everybody who waits."""
        self.is_restarting = False
        while self._waiting:
            self._waiting.popleft().asked.answer(problem)

    def _dispatch(self) -> None:
        serving = self.serving
        if serving is None or not self._waiting or self._is_busy(serving.worker):
            return
        waiting = self._waiting.popleft()
        self._next_key += 1
        self._running[serving.worker.number, self._next_key] = _Running(
            waiting, serving, self._clock.monotonic_s()
        )
        asked = waiting.asked
        serving.worker.submit(self._next_key, asked.kind, asked.payload, asked.top_k)

    def _stop_idle(self) -> None:
        for worker in [worker for worker in self._retired if not self._is_busy(worker)]:
            self._retired.remove(worker)
            worker.stop()

    def _is_busy(self, worker: Worker) -> bool:
        return any(place[0] == worker.number for place in self._running)

    def _build(self, running: _Running, found: Classified) -> Prediction:
        asked = running.waiting.asked
        best = found.top[0]
        self._sequences[asked.source] = sequence = self._sequences.get(asked.source, 0) + 1
        now_s = self._clock.monotonic_s()
        return Prediction(
            id=self._clock.new_id(),
            device=self._config.device,
            boot=self._boot,
            source=asked.source,
            seq=sequence,
            ts=self._clock.stamp(),
            label=best.label,
            label_id=best.id,
            score=best.score,
            top=found.top,
            model=running.serving.model.version,
            backend=running.serving.ready.backend,
            degraded=running.serving.model.degraded,
            latency_ms=Latency(
                queue=(running.sent_s - asked.arrived_s) * 1000,
                preprocess=found.preprocess_ms,
                inference=found.inference_ms,
                postprocess=found.postprocess_ms,
                total=(now_s - asked.arrived_s) * 1000,
            ),
            clock_synced=self._clock.is_synced(),
        )
