"""How far a rollout is, for dashboards. What a device does is never decided by it: that is the release's."""

from dataclasses import dataclass
from typing import Optional, Tuple

from contract.artifacts import MODEL_NAME_PATTERN, VERSION_PATTERN
from contract.records import Integer, Items, Maybe, Record, Text, rule
from contract.stamps import TIME_PATTERN
from contract.topics import NAME_PATTERN

ROLLOUT_STATES = ("running", "paused", "aborting", "aborted", "superseded", "done")
MAX_STAGES = 32


@dataclass(frozen=True)
class RolloutProgress(Record):
    """The plan of a rollout and how far it is.

    `stages` says whom each stage is for, as a person reads it, and `stage` is the number of the one that
    runs, from 1. `devices` are those of this stage; of them `good` run the release, `failed` refused it or
    came back from it. `reason` says why a rollout ended before everybody had it.
    """

    ts: str = rule(Text(TIME_PATTERN))
    rollout: str = rule(Text(NAME_PATTERN))
    channel: str = rule(Text(NAME_PATTERN))
    model: str = rule(Text(MODEL_NAME_PATTERN))
    version: str = rule(Text(VERSION_PATTERN))
    state: str = rule(Text(choices=ROLLOUT_STATES))
    stages: Tuple[str, ...] = rule(Items(Text(max_length=80), max_items=MAX_STAGES, min_items=1))
    stage: int = rule(Integer(1, MAX_STAGES))
    devices: int = rule(Integer())
    good: int = rule(Integer())
    failed: int = rule(Integer())
    reason: Optional[str] = rule(Maybe(Text(max_length=1000)), default=None)
