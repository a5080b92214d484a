"""The story of a push: check, choose, sign, write down, publish, wait."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contract.topics import DEFAULT_BASE
from deploy.fleets.fleet import Device, Fleet
from deploy.releases.bundle import load_bundle
from deploy.releases.desk import new_rollout_id
from deploy.releases.keeper import Say
from deploy.releases.release import ReleasePlan, build_release, cut_blobs
from deploy.releases.sending import Result, open_sender
from deploy.releases.targets import Targets, choose, names_with_tag
from host_mqtt.address import Address
from host_mqtt.link import TOPIC_ROOM_BYTES


@dataclass(frozen=True)
class Order:
    """What the operator asked for: `names`, or everybody with `tag`, or with neither the whole channel."""

    bundle: Path
    fleet: Path
    broker: Address
    names: tuple[str, ...] = ()
    tag: str | None = None
    channel: str = "stable"
    base: str = DEFAULT_BASE
    wait: bool = True
    timeout_s: float = 300.0
    chunk_bytes: int | None = None
    dry_run: bool = False
    revoked: tuple[str, ...] = ()


@dataclass(frozen=True)
class Preview:
    """What a push would do: who gets which version in place of which, and how much is published."""

    version: str
    devices: tuple[Device, ...]
    targets: Targets
    total_bytes: int
    chunks: int


def push(order: Order, say: Say) -> Result | Preview:
    """Bring a bundle to devices.

    Args:
        order: what to send to whom.
        say: told in plain words what happens.

    Returns:
        What came of it; for a dry run what would be done, and nothing was.

    Raises:
        WrongUsage: the bundle, the keys or the names cannot be used.
        GateNotMet: a file of the bundle was changed, or the broker does not take it; nothing was published.
        Unreachable: the broker or every target is not there.
    """
    bundle = load_bundle(order.bundle)
    with open_sender(order.fleet, order.broker, order.base, order.channel, say) as sender:
        targets = find_targets(sender.fleet, order.names, order.tag, order.channel, order.wait)
        for remark in targets.remarks:
            say(remark)
        room_bytes = max(1, sender.link.max_packet_bytes - TOPIC_ROOM_BYTES)
        blobs = cut_blobs(bundle, order.chunk_bytes, room_bytes)
        now_s = time.time()
        plan = ReleasePlan(
            order.channel, targets.pinned, 1, new_rollout_id(now_s), now_s, revoked=order.revoked
        )
        release = build_release(bundle, blobs, plan)
        if order.dry_run:
            waited_for = tuple(sender.fleet.get(name) for name in targets.waited_for)
            chunks = sum(blob.ref.chunks for blob in blobs.values())
            return Preview(release.model.version, waited_for, targets, release.total_bytes, chunks)
        sender.desk.keep(blobs.values())
        return sender.send(release, targets, order.timeout_s if order.wait else None)


def find_targets(fleet: Fleet, names: tuple[str, ...], tag: str | None, channel: str, wait: bool) -> Targets:
    """Choose by names, by a tag, or without either the devices of the channel.

    Raises:
        WrongUsage: they cannot all be meant by one release.
        Unreachable: there is nobody.
    """
    return choose(fleet, names if tag is None else names_with_tag(fleet, tag), channel, wait)


def preview_as_json(preview: Preview) -> dict[str, Any]:
    """Return the shape that scripts rely on."""
    devices = [
        {"device": one.name, "status": one.status, "version": _version(one)} for one in preview.devices
    ]
    unknown = [outcome.device for outcome in preview.targets.unknown]
    return {
        "ok": True,
        "dry_run": True,
        "version": preview.version,
        "devices": devices,
        "unknown": unknown,
        "bytes": preview.total_bytes,
        "chunks": preview.chunks,
    }


def _version(device: Device) -> str | None:
    current = device.report.current if device.report is not None else None
    return None if current is None else current.version
