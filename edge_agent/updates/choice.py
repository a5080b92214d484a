"""Which installed release shall be active when a person says so: a rule on the slots."""

from dataclasses import replace
from typing import Optional

from contract.messages import Problem
from edge_agent.errors import RequestError, TrustError, UpdateError
from edge_agent.updates.slots import MAX_REMEMBERED, Refused, Slot, Slots, SlotState

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
        TrustError: it is below the security floor.
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
    slots.model_files(manifest)
    others = tuple(each for each in state.refused if each.release not in (wanted.release, active.release))
    return replace(
        state,
        active=Slot(wanted.release, stamp),
        last_known_good=active,
        refused=(*others, Refused(active.release, _BY_HAND))[-MAX_REMEMBERED:],
    )


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
