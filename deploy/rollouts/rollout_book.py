"""The pages of the ledger about rollouts: every step is written before the next one is begun."""

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, field

from contract.codec import decode, encode
from contract.manifest import ReleaseManifest
from contract.messages import Problem
from contract.topics import Topics
from deploy.releases.ledger import DONE, PAUSED, RUNNING, UNFINISHED, Ledger
from deploy.rollouts.rollout_rules import Plan


@dataclass(frozen=True)
class Rollout:
    """A rollout as it stands.

    `template` is the release without its stage, `previous` the signed release to go back to, or empty.
    `back_sequence` is that of the release that points back, once it is signed. Times are seconds since 1970.
    """

    id: str
    base: str
    channel: str
    plan: Plan
    template: ReleaseManifest = field(repr=False)
    previous: bytes = field(repr=False)
    state: str
    stage: int
    started_s: float
    paused_s: float | None = None
    back_sequence: int | None = None
    reason: str | None = None

    @property
    def topic(self) -> str:
        """Where its releases are published."""
        return Topics(self.base).channel_desired(self.channel)

    @property
    def is_unfinished(self) -> bool:
        """Whether something is left to do."""
        return self.state in UNFINISHED


@dataclass(frozen=True)
class StagePage:
    """A stage that was signed: when it was published, when its gate was met, when it ended."""

    number: int
    sequence: int
    published_s: float | None = None
    met_s: float | None = None
    ended_s: float | None = None


@dataclass(frozen=True)
class Counted:
    """What counts for a device of a stage: how its release ended there, by which boot and report."""

    device: str
    phase: str | None = None
    problem: Problem | None = None
    boot: str | None = None
    n: int = 0

    @property
    def is_good(self) -> bool:
        """Whether the release runs."""
        return self.phase == "active" and self.problem is None

    @property
    def is_failed(self) -> bool:
        """Whether the release ended badly."""
        return self.phase is not None and not self.is_good


class RolloutBook:
    """Reads and writes rollouts. A change that another program has made impossible changes nothing."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def add(self, rollout: Rollout) -> None:
        """Write down a new rollout."""
        self._ledger.write(
            "INSERT INTO rollouts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(rollout.id, rollout.base, rollout.channel, json.dumps(rollout.plan.as_json())),
                *(encode(rollout.template), rollout.previous, rollout.state, rollout.stage),
                *(rollout.started_s, rollout.paused_s, rollout.back_sequence, rollout.reason),
            ),
        )

    def all(self) -> list[Rollout]:
        """Return every rollout, newest first."""
        rows = self._ledger.read("SELECT * FROM rollouts ORDER BY started_s DESC, id DESC")
        return [_read_rollout(row) for row in rows]

    def get(self, identity: str) -> Rollout | None:
        """Return one rollout."""
        rows = self._ledger.read("SELECT * FROM rollouts WHERE id = ?", (identity,))
        return _read_rollout(rows[0]) if rows else None

    def state(self, identity: str) -> str:
        """Return the state of a rollout that is there."""
        return str(self._ledger.read("SELECT state FROM rollouts WHERE id = ?", (identity,))[0]["state"])

    def change(self, identity: str, before: Iterable[str], after: str, reason: str | None = None) -> bool:
        """Go to another state if it is in one of those before; say whether it did."""
        allowed = tuple(before)
        marks = ", ".join("?" * len(allowed))
        changed = self._ledger.write(
            f"UPDATE rollouts SET state = ?, reason = ? WHERE id = ? AND state IN ({marks})",
            (after, reason, identity, *allowed),
        )
        return changed == 1

    def pause(self, identity: str, now_s: float) -> bool:
        """Stop the clock of a rollout that runs; say whether it did run."""
        with self._ledger.step():
            if not self.change(identity, [RUNNING], PAUSED):
                return False
            self._ledger.write("UPDATE rollouts SET paused_s = ? WHERE id = ?", (now_s, identity))
        return True

    def resume(self, identity: str, now_s: float) -> bool:
        """Let the clock go on where it stood; say whether the rollout was paused."""
        with self._ledger.step():
            if not self.change(identity, [PAUSED], RUNNING):
                return False
            shift = "? - (SELECT paused_s FROM rollouts WHERE id = ?)"
            self._ledger.write(
                f"UPDATE stages SET published_s = published_s + {shift}, met_s = met_s + {shift} "
                "WHERE rollout = ? AND ended_s IS NULL",
                (now_s, identity, now_s, identity, identity),
            )
            self._ledger.write("UPDATE rollouts SET paused_s = NULL WHERE id = ?", (identity,))
        return True

    def set_back(self, identity: str, sequence: int) -> None:
        """Write down that the release that points back is signed."""
        self._ledger.write("UPDATE rollouts SET back_sequence = ? WHERE id = ?", (sequence, identity))

    def stage(self, identity: str, number: int) -> StagePage | None:
        """Return a stage, None while it is not signed."""
        rows = self._ledger.read(
            "SELECT number, sequence, published_s, met_s, ended_s FROM stages "
            "WHERE rollout = ? AND number = ?",
            (identity, number),
        )
        return StagePage(**rows[0]) if rows else None

    def open_stage(self, identity: str, number: int, sequence: int, devices: Iterable[str]) -> None:
        """Write down a stage that is signed, and the devices that count for it."""
        with self._ledger.step():
            self._ledger.write(
                "INSERT INTO stages (rollout, number, sequence) VALUES (?, ?, ?)",
                (identity, number, sequence),
            )
            self._ledger.write_many(
                "INSERT INTO stage_devices (rollout, stage, device) VALUES (?, ?, ?)",
                [(identity, number, device) for device in devices],
            )

    def mark_published(self, identity: str, number: int, now_s: float) -> None:
        """Start the clock of a stage."""
        self._mark(identity, number, "published_s", now_s)

    def mark_met(self, identity: str, number: int, now_s: float | None) -> None:
        """Write down since when the gate is met, None when it is not."""
        self._mark(identity, number, "met_s", now_s)

    def end_stage(self, identity: str, number: int, is_last: bool, now_s: float) -> bool:
        """Go on to the next stage, or end the rollout; say whether it still ran."""
        with self._ledger.step():
            if not self.change(identity, [RUNNING], DONE if is_last else RUNNING):
                return False
            self._mark(identity, number, "ended_s", now_s)
            if not is_last:
                self._ledger.write("UPDATE rollouts SET stage = ? WHERE id = ?", (number + 1, identity))
        return True

    def counted(self, identity: str, number: int) -> list[Counted]:
        """Return the devices of a stage by name, and what counts for each."""
        rows = self._ledger.read(
            "SELECT device, phase, problem, boot, n FROM stage_devices "
            "WHERE rollout = ? AND stage = ? ORDER BY device",
            (identity, number),
        )
        return [
            Counted(row["device"], row["phase"], _read_problem(row["problem"]), row["boot"], row["n"] or 0)
            for row in rows
        ]

    def count(self, identity: str, number: int, counted: Iterable[Counted]) -> None:
        """Write down what counts for devices of a stage."""
        self._ledger.write_many(
            "UPDATE stage_devices SET phase = ?, problem = ?, boot = ?, n = ? "
            "WHERE rollout = ? AND stage = ? AND device = ?",
            [
                (one.phase, _write_problem(one.problem), one.boot, one.n, identity, number, one.device)
                for one in counted
            ],
        )

    def _mark(self, identity: str, number: int, column: str, now_s: float | None) -> None:
        self._ledger.write(
            f"UPDATE stages SET {column} = ? WHERE rollout = ? AND number = ?", (now_s, identity, number)
        )


def _read_rollout(row: sqlite3.Row) -> Rollout:
    plan = Plan.from_json(json.loads(row["plan"]))
    return Rollout(**{**row, "plan": plan, "template": decode(ReleaseManifest, row["template"])})


def _write_problem(problem: Problem | None) -> str | None:
    return None if problem is None else encode(problem).decode()


def _read_problem(text: str | None) -> Problem | None:
    return None if text is None else decode(Problem, text.encode())
