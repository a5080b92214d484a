"""Cuts the power between any two operations of an update, and loses what was not synced in every way.

Each state that may be left is booted and driven to the end; on the way the power is cut again, at most twice.
"""

import contextlib
import functools
from dataclasses import replace
from random import Random
from typing import Callable, FrozenSet, Iterator, List, NamedTuple, Set, Tuple
from unittest import mock

from contract import envelope
from contract.codec import decode
from edge_agent.updates import store, transfer
from edge_agent.updates.slot_state import NAME, STATE, SlotState
from edge_agent.updates.state_file import StateFile
from tests.powercut.device import CHUNK_BYTES, FOLDER, Device, Fleet, Place
from tests.powercut.disk import BYTE_LOSSES, EVERYTHING, NAME_LOSSES, NOTHING, CrashDisk

SYNC_EVERY_BYTES = 2 * CHUNK_BYTES
MAX_CUTS = 3
MAX_FETCHED_AGAIN = 0.02
# Remembered before anything happens; it must never be forgotten.
_MARK = "0" * 64
_FORKS = 2
_SHOWN = 3
_STATES = (f"{FOLDER}/{STATE}", f"{FOLDER}/slots.prev.json")


class Scenario(NamedTuple):
    """What a device does, on which three releases were installed, while the power may fail.

    Attributes:
        name: what it is about.
        act: does it.
        goal: the release that was ordered last.
    """

    name: str
    act: Callable[[Device, Fleet], None]
    goal: str


def _update(device: Device, fleet: Fleet) -> None:
    assert device.carry_out(fleet.releases["four"])


def _supersede(device: Device, fleet: Fleet) -> None:
    device.begin(fleet.releases["four"], chunks=9)
    assert device.carry_out(fleet.releases["five"])


def _refuse(device: Device, fleet: Fleet) -> None:
    assert device.carry_out(fleet.releases["bad"])


SCENARIOS = (
    Scenario("update", _update, "four"),
    Scenario("supersede", _supersede, "five"),
    Scenario("refuse", _refuse, "bad"),
)


class Loss(NamedTuple):
    """What a cut does.

    Attributes:
        bytes_kept: which unsynced bytes are still there, one of BYTE_LOSSES.
        names_kept: which unsynced changes of names are, one of NAME_LOSSES.
        rotten: how many copies of the state the disk has damaged besides, the newest first.
        is_kill: only the process ends; what was not synced may still be lost at the next cut.
    """

    bytes_kept: str = EVERYTHING
    names_kept: str = EVERYTHING
    rotten: int = 0
    is_kill: bool = False

    def __str__(self) -> str:
        if self.is_kill:
            return "killed"
        return f"bytes {self.bytes_kept}, names {self.names_kept}, {self.rotten} rotten"


KILL = Loss(is_kill=True)
PLAIN = (
    Loss(rotten=1),
    Loss(rotten=2),
    *(Loss(each, other) for each in (NOTHING, EVERYTHING) for other in (NOTHING, EVERYTHING)),
)


class Moment(NamedTuple):
    """The disk just before an operation, and what that was to be."""

    what: str
    disk: CrashDisk


class State(NamedTuple):
    """What a cut has left.

    Attributes:
        story: how it came to this.
        disk: what is on it.
        durable: chunks that must not be fetched again.
        is_rotten: whether the disk has damaged a copy of the state on the way.
        is_lost: whether it has damaged both.
        is_marked: whether the mark must still be known.
    """

    story: Tuple[str, ...]
    disk: CrashDisk
    durable: FrozenSet[Place] = frozenset()
    is_rotten: bool = False
    is_lost: bool = False
    is_marked: bool = True


class Figures:
    """What was found.

    Attributes:
        states: how many were booted.
        contents: hashes of the different ones.
        bricked: how many ended badly.
        given_up: how many releases were being tried at each of three cuts, and were given up.
        failures: the stories of the first few of these.
        max_boots: the most boots that a device needed.
        most_fetched_again: the largest share of a release that had been synced and was fetched again.
    """

    def __init__(self) -> None:
        self.states = 0
        self.contents: Set[int] = set()
        self.bricked = 0
        self.given_up = 0
        self.failures: List[str] = []
        self.max_boots = 0
        self.most_fetched_again = 0.0

    def fail(self, story: Tuple[str, ...], problem: str) -> None:
        """Note a device that is lost."""
        self.bricked += 1
        if len(self.failures) < _SHOWN:
            self.failures.append("; ".join((*story, problem)))


class Explorer:
    """Explores the scenarios cut by cut; the same seed makes the same cuts. It tells each state."""

    def __init__(self, seed: int, tell: Callable[[], None] = lambda: None) -> None:
        self._tell = tell
        self._chance = Random(seed)
        self._fleet = Fleet(("one", "two", "three", "four", "bad", "five"))
        self._marked = b""
        self.figures = Figures()

    def explore(self, count: int, *, stop_at_failure: bool = False, near: str = "") -> Figures:
        """Boot at least `count` states.

        Args:
            count: how many.
            stop_at_failure: whether the first failure is enough.
            near: make the first cut only before operations whose name this is a part of.
        """
        figures = self.figures
        with _made_small():
            start = self._install_three()
            moments = [(each, moment) for each in SCENARIOS for moment in self._record(each, start)]
            moments = [(scenario, moment) for scenario, moment in moments if near in moment.what]
            for scenario, moment, loss, more_cuts in self._cuts(moments):
                if figures.states >= count or (stop_at_failure and figures.bricked):
                    break
                self._follow(scenario, self._lose(State((scenario.name,), start), moment, loss), more_cuts)
        return figures

    def _install_three(self) -> CrashDisk:
        disk = CrashDisk()
        device = Device(self._fleet, disk)
        for name in ("one", "two", "three"):
            assert device.carry_out(self._fleet.releases[name])
        device.board.slots.save(replace(device.state, revoked=(_MARK,)))
        self._marked = disk.contents()[_STATES[0]]
        return disk.after_power_cut(EVERYTHING, EVERYTHING, self._chance)

    def _record(self, scenario: Scenario, before: CrashDisk) -> List[Moment]:
        """Let it all happen without a cut; return the moments at which there could have been one."""
        found: List[Moment] = []
        disk = before.copy()
        device = Device(self._fleet, disk)
        disk.before_change = lambda what: found.append(Moment(what, disk.copy()))
        scenario.act(device, self._fleet)
        found.append(Moment("end", disk.copy()))
        waiting = max(moment.disk.unsynced_bytes() for moment in found)
        if waiting > SYNC_EVERY_BYTES + CHUNK_BYTES:
            self.figures.fail((scenario.name,), f"{waiting} bytes waited for a sync")
        return found

    def _cuts(self, moments: List[Tuple[Scenario, Moment]]) -> Iterator[Tuple[Scenario, Moment, Loss, int]]:
        """Yield moments with plain losses, then for ever with chance losses, and how often to cut again."""
        for scenario, moment in moments:
            yield scenario, moment, KILL, 1
            for loss in PLAIN:
                yield scenario, moment, loss, 0
        while True:
            for scenario, moment in moments:
                yield scenario, moment, self._any_loss(), MAX_CUTS - 1

    def _any_loss(self) -> Loss:
        chance = self._chance
        if chance.random() < 0.1:
            return KILL
        rotten = chance.choice((1, 1, 2)) if chance.random() < 0.1 else 0
        return Loss(chance.choice(BYTE_LOSSES), chance.choice(NAME_LOSSES), rotten)

    def _lose(self, state: State, moment: Moment, loss: Loss) -> State:
        """Return what a cut at a moment of the boot of `state` leaves."""
        if loss.is_kill:
            disk = moment.disk.copy()
        else:
            disk = moment.disk.after_power_cut(loss.bytes_kept, loss.names_kept, self._chance)
        # What was saved last before anything happened bears the mark, the copy beside it does not yet.
        is_first = disk.contents().get(_STATES[0]) == self._marked
        for path in _STATES[: loss.rotten]:
            disk.damage(path)
        return State(
            (*state.story, f"{loss} before {moment.what}"),
            disk,
            self._fleet.durable(moment.disk),
            is_rotten=state.is_rotten or loss.rotten > 0,
            is_lost=state.is_lost or loss.rotten == len(_STATES),
            is_marked=state.is_marked and not (loss.rotten and (is_first or loss.rotten == len(_STATES))),
        )

    def _follow(self, scenario: Scenario, state: State, cuts_left: int) -> None:
        """Boot a state, drive it to the end, then cut the power on the way there."""
        moments = self._boot(scenario, state)
        for _ in range(_FORKS if cuts_left else 0):
            # Most often the power fails when nothing is being done.
            moment = moments[-1] if self._chance.random() < 0.25 else self._chance.choice(moments)
            self._follow(scenario, self._lose(state, moment, self._any_loss()), cuts_left - 1)

    def _boot(self, scenario: Scenario, state: State) -> List[Moment]:
        figures, disk = self.figures, state.disk
        figures.states += 1
        self._tell()
        figures.contents.add(hash(frozenset(disk.contents().items())))
        figures.max_boots = max(figures.max_boots, len(state.story) - 1)
        moments = [Moment("boot", disk.copy())]
        disk.before_change = lambda what: moments.append(Moment(what, disk.copy()))
        try:
            self._judge(scenario, state)
        except Exception as error:
            figures.fail(state.story, repr(error))
        return [*moments, Moment("end", disk.copy())]

    def _judge(self, scenario: Scenario, state: State) -> None:
        """Raise AssertionError if a device is worse off than any cut may leave it."""
        fleet = self._fleet
        goal = fleet.releases[scenario.goal]
        may_be_new = goal.is_good or state.is_lost
        allowed = [fleet.releases["three"], *([goal] if may_be_new else [])]
        if not state.is_rotten:
            # Nobody may need to mend what a cut has left.
            found = StateFile(FOLDER, NAME, SlotState, state.disk).load()
            fleet.require_pointers(found or SlotState(), state.disk.contents())
        device = Device(fleet, state.disk)
        device.require_answers(frozenset(release.digest for release in allowed))
        device.require_order()
        assert _MARK in device.state.revoked or not state.is_marked, "its memory is lost"
        assert device.state.sequence_high >= fleet.releases["three"].manifest.sequence, "it can be led back"
        if goal.is_good or not state.is_lost:
            if not device.carry_out(goal):
                self._count_given_up(device, state)
            device.require_order()
            assert not state.disk.names(FOLDER / "parts"), "a part is left over"
        if not state.is_rotten:
            self._count_fetched_again(device, state)

    def _count_given_up(self, device: Device, state: State) -> None:
        """A release that was being tried at each of three cuts is taken for one that takes the board down."""
        codes = [refused.problem.code for refused in device.state.refused]
        is_given_up = codes == ["too_many_attempts"] and len(state.story) == 1 + MAX_CUTS
        assert is_given_up, f"it does not converge: {device.state}"
        self.figures.given_up += 1

    def _count_fetched_again(self, device: Device, state: State) -> None:
        # A file of which a part is there is asked for its index again: that is not kept.
        begun = {(blob_id, None) for blob_id, _ in state.durable}
        again = device.fetched & (state.durable | begun)
        again_bytes = sum(len(self._fleet.pieces[place]) for place in again)
        share = again_bytes / device.release_bytes
        self.figures.most_fetched_again = max(self.figures.most_fetched_again, share)
        assert share <= MAX_FETCHED_AGAIN, f"{again_bytes} bytes are fetched again"


@contextlib.contextmanager
def _made_small() -> Iterator[None]:
    """Sync parts more often, as files are small; read equal documents once, which saves half the time."""
    read = functools.lru_cache(maxsize=4096)(decode)
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(transfer, "_SYNC_EVERY_BYTES", SYNC_EVERY_BYTES))
        for reader in (store, envelope):
            stack.enter_context(mock.patch.object(reader, "decode", read))
        yield
