"""Which of a source's predictions are published, and when: rules that know no wire and are given the time."""

import collections
from dataclasses import replace
from typing import Counter, Generic, Optional, Tuple, TypeVar, Union

from contract.messages import Prediction, Window
from edge_agent.source_config import AGGREGATE, ON_CHANGE, RATE_LIMITED, SourceConfig

_MAX_LABELS = 64

T = TypeVar("T")


class Throttle(Generic[T]):
    """Lets the newest value through, at most one per interval; without an interval every one."""

    def __init__(self, interval_s: float = 0) -> None:
        self._interval_s = interval_s
        self._held: Optional[T] = None
        self._next_s: Optional[float] = None

    def put(self, value: T) -> None:
        """Hold a value, in place of the one before."""
        self._held = value

    def drop(self) -> None:
        """Hold nothing."""
        self._held = None

    def take(self, now_s: float, is_last: bool = False) -> Optional[T]:
        """Return what may go now; `is_last`: what is held would be lost, so it may."""
        is_early = self._next_s is not None and now_s < self._next_s
        if self._held is None or (is_early and not is_last):
            return None
        value, self._held = self._held, None
        self._next_s = now_s + self._interval_s
        return value


class OnChange:
    """Lets through what has other labels than what went before, at most one per interval."""

    def __init__(self, interval_s: float = 0) -> None:
        self._throttle: Throttle[Prediction] = Throttle(interval_s)
        self._told: Optional[Tuple[str, ...]] = None

    def put(self, prediction: Prediction) -> None:
        """Hold a prediction; one that is as what went before says that nothing has changed after all."""
        if labels_of(prediction) == self._told:
            self._throttle.drop()
        else:
            self._throttle.put(prediction)

    def take(self, now_s: float, is_last: bool = False) -> Optional[Prediction]:
        """Return what may go now."""
        prediction = self._throttle.take(now_s, is_last)
        if prediction is not None:
            self._told = labels_of(prediction)
        return prediction


class Aggregate:
    """Lets the best of each window through when the window is over; it begins with its first prediction."""

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._best: Optional[Prediction] = None
        self._begun_s: Optional[float] = None
        self._predictions = 0
        self._labels: Counter[str] = collections.Counter()

    def put(self, prediction: Prediction) -> None:
        """Count a prediction."""
        if self._best is None or prediction.score > self._best.score:
            self._best = prediction
        self._predictions += 1
        self._labels.update(label for label in labels_of(prediction) if label)

    def take(self, now_s: float, is_last: bool = False) -> Optional[Prediction]:
        """Return the window's best if it is over; to be called after each `put`."""
        if self._best is None:
            return None
        if self._begun_s is None:
            self._begun_s = now_s
        seconds = now_s - self._begun_s
        if seconds < self._window_s and not is_last:
            return None
        labels = dict(self._labels.most_common(_MAX_LABELS))
        best = replace(self._best, window=Window(self._predictions, seconds, labels))
        self._best = self._begun_s = None
        self._predictions = 0
        self._labels.clear()
        return best


Mode = Union[Throttle[Prediction], OnChange, Aggregate]


def build_mode(config: SourceConfig) -> Mode:
    """Return what the configuration asks for."""
    if config.publish == ON_CHANGE:
        return OnChange()
    if config.publish == AGGREGATE:
        return Aggregate(config.window_s)
    return Throttle(config.min_interval_s if config.publish == RATE_LIMITED else 0)


def labels_of(prediction: Prediction) -> Tuple[str, ...]:
    """Return what a prediction says there is, sorted: a detector may see several things, or nothing ("")."""
    return tuple(sorted({each.label for each in prediction.objects})) or (prediction.label,)
