"""When a stage of a rollout goes on, waits or ends it. Pure: counts and seconds in, a decision out.

docs/rollouts.md says the same in words; whoever changes one changes the other.
"""

from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any

DEFAULT_PERCENTS = (5.0, 25.0, 50.0, 100.0)
# Percentages have at most three decimals, so a real difference is far larger than a rounding error.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Gate:
    """What a stage must show: shares in percent of its devices, times in seconds.

    `min_executed` devices must have ended well or badly, or all of them where there are fewer.
    """

    max_failures: float = 2.0
    min_success: float = 90.0
    min_executed: int = 1
    soak_s: float = 600.0
    timeout_s: float = 3600.0


@dataclass(frozen=True)
class Stage:
    """Whom one stage is for: devices by name, or a share of the channel in percent."""

    devices: tuple[str, ...] = ()
    percent: float = 100.0

    def __str__(self) -> str:
        count = len(self.devices)
        return f"{count} canar{'y' if count == 1 else 'ies'}" if count else f"{self.percent:g} %"


@dataclass(frozen=True)
class Plan:
    """The stages of a rollout, and the gate that each must pass. `trial_s`: how long a device watches it."""

    canary: tuple[str, ...] = ()
    percents: tuple[float, ...] = DEFAULT_PERCENTS
    gate: Gate = field(default_factory=Gate)
    trial_s: float = 0.0

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages in order; stage 1 is the first."""
        first = (Stage(self.canary),) if self.canary else ()
        return first + tuple(Stage((), percent) for percent in self.percents)

    def as_json(self) -> dict[str, Any]:
        """Return it as the ledger keeps it."""
        return asdict(self)

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> "Plan":
        """Read what `as_json` wrote."""
        gate = Gate(**raw["gate"])
        return cls(tuple(raw["canary"]), tuple(raw["percents"]), gate, raw["trial_s"])


@dataclass(frozen=True)
class Tally:
    """How many devices a stage has, how many of them run the release, and how many do not and will not.

    `busy` are those that have begun and not ended, and are online.
    """

    devices: int
    good: int
    failed: int
    busy: int = 0

    @property
    def pending(self) -> int:
        """How many have not ended."""
        return self.devices - self.good - self.failed


class Move(Enum):
    """What to do with a stage. HOLD: its gate is met, and must stay so for the soak time."""

    WAIT = "wait"
    HOLD = "hold"
    ADVANCE = "advance"
    ABORT = "abort"


@dataclass(frozen=True)
class Decision:
    """What to do, and in plain words why."""

    move: Move
    reason: str = ""


def decide(gate: Gate, tally: Tally, elapsed_s: float, held_s: float | None) -> Decision:
    """Judge a stage.

    Args:
        gate: what it must show.
        tally: what its devices have shown.
        elapsed_s: since the stage was published, without pauses.
        held_s: for how long its gate has been met without a break, None when it is not.
    """
    if tally.devices == 0:
        return Decision(Move.ADVANCE, "nobody of the channel falls into this ring")
    is_late = held_s is None and elapsed_s >= gate.timeout_s
    failed = tally.failed + (tally.pending if is_late else 0)
    reason = _failure(gate, tally, failed)
    if reason:
        return Decision(Move.ABORT, reason)
    # Failing may take longer than succeeding: who has begun is heard first, within the timeout.
    is_awaited = tally.busy > 0 and held_s is None and not is_late
    if is_awaited or not _is_enough(gate, tally, failed):
        return Decision(Move.WAIT)
    if (held_s or 0.0) >= gate.soak_s:
        return Decision(Move.ADVANCE, f"{tally.good} of {tally.devices} devices run it")
    return Decision(Move.HOLD)


def _is_enough(gate: Gate, tally: Tally, failed: int) -> bool:
    has_executed = tally.good + failed >= min(gate.min_executed, tally.devices)
    return has_executed and not _is_below(tally.good, gate.min_success, tally.devices)


def _failure(gate: Gate, tally: Tally, failed: int) -> str:
    """Say why the gate can no longer be met, "" while it can."""
    silent = failed - tally.failed
    told = f"{failed} of {tally.devices} devices failed"
    if silent:
        told += f", {silent} of them said nothing in {gate.timeout_s:g} s"
    if _is_above(failed, gate.max_failures, tally.devices):
        return f"{told}; at most {gate.max_failures:g} % may"
    if _is_below(tally.devices - failed, gate.min_success, tally.devices):
        return f"{told}; at least {gate.min_success:g} % must run it"
    return ""


def _is_above(count: int, percent: float, devices: int) -> bool:
    return count * 100 - percent * devices > _ROUNDING


def _is_below(count: int, percent: float, devices: int) -> bool:
    return percent * devices - count * 100 > _ROUNDING
