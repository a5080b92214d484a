"""Which release shall be active: after a trial, when the active one fails, when a person says so. Rules."""

import contextlib
from dataclasses import replace
from typing import Optional

from contract.manifest import ReleaseManifest
from contract.messages import Problem
from edge_agent.errors import RequestError, StorageError, TrustError, UpdateError
from edge_agent.updates.slot_state import Candidate, Slot, SlotState
from edge_agent.updates.slots import Slots

ROLLED_BACK_BY_HAND = "rolled_back_by_hand"
_BY_HAND = Problem(
    ROLLED_BACK_BY_HAND,
    "somebody at the board made another version active",
    "push a new release, or on the board: edge-agent model use VERSION",
)


def choose(slots: Slots, version: Optional[str], stamp: str) -> SlotState:
    """Return the slots with another release active, and the active one as the last known good.

    The release that was active is not taken again when the broker repeats it; the one chosen may be.

    Args:
        slots: what is installed.
        version: which one, None for the last known good.
        stamp: the time now.

    Raises:
        RequestError: no such version is installed.
        UpdateError: there is no last known good.
        TrustError: it is below the security floor, or revoked.
        StorageError: the disk has changed it.
    """
    state = slots.state
    active, wanted = state.active, _find(slots, version)
    if wanted is active or active is None:
        return state
    manifest = slots.release(wanted.release)
    if manifest.model.security_floor < state.security_floor:
        raise TrustError(
            "security_floor",
            f"version {manifest.model.version} is below the security floor {state.security_floor}",
            "push a newer release",
        )
    if slots.is_revoked(manifest):
        raise TrustError(
            "revoked", f"version {manifest.model.version} has been revoked", "push a newer release"
        )
    slots.model_files(manifest)
    refused = slots.refuse(active.release, _BY_HAND)
    return replace(
        state,
        active=Slot(wanted.release, stamp),
        last_known_good=active,
        refused=tuple(entry for entry in refused if entry.release != wanted.release),
    )


def commit(state: SlotState, manifest: ReleaseManifest, stamp: str) -> SlotState:
    """Return the slots with the candidate, whose release this is, active, and the active one behind it."""
    assert state.candidate is not None, "nothing to commit"
    slot = Slot(state.candidate.release, stamp)
    is_healed = state.active is not None and state.active.release == slot.release
    return replace(
        state,
        active=slot,
        last_known_good=state.last_known_good if is_healed else state.active,
        factory=state.factory or slot,
        candidate=None,
        security_floor=max(state.security_floor, manifest.model.security_floor),
    )


def roll_back(slots: Slots, why: Problem, stamp: str) -> Optional[SlotState]:
    """Return the slots with the next best release active, and the active one remembered as failed.

    None if there is no other that could answer.
    """
    state, best = slots.state, slots.next_best()
    if best is None or state.active is None:
        return None
    refused = slots.refuse(state.active.release, why)
    return replace(state, active=Slot(best.release, stamp), last_known_good=None, refused=refused)


def heal(slots: Slots, stamp: str) -> SlotState:
    """Return the slots with the next best release active, and the damaged one that was on its way in.

    With no other that could answer it stays where it is, and is on its way in all the same. What is on its
    way in already is newer, and goes first.
    """
    state, best = slots.state, slots.next_best()
    if state.active is None:
        return state
    candidate = state.candidate or Candidate(state.active.release)
    if best is None:
        return replace(state, candidate=candidate)
    return replace(state, active=Slot(best.release, stamp), last_known_good=None, candidate=candidate)


def leave_revoked(slots: Slots, stamp: str) -> SlotState:
    """Return the slots without what has been revoked.

    An active release that is revoked gives way to the next best. If there is none it stays: an answer of
    which everybody knows that it is not to be trusted is better than a board that must be visited.
    """
    state = slots.state
    active = state.active if _may_stay(slots, state.active) else None
    if state.active is not None and active is None:
        best = slots.next_best()
        active = Slot(best.release, stamp) if best else None
    last_known_good = state.last_known_good if _may_stay(slots, state.last_known_good) else None
    if active is not None and last_known_good is not None and last_known_good.release == active.release:
        last_known_good = None
    return replace(
        state,
        active=active or state.active,
        last_known_good=last_known_good,
        factory=state.factory if _may_stay(slots, state.factory) else active,
        candidate=state.candidate if _may_stay(slots, state.candidate) else None,
    )


def _may_stay(slots: Slots, place: "Optional[Slot | Candidate]") -> bool:
    """Say whether nothing in this place is revoked; what cannot be read cannot be judged."""
    if place is None:
        return True
    with contextlib.suppress(StorageError):
        return not slots.is_revoked(slots.release(place.release))
    return True


def _find(slots: Slots, version: Optional[str]) -> Slot:
    state = slots.state
    if version is None:
        if state.last_known_good is None:
            raise UpdateError("no_last_known_good", "there is nothing to go back to", "push a release")
        return state.last_known_good
    for slot in (state.active, state.last_known_good):
        if slot is not None and slots.release(slot.release).model.version == version:
            return slot
    raise RequestError("unknown_version", f"version {version} is not installed", "edge-agent model list")
