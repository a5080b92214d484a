"""The rules of the data bus, without a wire: who wants which part, what came, what is missing.

A follower wants a few parts at a time, in order, and says so; the publisher sends what somebody wants. So
nobody is sent more than he asked for, and whoever joins late, was away or lost something asks for it.
"""

from dataclasses import dataclass, field
from typing import Generic, TypeVar

from contract.training import DataPosition

WINDOW_PARTS = 16

Content = TypeVar("Content")


class Window(Generic[Content]):
    """A follower's view of parts `first` to `last`: hands them out in order, each once.

    Attributes:
        next: the part that is handed out next.
        until: the last part that was asked for.
        duplicates: how many parts came that were not wanted, or not any more.
    """

    def __init__(self, first: int, last: int, size: int = WINDOW_PARTS) -> None:
        self.next, self._last, self._size = first, last, size
        self.until = first - 1
        self.duplicates = 0
        self._held: dict[int, Content] = {}

    @property
    def is_over(self) -> bool:
        """Whether every part has been handed out."""
        return self.next > self._last

    @property
    def has_next(self) -> bool:
        """Whether the next part is there."""
        return self.next in self._held

    @property
    def has_gap(self) -> bool:
        """Whether a later part is there, but the next is not."""
        return bool(self._held) and not self.has_next

    def widen(self) -> range:
        """Return the parts to ask for now: none while more than half of the window is asked for."""
        if self.until - self.next + 1 > self._size // 2:
            return range(0)
        added = range(self.until + 1, min(self._last, self.next + self._size - 1) + 1)
        self.until += len(added)
        return added

    def put(self, number: int, content: Content) -> None:
        """Keep a part that came; what is not wanted, or held already, is dropped."""
        if not self.next <= number <= self.until or number in self._held:
            self.duplicates += 1
            return
        self._held[number] = content

    def pop(self) -> Content | None:
        """Hand out the next part, or None while it has not come."""
        if not self.has_next:
            return None
        self.next += 1
        return self._held.pop(self.next - 1)


@dataclass
class _Follower:
    """What the publisher knows of one follower; `heard_s` is when it last said something."""

    next: int
    until: int
    heard_s: float


@dataclass
class Requests:
    """The publisher's view: who follows, and which parts somebody still waits for.

    Attributes:
        parts: how many the stream has.
        wanted: how many followers must come at least.
        silence_s: who says nothing for so long is no longer waited for.
    """

    parts: int
    wanted: int
    silence_s: float
    followers: dict[str, _Follower] = field(default_factory=dict)
    _owed: set[int] = field(default_factory=set)

    def hear(self, position: DataPosition, now_s: float) -> None:
        """Note how far a follower is, and owe it what it has not asked for before."""
        name = f"{position.run}/{position.model}"
        before = self.followers.get(name)
        until = min(position.until, self.parts, position.next + WINDOW_PARTS - 1)
        asked = before.until if before and not position.again else 0
        self._owed.update(range(max(position.next, asked + 1), until + 1))
        self.followers[name] = _Follower(position.next, until, now_s)

    def take(self) -> int | None:
        """Return the part to send now, the earliest first, or None when nobody waits."""
        if not self._owed:
            return None
        number = min(self._owed)
        self._owed.remove(number)
        return number

    def is_over(self, now_s: float) -> bool:
        """Say whether all followers came, and each of them is through or silent."""
        return len(self.followers) >= self.wanted and all(
            one.next > self.parts or now_s - one.heard_s > self.silence_s for one in self.followers.values()
        )

    def last_heard_s(self, since_s: float) -> float:
        """Return when a follower said something for the last time; `since_s` if none ever did."""
        return max((one.heard_s for one in self.followers.values()), default=since_s)

    def left_behind(self) -> dict[str, int]:
        """Return who has not come to the end, and the part that it wanted next."""
        return {name: one.next for name, one in self.followers.items() if one.next <= self.parts}
