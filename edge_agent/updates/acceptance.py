"""What becomes of an order: refused, not ours, known, or taken. It is on disk before anybody acts on it."""

import contextlib
from dataclasses import replace
from enum import Enum
from typing import NamedTuple, Optional, Tuple

from contract.manifest import ReleaseManifest
from contract.messages import Problem
from contract.stamps import parse_time
from edge_agent.clock import Clock
from edge_agent.config import AgentConfig
from edge_agent.errors import StorageError
from edge_agent.updates.slot_state import MAX_REVOKED, Candidate, Slot, SlotState, forget_signed
from edge_agent.updates.slots import Slots
from edge_agent.updates.trust import Trust
from edge_agent.updates.verify import Scope, Seen, VerifiedRelease, verify_release


class Outcome(Enum):
    """What an order means to this device."""

    REPEATED = "it is installed, or on its way in"
    NOT_OURS = "it is for other devices"
    ADOPTED = "what it names runs here already"
    CONTINUED = "what it names is on its way in already"
    FAILED_BEFORE = "what it names has failed here, and is not tried again"
    TAKEN = "it is to be installed"


_KEPT = (Outcome.ADOPTED, Outcome.CONTINUED, Outcome.TAKEN)


class Order(NamedTuple):
    """A release that may be trusted, and what it means; `problem` says why it failed before."""

    outcome: Outcome
    release: VerifiedRelease
    problem: Optional[Problem] = None


class Acceptance:
    """Judges orders and remembers them in the slots."""

    def __init__(self, config: AgentConfig, *, trust: Trust, slots: Slots, clock: Clock) -> None:
        self._config = config
        self._trust = trust
        self._slots = slots
        self._clock = clock

    def take(self, envelope: bytes, is_own: bool) -> Order:
        """Judge an order, and put on disk what must be known of it after a power cut.

        Args:
            envelope: as it arrived.
            is_own: it came on this device's own topic, where no release of others has a place.

        Raises:
            TrustError: it may not be trusted.
            StorageError: the disk refuses; nothing has changed.
        """
        if not self._trust.counts_still(self._slots.state.signed_by):
            # The disk did not take it when the root came.
            self._slots.save(replace(forget_signed(self._slots.state), candidate=None))
        scope = Scope(self._config.device, self._config.channel, self._config.hardware, is_own)
        release = verify_release(envelope, self._trust.root, scope, self._seen(), self._clock.now_s())
        order = self._judge(release)
        if order.outcome in _KEPT:
            self._slots.keep_release(release.digest, envelope)
        state = self._remember(order)
        if state != self._slots.state:
            self._slots.save(state)
        return order

    def _judge(self, release: VerifiedRelease) -> Order:
        state, manifest = self._slots.state, release.manifest
        if release.digest in (_digest(state.active), _digest(state.candidate)):
            return Order(Outcome.REPEATED, release)
        if not release.is_ours:
            return Order(Outcome.NOT_OURS, release)
        if self._is_same(state.active, manifest):
            return Order(Outcome.ADOPTED, release)
        problem = self._slots.refusal(release.digest, manifest)
        if problem is not None:
            return Order(Outcome.FAILED_BEFORE, release, problem)
        if self._is_same(state.candidate, manifest):
            return Order(Outcome.CONTINUED, release)
        return Order(Outcome.TAKEN, release)

    def _remember(self, order: Order) -> SlotState:
        """Return the slots as they are to be; the pointers move with the memory, in one write."""
        digest, manifest = order.release.digest, order.release.manifest
        state = self._slots.state
        state = replace(
            state,
            revoked=_join(state.revoked, manifest.revoked),
            sequence_high=manifest.sequence,
            release_high=digest,
            signed_by=order.release.signed_by,
            time_floor_s=max(state.time_floor_s, parse_time(manifest.issued)),
        )
        if order.outcome is Outcome.ADOPTED:
            assert state.active is not None
            floor = max(state.security_floor, manifest.model.security_floor)
            active = Slot(digest, state.active.since)
            state = replace(state, active=active, candidate=None, security_floor=floor)
        elif order.outcome is Outcome.CONTINUED:
            assert state.candidate is not None
            state = replace(state, candidate=replace(state.candidate, release=digest))
        elif order.outcome is Outcome.TAKEN:
            state = replace(state, candidate=Candidate(digest))
        elif order.outcome is Outcome.FAILED_BEFORE:
            state = replace(state, candidate=None)
        return state

    def _is_same(self, place: "Optional[Slot | Candidate]", manifest: ReleaseManifest) -> bool:
        if place is None:
            return False
        with contextlib.suppress(StorageError):
            return manifest.has_same_content(self._slots.release(place.release))
        return False

    def _seen(self) -> Seen:
        state = self._slots.state
        return Seen(
            sequence_high=state.sequence_high,
            release_high=state.release_high,
            security_floor=state.security_floor,
            time_floor_s=state.time_floor_s,
            newest=self._trust.newest_sequence(self._config.channel),
            revoked=state.revoked,
        )


def _digest(place: "Optional[Slot | Candidate]") -> str:
    return place.release if place else ""


def _join(known: Tuple[str, ...], new: Tuple[str, ...]) -> Tuple[str, ...]:
    return (*known, *(each for each in new if each not in known))[-MAX_REVOKED:]
