"""Sends inputs away to learn from: hard ones, and those of which somebody says what they truly were.

The inference process reads such an input once more, says what it looks like and makes it small: decoding a
picture would hold up the loop.
"""

import collections
import logging
from pathlib import Path
from typing import Callable, NamedTuple, Optional, OrderedDict, Union

from contract.codec import decode, encode
from contract.errors import ContractError
from contract.learning import Feedback, Sample
from contract.messages import Prediction, Problem
from edge_agent.clock import Clock
from edge_agent.config import AgentConfig, SamplingConfig
from edge_agent.errors import StorageError
from edge_agent.events import InferenceAsked, Sampled, WorkerSampled
from edge_agent.files import write_whole
from edge_agent.learning.memory import Memory, Seen
from edge_agent.learning.sampling import Budget, Novelty, Spent, find_reason
from edge_agent.tally import RIGHT, UNKNOWN, WRONG, Tally

_log = logging.getLogger(__name__)
_FILE = "sampling.json"
_DISAGREEMENT, _FEEDBACK = "disagreement", "feedback"


class _Wanted(NamedTuple):
    seen: Seen
    reason: str
    true_label: Optional[str]


class Sampler:
    """Watches what is asked and answered. It belongs to the agent's loop."""

    def __init__(
        self,
        config: AgentConfig,
        *,
        boot: str,
        clock: Clock,
        tally: Tally,
        prepare: Callable[[Seen, int], None],
        keep: Callable[[Sample], None],
    ) -> None:
        """Prepare.

        Args:
            config: what is hard, and the limits.
            boot: the id of this start of the agent.
            clock: the time.
            tally: counts samples and feedback.
            prepare: asks a worker of the input's model to make it ready; `sampled` may follow with that key.
            keep: takes what must reach the broker.
        """
        self._config: SamplingConfig = config.sampling
        self._boot = boot
        self._clock = clock
        self._tally = tally
        self._prepare = prepare
        self._keep = keep
        self._path = Path(config.state_dir) / _FILE
        self._memory = Memory(config.sampling.remember_inputs, config.sampling.remember_bytes)
        self._novelty = Novelty(config.sampling.min_interval_s)
        self._budget = Budget(config.sampling.bytes_per_day, _load_spent(self._path), clock.monotonic_s())
        self._pending: OrderedDict[int, _Wanted] = collections.OrderedDict()
        self._pending_bytes = 0
        self._limits = config.sampling
        self._next_key = 0

    def see(self, asked: InferenceAsked, result: Union[Prediction, Problem]) -> None:
        """Remember what was answered; it may be a hard example."""
        if isinstance(result, Prediction):
            seen = Seen(result, asked.kind, asked.payload, asked.model)
            self._memory.keep(seen)
            self._consider(seen, find_reason(self._config, result))

    def configure(self, config: AgentConfig) -> None:
        """Go on with other settings of what is hard; the limits stay until the next start."""
        self._config = config.sampling

    def disagreed(self, prediction: Prediction) -> None:
        """Another model, or the same on another backend, saw something else in the same input."""
        seen = self._memory.find(prediction.id)
        if seen is not None:
            self._consider(seen, _DISAGREEMENT)

    def hear(self, feedback: Feedback) -> None:
        """Take what somebody says an input truly was; each prediction is judged once."""
        seen = self._memory.take(feedback.prediction)
        if seen is None:
            _log.info("feedback on %s, which is not remembered", feedback.prediction)
            self._tally.count_feedback(UNKNOWN)
        elif seen.prediction.label == feedback.label:
            self._tally.count_feedback(RIGHT)
        else:
            self._tally.count_feedback(WRONG)
            self._want(_Wanted(seen, _FEEDBACK, feedback.label))

    def sampled(self, event: WorkerSampled) -> None:
        """A worker has made an input ready: send it, if it is new and the day's budget allows."""
        if event.key not in self._pending:
            return
        wanted = self._take(event.key)
        if event.found is None:
            _log.info("no sample of %s: its input is too large", wanted.seen.prediction.id)
        elif wanted.reason == _FEEDBACK or self._may_send(event.found):
            self._tally.count_sample(wanted.reason)
            self._keep(self._build(wanted, event.found))

    def _consider(self, seen: Seen, reason: Optional[str]) -> None:
        if self._config.enabled and reason and self._novelty.is_time(self._clock.monotonic_s()):
            self._want(_Wanted(seen, reason, None))

    def _want(self, wanted: _Wanted) -> None:
        self._next_key += 1
        self._pending[self._next_key] = wanted
        self._pending_bytes += len(wanted.seen.payload)
        # Whatever is remembered may be judged at once; beyond that, a worker died on the way.
        limits = self._limits
        while len(self._pending) > max(1, limits.remember_inputs) or (
            self._pending_bytes > limits.remember_bytes and len(self._pending) > 1
        ):
            self._take(next(iter(self._pending)))
        self._prepare(wanted.seen, self._next_key)

    def _take(self, key: int) -> _Wanted:
        wanted = self._pending.pop(key)
        self._pending_bytes -= len(wanted.seen.payload)
        return wanted

    def _may_send(self, found: Sampled) -> bool:
        if not self._novelty.is_new(found.likeness):
            return False
        clock, before = self._clock, self._budget.kept
        is_allowed = self._budget.spend(
            len(found.data),
            now_s=clock.now_s(),
            is_synced=clock.is_synced(),
            monotonic_s=clock.monotonic_s(),
        )
        if self._budget.kept != before:
            self._save()
        return is_allowed

    def _save(self) -> None:
        try:
            write_whole(self._path, encode(self._budget.kept))
        except StorageError as error:
            _log.error("the budget of samples is not kept: %s", error.message)

    def _build(self, wanted: _Wanted, found: Sampled) -> Sample:
        prediction = wanted.seen.prediction
        return Sample(
            id=self._clock.new_id(),
            boot=self._boot,
            ts=self._clock.stamp(),
            prediction=prediction.id,
            source=prediction.source,
            reason=wanted.reason,
            label=prediction.label,
            label_id=prediction.label_id,
            score=prediction.score,
            model=prediction.model,
            content_type=found.content_type,
            data=found.data,
            true_label=wanted.true_label,
            clock_synced=self._clock.is_synced(),
        )


def _load_spent(path: Path) -> Spent:
    try:
        return decode(Spent, path.read_bytes())
    except FileNotFoundError:
        return Spent()
    except (OSError, ContractError) as error:
        _log.error("%s is not used: %s", path, error)
        return Spent()
