"""Whether a candidate does well: the gates of its golden samples, and the rules of its trial. Pure.

Its answers are compared with those of the model before it, which saw the same kind of inputs a moment ago.
"""

import collections
import math
import statistics
from typing import Deque, Optional, Sequence, Union

from contract.artifacts import TensorSpec
from contract.manifest import ReleaseManifest, SelfTest
from contract.messages import GoldenResult, Problem
from edge_agent.errors import ModelError
from edge_agent.events import Classified

_NEWEST = 100
# Fewer answers say nothing about speed, errors, or how sure a model is.
_ENOUGH = 20
_ENOUGH_FOR_SCORES = 50
_MAX_ERRORS_IN_A_ROW = 3
_MAX_ERROR_SHARE = 0.05
_MAX_TIMES_SLOWER = 5.0
# Below this nobody notices, and the clock's own noise is as large.
_ALWAYS_FAST_ENOUGH_MS = 5.0
_MAX_SCORE_SHIFT = 0.3
_MAX_GROWTH_BYTES = 100 * 1024 * 1024
_MIB = 1024 * 1024
# Scales are float32 in the file.
_SCALE_TOLERANCE = 1e-4
_MODEL_ERRORS = ("model_run", "model_not_finite", "out_of_memory")
_HINT = "the release before answers again; see telemetry of the time of the trial"


class Observed:
    """What a model's newest answers show: at most 100 of them."""

    def __init__(self) -> None:
        self.latencies_ms: Deque[float] = collections.deque(maxlen=_NEWEST)
        self.scores: Deque[float] = collections.deque(maxlen=_NEWEST)

    def add(self, found: Classified) -> None:
        """Remember one more answer; a model whose outputs are raw is never sure of anything."""
        self.latencies_ms.append(found.inference_ms)
        if found.top:
            self.scores.append(found.top[0].score)


def require_signature(found: Sequence[TensorSpec], promised: Sequence[TensorSpec]) -> None:
    """Refuse a candidate whose tensors are not what its release promises; their names are nobody's business.

    Raises:
        ModelError: they are not.
    """
    if len(found) != len(promised) or not all(_is_same(*both) for both in zip(found, promised)):
        both = [", ".join(map(_describe, specs)) for specs in (found, promised)]
        raise ModelError("signature_mismatch", f"model takes and gives {both[0]}, not {both[1]}")


def _is_same(found: TensorSpec, promised: TensorSpec) -> bool:
    is_scaled_alike = math.isclose(found.scale, promised.scale, rel_tol=_SCALE_TOLERANCE)
    exact = (found.shape, found.dtype, found.zero_point)
    return is_scaled_alike and exact == (promised.shape, promised.dtype, promised.zero_point)


def _describe(spec: TensorSpec) -> str:
    return f"{spec.dtype} {spec.shape}, zero {spec.zero_point}, scale {spec.scale:.6g}"


def require_good(result: GoldenResult, gates: SelfTest) -> None:
    """Refuse a candidate whose golden samples did not go as its release promises.

    Raises:
        ModelError: they did not.
    """
    for is_good, what in (
        (result.top1_agreement >= gates.min_top1, f"top-1 agreement {result.top1_agreement}"),
        (result.max_lsb <= gates.max_lsb, f"largest difference {result.max_lsb} LSB"),
        (result.p95_ms <= gates.p95_ms, f"p95 latency {result.p95_ms} ms"),
    ):
        if not is_good:
            raise ModelError("selftest", f"golden samples: {what} is beyond the gate")


class Trial:
    """The soak of one release, from the switch to the commit.

    Attributes:
        observed: what it has answered.
        until_s: when it has lasted long enough, in monotonic seconds.
    """

    def __init__(self, manifest: ReleaseManifest, before: Observed, now_s: float) -> None:
        """Begin it.

        Args:
            manifest: says how long it lasts and what it tolerates.
            before: what the model before has shown.
            now_s: monotonic seconds.
        """
        self.observed = Observed()
        self.until_s = now_s + manifest.rollout.soak_s
        self._limit_ms = manifest.selftest.p95_ms
        self._failures_left = manifest.rollout.max_failures
        self._before = before
        self._outcomes: Deque[bool] = collections.deque(maxlen=_NEWEST)
        self._errors_in_a_row = 0
        self._first_bytes = 0

    def tolerates_failure(self) -> bool:
        """Its process died or hung: say whether it may be started once more."""
        self._failures_left -= 1
        return self._failures_left >= 0

    def observe(self, result: Union[Classified, Problem], is_hot: bool) -> Optional[Problem]:
        """Look at one more answer; return what is wrong with the model, if it shows by now.

        Args:
            result: what the worker found.
            is_hot: the chip is slow because it is hot, which is no fault of the model.
        """
        if isinstance(result, Problem):
            return self._count_error(result) if result.code in _MODEL_ERRORS else None
        self._outcomes.append(True)
        self._errors_in_a_row = 0
        self.observed.add(result)
        return (None if is_hot else self._judge_speed()) or self._judge_scores()

    def weigh(self, resident_bytes: int) -> Optional[Problem]:
        """Look at the memory of its process; 0 is unknown. Growth counts from the first time."""
        self._first_bytes = self._first_bytes or resident_bytes
        grown_bytes = resident_bytes - self._first_bytes
        if grown_bytes <= _MAX_GROWTH_BYTES:
            return None
        what = f"its process grew by {grown_bytes // _MIB} MiB since it began to answer"
        return Problem("trial_memory", what, _HINT)

    def weigh_anew(self) -> None:
        """It has another process now."""
        self._first_bytes = 0

    def _count_error(self, problem: Problem) -> Optional[Problem]:
        self._outcomes.append(False)
        self._errors_in_a_row += 1
        errors, answers = self._outcomes.count(False), len(self._outcomes)
        is_often = answers >= _ENOUGH and errors > _MAX_ERROR_SHARE * answers
        if self._errors_in_a_row < _MAX_ERRORS_IN_A_ROW and not is_often:
            return None
        what = f"{errors} of the newest {answers} answers failed, the last with {problem.code}"
        return Problem("trial_errors", f"{what}: {problem.message[:500]}", _HINT)

    def _judge_speed(self) -> Optional[Problem]:
        if len(self.observed.latencies_ms) < _ENOUGH:
            return None
        now_ms = statistics.median(self.observed.latencies_ms)
        if now_ms > self._limit_ms:
            what = f"half of the inferences take {now_ms:.1f} ms or more, {self._limit_ms:g} allowed"
            return Problem("trial_slow", what, _HINT)
        if len(self._before.latencies_ms) < _ENOUGH or now_ms <= _ALWAYS_FAST_ENOUGH_MS:
            return None
        before_ms = statistics.median(self._before.latencies_ms)
        if now_ms <= _MAX_TIMES_SLOWER * before_ms:
            return None
        return Problem("trial_slow", f"inferences take {now_ms:.1f} ms, {before_ms:.1f} before", _HINT)

    def _judge_scores(self) -> Optional[Problem]:
        now, before = self.observed.scores, self._before.scores
        if min(len(now), len(before)) < _ENOUGH_FOR_SCORES:
            return None
        now_mean, mean_before = sum(now) / len(now), sum(before) / len(before)
        if abs(now_mean - mean_before) <= _MAX_SCORE_SHIFT:
            return None
        what = f"the mean best score is {now_mean:.2f}, {mean_before:.2f} before"
        return Problem("trial_confidence", what, _HINT)
