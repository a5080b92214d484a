"""Requests in, numbered predictions out: who waits, which worker answers, and the warm switch between two."""

import collections
import logging
import math
from dataclasses import dataclass
from typing import Callable, Deque, Dict, List, NamedTuple, Optional, Tuple

from contract.messages import NOT_PUBLISHED, Candidate, Latency, Prediction, Problem
from edge_agent.clock import Clock
from edge_agent.config import AgentConfig
from edge_agent.events import RAW, Classified, InferenceAsked, WorkerAnswered, WorkerReady
from edge_agent.inference import thermal
from edge_agent.inference.runnable_model import RunnableModel
from edge_agent.inference.turns import Load
from edge_agent.inference.workers import Worker

Publish = Callable[[Prediction, InferenceAsked], Prediction]

_log = logging.getLogger(__name__)
_NO_MODEL = Problem("no_model", "no model is installed yet", "push one: deploy push BUNDLE --to DEVICE")
_BUSY = Problem("busy", "too many requests are waiting", "try again a little later")
_WORKER_LOST = Problem(
    "worker_lost", "the inference process died twice on this request", "see the agent's log"
)
_RAW = Problem(
    "model_output_raw",
    "the model's outputs name no labels",
    "ask for its tensors: POST /v2/models/NAME/infer",
)
# What a detector has seen that saw nothing.
_NOTHING = Candidate(label="", id=0, score=0.0)
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


class Loss(NamedTuple):
    """What a worker's death means: whether it was the one that serves, and whether a request is to blame."""

    was_serving: bool
    by_request: bool


class Predictor:
    """One request at a time goes to the serving worker; the others wait, at most `inference.queue` of them.

    Attributes:
        serving: who answers now, None before the first model and while its worker is started anew.
        is_restarting: nobody answers now, but a worker is being started.
        edgetpu_celsius: how warm the Edge TPU is, None if unknown; a hot one rests between inferences.
    """

    def __init__(
        self,
        config: AgentConfig,
        boot: str,
        clock: Clock,
        publish: Publish,
        may_start: Callable[[], bool] = lambda: True,
    ) -> None:
        """Prepare.

        Args:
            config: the limits of the queue, and whose predictions these are.
            boot: the id of this start of the agent.
            clock: the time.
            publish: takes every prediction and returns it as its asker shall have it.
            may_start: says whether this model may use the Edge TPU now, which others may share.
        """
        self._config = config
        self._boot = boot
        self._clock = clock
        self._publish = publish
        self._may_start = may_start
        self._waiting: Deque[_Waiting] = collections.deque()
        self._running: Dict[Tuple[int, int], _Running] = {}
        self._retired: List[Worker] = []
        self._next_key = 0
        self.serving: Optional[Serving] = None
        self.is_restarting = False
        self.edgetpu_celsius: Optional[float] = None
        self._rest_until_s = 0.0

    @property
    def queue_length(self) -> int:
        """How many requests wait for the worker; may be read from any thread."""
        return len(self._waiting)

    def edgetpu_load(self) -> Optional[Load]:
        """Return what this model asks of the Edge TPU, None if it does not run there."""
        serving = self.serving
        if serving is None or serving.model.files.edgetpu is None:
            return None
        return Load(serving.model.size_bytes, bool(self._waiting) or self._is_busy(serving.worker))

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
        else:
            version, why = serving.model.version, serving.model.degraded
            told = f" ({why})" if why else ""
            _log.info("%s %s answers on %s%s", version.name, version.version, serving.ready.backend, told)
        self._dispatch()
        return before

    def suspend(self) -> Serving:
        """Give the serving worker nothing more to do; who asks waits for the next `switch`."""
        assert self.serving is not None, "nobody serves"
        before, self.serving = self.serving, None
        self.is_restarting = True
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
            self._rest(running.serving, event.result)
            self._pass_on(running, event.result)
        self._stop_idle()
        self._dispatch()

    def lost(self, worker: int, by_itself: bool = True) -> Loss:
        """A worker died: what it was working on is tried once more, and is to blame if it dies again.

        Args:
            worker: its number.
            by_itself: False if another worker took it down: that was not the request's fault.
        """
        by_request = False
        for place in [place for place in self._running if place[0] == worker]:
            running = self._running.pop(place)
            tries = running.waiting.tries + by_itself
            if tries < _MAX_TRIES:
                self._waiting.appendleft(_Waiting(running.waiting.asked, tries))
            else:
                by_request = True
                running.waiting.asked.answer(_WORKER_LOST)
        self._retired = [other for other in self._retired if other.number != worker]
        was_serving = self.serving is not None and self.serving.worker.number == worker
        if was_serving:
            self.serving = None
            self.is_restarting = True
        return Loss(was_serving, by_request)

    def give_up(self, problem: Problem) -> None:
        """No worker will come back: answer everybody who waits."""
        self.is_restarting = False
        while self._waiting:
            self._waiting.popleft().asked.answer(problem)

    def rest_s(self) -> float:
        """Return how long until `tick` has something to do, 0 to a few seconds; infinite if nothing."""
        if self.serving is None or not self._waiting or self._is_busy(self.serving.worker):
            return math.inf
        left_s = self._rest_until_s - self._clock.monotonic_s()
        if left_s > 0:
            return left_s
        # When it is another model's turn, that model's next answer wakes the loop.
        return 0.0 if self._may_start() else math.inf

    def tick(self) -> None:
        """Go on after a rest."""
        self._dispatch()

    def _rest(self, serving: Serving, found: Classified) -> None:
        if serving.model.files.edgetpu is not None:
            pause_s = thermal.choose_pause_s(self.edgetpu_celsius, found.inference_ms / 1000)
            self._rest_until_s = self._clock.monotonic_s() + pause_s

    def _dispatch(self) -> None:
        serving = self.serving
        if serving is None or not self._waiting or self._is_busy(serving.worker):
            return
        if serving.model.files.edgetpu is not None and not self._may_use_edgetpu():
            return
        waiting = self._waiting.popleft()
        self._next_key += 1
        self._running[serving.worker.number, self._next_key] = _Running(
            waiting, serving, self._clock.monotonic_s()
        )
        asked = waiting.asked
        serving.worker.submit(self._next_key, asked.kind, asked.payload, asked.top_k)

    def _may_use_edgetpu(self) -> bool:
        return self._clock.monotonic_s() >= self._rest_until_s and self._may_start()

    def _stop_idle(self) -> None:
        for worker in [worker for worker in self._retired if not self._is_busy(worker)]:
            self._retired.remove(worker)
            worker.let_go()

    def _is_busy(self, worker: Worker) -> bool:
        return any(place[0] == worker.number for place in self._running)

    def _pass_on(self, running: _Running, found: Classified) -> None:
        asked, is_raw = running.waiting.asked, running.serving.ready.meaning == RAW
        if is_raw and not asked.takes_raw:
            asked.answer(_RAW)
            return
        prediction = self._build(running, found)
        if not is_raw:
            prediction = self._publish(prediction, asked)
        asked.on_output(found.output)
        asked.answer(prediction)

    def _build(self, running: _Running, found: Classified) -> Prediction:
        asked = running.waiting.asked
        best = found.top[0] if found.top else _NOTHING
        now_s = self._clock.monotonic_s()
        return Prediction(
            id=self._clock.new_id(),
            device=self._config.device,
            boot=self._boot,
            source=asked.source,
            seq=NOT_PUBLISHED,
            ts=self._clock.stamp(),
            label=best.label,
            label_id=best.id,
            score=best.score,
            top=found.top,
            objects=found.objects,
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
            file=asked.file,
            clock_synced=self._clock.is_synced(),
        )
