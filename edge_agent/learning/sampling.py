"""Which inputs are worth learning from: pure rules over labels, likeness, time and bytes."""

import collections
import math
from dataclasses import dataclass
from typing import Deque, Optional, Sequence

from contract.messages import Candidate, Prediction
from contract.records import Integer, Record, rule
from edge_agent.config import SamplingConfig

# N. Krawetz, "Kind of Like That", hackerfactor.com, 2013: variations of one picture differ in up to
# 10 of the 64 bits. Small pictures of like things differ in little more, so this is half of it.
_MAX_DIFFERENCES = 5
_REMEMBERED = 256
_DAY_S = 86_400.0
# The budget is kept on disk in so many parts: a restart costs at most one, and the eMMC a few writes a day.
_PARTS = 16


def find_reason(config: SamplingConfig, prediction: Prediction) -> Optional[str]:
    """Say why a prediction was hard for its model, as in `contract.learning.REASONS`; None if it was not.

    The labels of a detector do not exclude each other, so only its confidence counts; a picture in which it
    found nothing is not hard, or every empty one would be.
    """
    top = prediction.top
    if not top:
        return None
    if top[0].score < config.confidence:
        return "confidence"
    if prediction.objects or len(top) < 2:
        return None
    if top[0].score - top[1].score < config.margin:
        return "margin"
    return "entropy" if measure_entropy(top) > config.entropy else None


def measure_entropy(top: Sequence[Candidate]) -> float:
    """Return the entropy of the best labels' scores: 0 if one has everything, 1 if all have the same."""
    total = sum(candidate.score for candidate in top)
    if len(top) < 2 or not total:
        return 0.0
    shares = [candidate.score / total for candidate in top if candidate.score]
    return -sum(share * math.log(share) for share in shares) / math.log(len(top))


class Novelty:
    """Remembers what the newest samples looked like, and when the last one was."""

    def __init__(self, min_interval_s: float) -> None:
        self._min_interval_s = min_interval_s
        self._next_s = -math.inf
        self._seen: Deque[int] = collections.deque(maxlen=_REMEMBERED)

    def is_time(self, now_s: float) -> bool:
        """Say whether there may be another sample; if so, the next one has to wait again."""
        if now_s < self._next_s:
            return False
        self._next_s = now_s + self._min_interval_s
        return True

    def is_new(self, likeness: int) -> bool:
        """Say whether nothing of late looked nearly the same; if so, it is remembered."""
        if any(bin(likeness ^ other).count("1") <= _MAX_DIFFERENCES for other in self._seen):
            return False
        self._seen.append(likeness)
        return True


@dataclass(frozen=True)
class Spent(Record):
    """What is kept over a restart: the day, counted from 1970, 0 if unknown, and the bytes spent on it."""

    day: int = rule(Integer(), default=0)
    bytes: int = rule(Integer(), default=0)


class Budget:
    """Bytes per day. A new day begins when the true date is later, or after 24 hours without a true clock.

    Attributes:
        kept: what must be on disk; it runs ahead of what was spent by at most one part.
    """

    def __init__(self, bytes_per_day: int, kept: Spent, monotonic_s: float) -> None:
        """Go on with what was kept; `monotonic_s` is now, in seconds that never jump."""
        self._bytes_per_day = bytes_per_day
        self._spent_bytes = kept.bytes
        self._day_began_s = monotonic_s
        self.kept = kept

    def spend(self, size_bytes: int, *, now_s: float, is_synced: bool, monotonic_s: float) -> bool:
        """Take bytes from the budget; False if there are not enough.

        Args:
            size_bytes: how many.
            now_s: seconds since 1970, as the board believes.
            is_synced: whether that can be right.
            monotonic_s: seconds that never jump.
        """
        self._begin_day(int(now_s // _DAY_S) if is_synced else 0, monotonic_s)
        if self._spent_bytes + size_bytes > self._bytes_per_day:
            return False
        self._spent_bytes += size_bytes
        if self._spent_bytes > self.kept.bytes:
            part = max(1, self._bytes_per_day // _PARTS)
            ahead = min(self._bytes_per_day, -(-self._spent_bytes // part) * part)
            self.kept = Spent(self.kept.day, max(ahead, self._spent_bytes))
        return True

    def _begin_day(self, today: int, monotonic_s: float) -> None:
        is_over = monotonic_s - self._day_began_s >= _DAY_S
        if today > self.kept.day > 0 or is_over:
            self._spent_bytes, self._day_began_s = 0, monotonic_s
            self.kept = Spent(today or self.kept.day)
        elif not self.kept.day:
            # What was spent before the clock was set counts for the day that it then shows.
            self.kept = Spent(today, self.kept.bytes)
