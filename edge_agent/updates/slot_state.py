"""The state of the slots: the pointers, and the memory of past releases."""

from dataclasses import dataclass, replace
from typing import Optional, Tuple

from contract.artifacts import SHA256_PATTERN
from contract.envelope import KEY_ID_PATTERN, MAX_SIGNATURES
from contract.messages import Problem
from contract.records import Integer, Items, Maybe, Nested, Number, Record, Text, rule
from contract.stamps import TIME_PATTERN
from contract.topics import NAME_PATTERN

_SHA256 = Text(SHA256_PATTERN)
NAME = "slots"
STATE = NAME + ".json"
MAX_REMEMBERED = 32
MAX_REVOKED = 64


@dataclass(frozen=True)
class Slot(Record):
    """A release on disk, named by its digest, and since when it has been in this slot."""

    release: str = rule(_SHA256)
    since: str = rule(Text(TIME_PATTERN))


@dataclass(frozen=True)
class Candidate(Record):
    """The release that is on its way in, and how often it has been tried."""

    release: str = rule(_SHA256)
    attempts: int = rule(Integer(0, 100), default=0)


@dataclass(frozen=True)
class Refused(Record):
    """A release that failed here and is not tried again, nor its model under another stage of its rollout.

    Attributes:
        release: its digest.
        problem: why.
        rollout: the id of its rollout.
        model: SHA-256 (hex) of its model.
    """

    release: str = rule(_SHA256)
    problem: Problem = rule(Nested(Problem))
    rollout: Optional[str] = rule(Maybe(Text(NAME_PATTERN)), default=None)
    model: Optional[str] = rule(Maybe(_SHA256), default=None)


@dataclass(frozen=True)
class SlotState(Record):
    """Every pointer and every memory of past releases; replaced as a whole.

    Attributes:
        active: what answers.
        last_known_good: what answers if the active one fails.
        factory: what answers if both fail: the first release that was ever committed here.
        candidate: what is on its way in.
        refused: what failed here, the newest last.
        revoked: SHA-256 (hex) of models that must not answer, the newest last.
        sequence_high: the highest sequence accepted, 0 before the first.
        release_high: the digest of the release that had it.
        signed_by: ids of the keys that signed that release; what follows from it counts as long as they do.
        security_floor: the lowest model generation still accepted.
        time_floor_s: the latest signed time seen, in seconds since 1970.
    """

    active: Optional[Slot] = rule(Maybe(Nested(Slot)), default=None)
    last_known_good: Optional[Slot] = rule(Maybe(Nested(Slot)), default=None)
    factory: Optional[Slot] = rule(Maybe(Nested(Slot)), default=None)
    candidate: Optional[Candidate] = rule(Maybe(Nested(Candidate)), default=None)
    refused: Tuple[Refused, ...] = rule(Items(Nested(Refused), max_items=MAX_REMEMBERED), default=())
    revoked: Tuple[str, ...] = rule(Items(_SHA256, max_items=MAX_REVOKED), default=())
    sequence_high: int = rule(Integer(), default=0)
    release_high: str = rule(Text(max_length=64), default="")
    signed_by: Tuple[str, ...] = rule(Items(Text(KEY_ID_PATTERN), max_items=MAX_SIGNATURES), default=())
    security_floor: int = rule(Integer(), default=0)
    time_floor_s: float = rule(Number(), default=0.0)


def forget_signed(state: SlotState) -> SlotState:
    """Return the slots without what the keys of the highest release have said.

    The highest sequence, security floor or time would lock a device out for ever if a thief had signed it.
    What these keys signed before is refused for its signature from now on, so that nothing is lost with them.
    """
    return replace(
        state,
        sequence_high=0,
        release_high="",
        signed_by=(),
        security_floor=0,
        time_floor_s=0.0,
    )
