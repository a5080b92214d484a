"""The story of a push: check, choose, sign, publish, wait."""

import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contract.codec import decode, encode
from contract.envelope import RELEASE_TYPE, Envelope
from contract.errors import ContractError
from contract.manifest import ReleaseManifest
from contract.stamps import build_ulid
from contract.topics import DEFAULT_BASE, Topics
from contract.trust import Root
from deploy.address import Address
from deploy.bundle import Bundle, load_bundle
from deploy.fleet import Fleet, Outcome, Wanted
from deploy.keys import load_key, load_root, reserve_sequence
from deploy.link import Link
from deploy.publisher import Retention, publish_release
from deploy.release import Blob, ReleasePlan, build_release, cut_blobs
from deploy.roll_call import remembered
from deploy.signing import PrivateKey, sign, verify
from deploy.targets import Targets, choose
from deploy.watch import NEED, Say, Watch
from host_cli.errors import GateNotMet
from host_cli.progress import progress

_ULID_RANDOM_BYTES = 10
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Order:
    """What the operator asked for. `names` empty means every device of the channel."""

    bundle: Path
    fleet: Path
    broker: Address
    names: tuple[str, ...] = ()
    channel: str = "stable"
    base: str = DEFAULT_BASE
    wait: bool = True
    timeout_s: float = 300.0
    chunk_bytes: int | None = None


@dataclass(frozen=True)
class Result:
    """What came of it; `outcomes` is empty when nobody waited."""

    release: str
    version: str
    sequence: int
    outcomes: tuple[Outcome, ...]
    bytes_published: int
    model_bytes: int
    chunks: int

    @property
    def bad(self) -> list[Outcome]:
        """The devices on which the release does not run."""
        return [outcome for outcome in self.outcomes if not outcome.is_good]


def push(order: Order, say: Say) -> Result:
    """Bring a bundle to devices.

    Args:
        order: what to send to whom.
        say: told in plain words what happens.

    Raises:
        WrongUsage: the bundle, the keys or the names cannot be used.
        GateNotMet: a file of the bundle was changed; nothing was published.
        Unreachable: the broker or every target is not there.
    """
    topics = Topics(order.base)
    bundle = load_bundle(order.bundle)
    blobs = cut_blobs(bundle, order.chunk_bytes)
    root = load_root(order.fleet)
    key = load_key(order.fleet, "release", root)
    with Link(order.broker) as link:
        fleet = Fleet(topics, order.channel)
        seen = _call_the_roll(link, fleet, topics, order.channel)
        targets = choose(fleet, order.names, order.channel, order.wait)
        for remark in targets.remarks:
            say(remark)
        known = _known_sequences(fleet, targets, seen, root)
        sequence = reserve_sequence(order.fleet, known)
        release = _build(bundle, blobs, order, targets, sequence)
        retention = _retain(topics, blobs, targets, release, key)
        sent = _publish(link, retention)
        say(f"published release {sequence}: {bundle.manifest.name} {bundle.manifest.version}")
        watch = Watch(link, fleet, retention, Wanted(sequence, blobs["model"].ref.sha256), say)
        outcomes = watch.wait_for(targets.waited_for, order.timeout_s) if order.wait else []
    return Result(
        release=release.rollout.id,
        version=bundle.manifest.version,
        sequence=sequence,
        outcomes=(*outcomes, *targets.unknown),
        bytes_published=sent + watch.mended_bytes,
        model_bytes=bundle.manifest.model.size,
        chunks=retention.chunks,
    )


def _publish(link: Link, retention: Retention) -> int:
    total_bytes = sum(len(fact.payload) for fact in retention.blob_facts())
    with progress("publishing", total_bytes, "bytes") as advance:
        return publish_release(link, retention, advance)


def _call_the_roll(link: Link, fleet: Fleet, topics: Topics, channel: str) -> bytes | None:
    """Let the fleet learn what the broker remembers; return the channel's release, if there is one."""
    channel_topic = topics.channel_desired(channel)
    filters = [*fleet.filters(), channel_topic, topics.every_device(NEED)]
    found = None
    for message in remembered(link, topics, filters):
        if message.topic == channel_topic:
            found = message.payload or None
        else:
            fleet.observe(message.topic, message.payload, message.retained)
    return found


def _known_sequences(fleet: Fleet, targets: Targets, channel_release: bytes | None, root: Root) -> list[int]:
    """Return every sequence that a target will see on the broker, or that any device has seen.

    Also the devices that are offline count: the release waits for them, and below what they know they refuse.
    """
    wires = [channel_release, *(fleet.get(name).desired for name in targets.waited_for)]
    found = [read_sequence(wire, root) for wire in wires if wire is not None]
    return found + [one.report.trust.sequence_high for one in fleet.known() if one.report is not None]


def read_sequence(wire: bytes, root: Root) -> int:
    """Return the sequence of a retained release, 0 for one that this fleet's release key did not sign."""
    try:
        envelope = decode(Envelope, wire)
        if envelope.payloadType == RELEASE_TYPE:
            verify(envelope, root.roles["release"], root.keys)
            return envelope.open(ReleaseManifest).sequence
    except (ContractError, GateNotMet) as error:
        _log.warning("a release on the broker is not ours: %s", error)
    return 0


def _build(
    bundle: Bundle, blobs: dict[str, Blob], order: Order, targets: Targets, sequence: int
) -> ReleaseManifest:
    now_s = time.time()
    rollout_id = build_ulid(now_s, os.urandom(_ULID_RANDOM_BYTES)).lower()
    return build_release(
        bundle, blobs, ReleasePlan(order.channel, targets.pinned, sequence, rollout_id, now_s)
    )


def _retain(
    topics: Topics, blobs: dict[str, Blob], targets: Targets, release: ReleaseManifest, key: PrivateKey
) -> Retention:
    wire = encode(sign(release, [key]))
    if targets.pinned:
        release_topics = [topics.model_desired(name) for name in targets.pinned]
    else:
        release_topics = [topics.channel_desired(release.channel)]
    return Retention.build(topics, blobs.values(), release_topics, wire)


def as_json(result: Result) -> dict[str, Any]:
    """Return the shape that scripts rely on."""
    devices = [
        {
            "device": outcome.device,
            "phase": outcome.phase,
            "error": outcome.error and {"code": outcome.error.code, "message": outcome.error.message},
            "seconds": round(outcome.seconds, 3),
        }
        for outcome in result.outcomes
    ]
    return {
        "ok": not result.bad,
        "release": result.release,
        "version": result.version,
        "sequence": result.sequence,
        "devices": devices,
        "bytes_published": result.bytes_published,
        "model_bytes": result.model_bytes,
        "chunks": result.chunks,
    }
