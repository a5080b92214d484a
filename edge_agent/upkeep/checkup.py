"""What the agent can see is wrong by looking at itself: a rule from facts to problems."""

from dataclasses import dataclass
from typing import Dict, Iterator, Set, Tuple

from contract.messages import Problem
from edge_agent.outgoing.outbox import OutboxStats
from edge_agent.updates.choice import ROLLED_BACK_BY_HAND
from edge_agent.upkeep.problems import Problems

_MIB = 1024 * 1024
_LOOK_EVERY_S = 1.0
# So long after the last drop the outbox still counts as dropping.
_DROPPING_S = 60.0
_MAX_MESSAGE = 1000
_STALE = "its release has expired, or the newest that was heard of releases"
_CLOCK = Problem("clock_not_set", "the clock is from before this program", "sudo timedatectl set-ntp true")
_RESET = Problem(
    "outbox_reset", "the outbox was damaged; what waited in it is lost", "see *.corrupt in state_dir"
)


@dataclass(frozen=True)
class Facts:
    """The state of the agent at one moment.

    Attributes:
        is_clock_set: whether the wall clock can be right.
        free_bytes: room on the disk of the agent's state.
        outbox: how full the outbox is.
        is_outbox_saving: whether the disk takes what waits.
        was_outbox_reset: whether a damaged outbox was set aside at the start.
        not_ready: why no model answers, "" if one does.
        refused: why the last release was refused, by the model's name on this device.
        stale: the models whose release, or what is known of newer ones, has expired, by their names here.
        others: what other rooms say is wrong.
    """

    is_clock_set: bool
    free_bytes: int
    outbox: OutboxStats
    is_outbox_saving: bool
    was_outbox_reset: bool
    not_ready: str
    refused: Dict[str, Problem]
    stale: Tuple[str, ...]
    others: Tuple[Problem, ...]


class Checkup:
    """Looks once a second and keeps the list of problems true. It belongs to the agent's loop."""

    def __init__(self, problems: Problems, reserve_bytes: int) -> None:
        """Prepare; less than `reserve_bytes` of free disk is a problem."""
        self._problems = problems
        self._reserve_bytes = reserve_bytes
        self._look_at_s = self._dropped_s = float("-inf")
        self._dropped_total = -1
        self._set: Set[str] = set()

    def is_due(self, now_s: float) -> bool:
        """Say whether it is time to gather facts again."""
        return now_s >= self._look_at_s

    def look(self, facts: Facts, now_s: float) -> None:
        """Set what the facts say, clear what they said before and do not any more."""
        self._look_at_s = now_s + _LOOK_EVERY_S
        wrong: Dict[str, Problem] = {}
        for problem in (*self._judge(facts, now_s), *facts.others):
            wrong[problem.code] = _join(wrong[problem.code], problem) if problem.code in wrong else problem
        for code in self._set - set(wrong):
            self._problems.clear(code)
        for problem in wrong.values():
            self._problems.set(problem.code, problem.message, problem.hint)
        self._set = set(wrong)

    def _judge(self, facts: Facts, now_s: float) -> Iterator[Problem]:
        """Yield what is wrong."""
        if not facts.is_clock_set:
            yield _CLOCK
        if facts.free_bytes < self._reserve_bytes:
            yield Problem("disk_low", f"{facts.free_bytes // _MIB} MiB of disk are free", "free some space")
        if self._is_dropping(facts.outbox.dropped_total, now_s):
            said = f"the outbox is full or damaged: {facts.outbox.dropped_total} messages were dropped so far"
            yield Problem("outbox_dropping", said, "bring the broker back, or raise outbox.max_bytes")
        if not facts.is_outbox_saving:
            yield Problem("outbox_not_saving", "the disk refuses the outbox", "free some space, see dmesg")
        if facts.was_outbox_reset:
            yield _RESET
        if facts.not_ready:
            yield Problem("not_ready", facts.not_ready[:_MAX_MESSAGE], "push a model, or see the agent's log")
        for lane, refused in facts.refused.items():
            if refused.code == ROLLED_BACK_BY_HAND:
                # What somebody at the board chose is nothing wrong.
                continue
            yield Problem("release_refused", f"{_name(lane)}: {refused.message[:900]}", refused.hint)
        for lane in facts.stale:
            yield Problem("release_stale", f"{_name(lane)}: {_STALE}", "push it anew, run deploy keep")

    def _is_dropping(self, dropped_total: int, now_s: float) -> bool:
        if self._dropped_total < 0:
            # What was dropped before this start is no news.
            self._dropped_total = dropped_total
        if dropped_total > self._dropped_total:
            self._dropped_total, self._dropped_s = dropped_total, now_s
        return now_s - self._dropped_s < _DROPPING_S


def _name(lane: str) -> str:
    return f"model {lane}" if lane else "the main model"


def _join(one: Problem, other: Problem) -> Problem:
    return Problem(one.code, f"{one.message}; {other.message}"[:_MAX_MESSAGE], one.hint)
