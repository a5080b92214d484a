"""The story of an unpin: devices with a release of their own follow their channel again."""

from dataclasses import dataclass
from pathlib import Path

from contract.codec import decode
from contract.envelope import Envelope
from contract.manifest import ReleaseManifest
from contract.topics import DEFAULT_BASE
from deploy.releases.keeper import Say
from deploy.releases.push import find_targets
from deploy.releases.sending import Result, Sender, open_sender
from deploy.releases.targets import Targets
from host_cli.errors import WrongUsage
from host_mqtt.address import Address


@dataclass(frozen=True)
class Order:
    """What the operator asked for: `names`, or everybody with `tag`."""

    fleet: Path
    broker: Address
    names: tuple[str, ...] = ()
    tag: str | None = None
    channel: str = "stable"
    base: str = DEFAULT_BASE
    wait: bool = True
    timeout_s: float = 300.0


def unpin(order: Order, now_s: float, say: Say) -> Result | None:
    """Take the releases of their own from devices, and sign the channel's anew: theirs was higher.

    Returns:
        What came of it; None when the channel has no release, so that they keep what they run.

    Raises:
        WrongUsage: none has a release of its own, or a rollout of the channel is not finished.
        Unreachable: the broker or every target is not there.
    """
    with open_sender(order.fleet, order.broker, order.base, order.channel, say) as sender:
        targets = find_targets(sender.fleet, order.names, order.tag, order.channel, order.wait)
        sender.desk.require_no_rollout(order.channel)
        freed = tuple(name for name in targets.pinned if _has_own(sender, name))
        for name in sorted({*targets.pinned} - {*freed}):
            say(f"{name} has no release of its own")
        for remark in targets.remarks:
            say(remark)
        if not freed:
            raise WrongUsage("nobody has a release of its own", "deploy unpin", "deploy history shows them")
        release = _channel_release(sender, order.channel)
        if release is None:
            sequence = max([*sender.seen(freed), sender.desk.ledger.last_sequence()])
            sender.desk.free(freed, sequence, now_s)
            sender.publish_freed(freed)
            return None
        back = Targets((), freed, targets.unknown, freed=freed)
        return sender.send(release, back, order.timeout_s if order.wait else None)


def _has_own(sender: Sender, name: str) -> bool:
    """Whether the broker retains a release for a device alone, or has lost one that is wanted."""
    wanted = sender.desk.ledger.wanted_on(sender.desk.topics.model_desired(name))
    return sender.fleet.get(name).desired is not None or (wanted is not None and wanted.payload != b"")


def _channel_release(sender: Sender, channel: str) -> ReleaseManifest | None:
    """Return what the channel has: what the ledger wants there, or a newer one from elsewhere."""
    wanted = sender.desk.ledger.wanted_on(sender.desk.topics.channel_desired(channel))
    found = sender.desk.read_release(sender.fleet.channel_release or b"")
    if wanted is None or (found is not None and found.sequence > wanted.sequence):
        return found
    return decode(Envelope, wanted.payload).open(ReleaseManifest) if wanted.payload else None
