"""What the agent has answered so far: the counters behind /metrics, and whether the model answers at all."""

import bisect
import collections
import threading
from typing import Callable, Counter, Deque, Dict, List, NamedTuple, Optional, Tuple, Union

from contract.messages import Prediction, Problem

OK = "ok"
NO_BACKEND = "none"
SLOW, CROWDED = "slow", "crowded"
RIGHT, WRONG, UNKNOWN = "right", "wrong", "unknown"
BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_PROBLEM_LASTS_S = 30.0
_NEWEST = 256
_MAX_LABELS = 64
OTHER_LABELS = "other"
# These say nothing about the model: the client was wrong, or there was no room.
NOT_THE_MODEL = (
    "bad_image",
    "bad_input",
    "bad_request",
    "busy",
    "no_model",
    "unknown_model",
    "model_output_raw",
)


class Histogram:
    """How often something took how long; not safe between threads.

    Attributes:
        counts: for each of `BUCKETS_S` how many took at most that long and longer than the one before; the
            last one counts what took longer than all.
        sum_s: how long everything took together.
    """

    def __init__(self) -> None:
        self.counts: List[int] = [0] * (len(BUCKETS_S) + 1)
        self.sum_s = 0.0

    def observe(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect.bisect_left(BUCKETS_S, seconds)] += 1
        self.sum_s += seconds


class Counts(NamedTuple):
    """What telemetry tells of a tally.

    Attributes:
        predictions: requests that were answered with a prediction.
        errors: requests that were answered with a problem.
        inference_s: how long the model alone took, for the newest 256 predictions.
        labels: predictions by label, at most 64; what comes after them counts as "other".
    """

    predictions: int
    errors: int
    inference_s: Tuple[float, ...]
    labels: Dict[str, int]


class Tally:
    """Counters that only rise. Any thread may count.

    Attributes:
        predictions: answered requests by (source, backend, result); a result is "ok" or a problem's code.
        responses: HTTP responses by status.
        samples: inputs sent away to learn from, by reason.
        feedback: what people said about predictions, by verdict.
        cut: connections that were ended without serving them, by reason.
        skipped: files that a source has left, by (source, reason).
        total: from a request's arrival to its answer.
        inference: the model alone.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        """Begin at zero; `clock` returns seconds that never jump."""
        self._clock = clock
        self.started_s = clock()
        self.lock = threading.Lock()
        self.predictions: Counter[Tuple[str, str, str]] = collections.Counter()
        self.responses: Counter[int] = collections.Counter()
        self.samples: Counter[str] = collections.Counter()
        self.feedback: Counter[str] = collections.Counter({RIGHT: 0, WRONG: 0, UNKNOWN: 0})
        self.cut: Counter[str] = collections.Counter({SLOW: 0, CROWDED: 0})
        self.skipped: Counter[Tuple[str, str]] = collections.Counter()
        self.total, self.inference = Histogram(), Histogram()
        self._newest_s: Deque[float] = collections.deque(maxlen=_NEWEST)
        self._labels: Counter[str] = collections.Counter()
        self._problem: Optional[Problem] = None
        self._problem_s = 0.0

    def count(self, source: str, result: Union[Prediction, Problem]) -> None:
        """A request from `source` was answered, or could not even be read as a question."""
        with self.lock:
            if isinstance(result, Problem):
                self.predictions[source, NO_BACKEND, result.code] += 1
                if result.code not in NOT_THE_MODEL:
                    self._problem, self._problem_s = result, self._clock()
                return
            self.predictions[source, result.backend, OK] += 1
            self.total.observe(result.latency_ms.total / 1000)
            self.inference.observe(result.latency_ms.inference / 1000)
            self._newest_s.append(result.latency_ms.inference / 1000)
            if result.label:
                is_known = result.label in self._labels or len(self._labels) < _MAX_LABELS - 1
                self._labels[result.label if is_known else OTHER_LABELS] += 1
            self._problem = None

    def count_response(self, status: int) -> None:
        """An HTTP client got an answer."""
        with self.lock:
            self.responses[status] += 1

    def count_sample(self, reason: str) -> None:
        """An input was sent away to learn from."""
        with self.lock:
            self.samples[reason] += 1

    def count_feedback(self, verdict: str) -> None:
        """Somebody said what an input truly was: RIGHT, WRONG, or of an UNKNOWN prediction."""
        with self.lock:
            self.feedback[verdict] += 1

    def count_cut(self, reason: str) -> None:
        """An HTTP client was let go: SLOW or CROWDED."""
        with self.lock:
            self.cut[reason] += 1

    def count_skip(self, source: str, reason: str) -> None:
        """A source has left something that it could have asked about."""
        with self.lock:
            self.skipped[source, reason] += 1

    def model_problem(self) -> Optional[Problem]:
        """Return why the newest answer failed, if that was the model's doing and not long ago."""
        with self.lock:
            is_new = self._clock() - self._problem_s < _PROBLEM_LASTS_S
            return self._problem if is_new else None

    def counts(self) -> Counts:
        """Return what telemetry tells."""
        with self.lock:
            answered = sum(self.predictions.values())
            good = sum(count for (_, _, result), count in self.predictions.items() if result == OK)
            return Counts(good, answered - good, tuple(self._newest_s), dict(self._labels))

    def uptime_s(self) -> float:
        """Return seconds since the start."""
        return self._clock() - self.started_s
