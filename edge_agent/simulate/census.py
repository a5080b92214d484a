"""What became of releases on simulated devices, and whether that was to be expected of each."""

import collections
from typing import Any, Dict, List, NamedTuple, Sequence

from edge_agent.simulate.device import Device

BAD = ("failed", "rolled_back")
_ENDS = ("active", *BAD)
_MAX_NAMED = 20


class Census(NamedTuple):
    """Counts over all devices; `lost` and `unexpected` are names.

    Attributes:
        devices: how many there are.
        connected: how many the broker has taken at least once.
        running: how many run each version; "" is none.
        releases: of each version that was begun, how many devices last reported each phase of it.
        lost: accepted a release that never ended, although their fault does not say so.
        unexpected: a release failed although nothing was wrong with them, or runs where it cannot.
        received_bytes: of all payloads that came.
        sent_bytes: of all payloads that went.
    """

    devices: int
    connected: int
    running: Dict[str, int]
    releases: Dict[str, Dict[str, int]]
    lost: List[str]
    unexpected: List[str]
    received_bytes: int
    sent_bytes: int


def count(devices: Sequence[Device], spared: str = "") -> Census:
    """Look at every device.

    Args:
        devices: all of them.
        spared: the version on which no model fails.
    """
    releases: Dict[str, Dict[str, int]] = collections.defaultdict(lambda: collections.defaultdict(int))
    for device in devices:
        for version, phase in device.phases.items():
            releases[version][phase] += 1
    return Census(
        devices=len(devices),
        connected=sum(device.was_connected for device in devices),
        running=dict(collections.Counter(running_version(device) for device in devices)),
        releases={version: dict(phases) for version, phases in releases.items()},
        lost=[device.name for device in devices if is_lost(device)],
        unexpected=[device.name for device in devices if is_unexpected(device, spared)],
        received_bytes=sum(device.received_bytes for device in devices),
        sent_bytes=sum(device.sent_bytes for device in devices),
    )


def build_document(census: Census, seconds: float) -> Dict[str, Any]:
    """Return what a script reads; long lists of names are cut."""
    found = census._asdict()
    for what in ("lost", "unexpected"):
        names = found.pop(what)
        found[what] = len(names)
        found[what + "_devices"] = names[:_MAX_NAMED]
    return {**found, "seconds": round(seconds, 3)}


def running_version(device: Device) -> str:
    """Return the version that is active on a device, "" for none."""
    current = device.report.get("current")
    return str(current["version"]) if current else ""


def has_ended(device: Device, version: str) -> bool:
    """Say whether a release of this version has ended on a device, or never will because of its fault."""
    if device.fault is not None and device.fault.stops:
        return True
    return not device.is_under_way and device.phases.get(version) in _ENDS


def is_lost(device: Device) -> bool:
    """Say whether a device accepted a release that has not ended, for no reason of its fault's."""
    return device.is_under_way and not (device.fault is not None and device.fault.stops)


def is_unexpected(device: Device, spared: str) -> bool:
    """Say whether what became of a release on a device contradicts its fault."""
    ends = [phase for version, phase in device.phases.items() if version != spared]
    if device.fault is None or not device.fault.spoils:
        return any(phase in BAD for phase in ends)
    return "active" in ends
