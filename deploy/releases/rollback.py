"""The story of a roll back: an older release is signed anew under a higher sequence, and published."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from contract.manifest import ReleaseManifest, Rollout
from contract.topics import DEFAULT_BASE
from deploy.fleets.fleet import Device, Fleet
from deploy.releases.desk import new_rollout_id
from deploy.releases.keeper import Say
from deploy.releases.ledger import Issued
from deploy.releases.push import find_targets
from deploy.releases.sending import Result, Sender, open_sender
from deploy.releases.targets import Targets
from host_cli.errors import GateNotMet, WrongUsage
from host_mqtt.address import Address

_HISTORY = "deploy history shows what there was"


@dataclass(frozen=True)
class Order:
    """What the operator asked for: `to` a version, or None for what ran before."""

    fleet: Path
    broker: Address
    names: tuple[str, ...] = ()
    tag: str | None = None
    channel: str = "stable"
    to: str | None = None
    base: str = DEFAULT_BASE
    wait: bool = True
    timeout_s: float = 300.0


def roll_back(order: Order, now_s: float, say: Say) -> Result:
    """Bring devices, or a channel, back to an older release.

    Raises:
        WrongUsage: the version was never released here, or the devices run different ones.
        GateNotMet: there is nothing older.
        Unreachable: the broker or every target is not there.
    """
    with open_sender(order.fleet, order.broker, order.base, order.channel, say) as sender:
        targets = find_targets(sender.fleet, order.names, order.tag, order.channel, order.wait)
        for remark in targets.remarks:
            say(remark)
        history = [one for one in sender.desk.ledger.releases() if one.channel == order.channel]
        found = _before(history, sender, targets) if order.to is None else _with_version(history, order.to)
        say(f"back to {found.name} {found.version}, as in release {found.sequence}")
        release = replace(
            found.manifest, devices=targets.pinned, rollout=Rollout(new_rollout_id(now_s)), revoked=()
        )
        return sender.send(release, targets, order.timeout_s if order.wait else None)


def previous(history: Sequence[Issued], model_sha256: str) -> Issued | None:
    """Return the newest release from before the one with this model was first signed, oldest first given.

    A release that only pointed back to it does not count as its beginning, so a second roll back goes
    further back and never to what the first one left.
    """
    first = next((one.sequence for one in history if one.model_sha256 == model_sha256), None)
    older = [one for one in history if first is not None and one.sequence < first]
    return older[-1] if older else None


def _with_version(history: Sequence[Issued], version: str) -> Issued:
    found = [one for one in history if one.version == version]
    if not found:
        raise WrongUsage(f"version {version} was never released to this channel", "--to", _HISTORY)
    return found[-1]


def _before(history: Sequence[Issued], sender: Sender, targets: Targets) -> Issued:
    """Return what ran before on every target, which must be the same for all."""
    running = _running(sender, targets)
    found = {previous(history, model) for model in running}
    if len(found) > 1:
        raise WrongUsage("the devices run different models", "deploy rollback", "give --to VERSION")
    one = found.pop() if found else None
    if one is None:
        raise GateNotMet("nothing older was ever released to this channel", "deploy rollback", _HISTORY)
    return one


def _running(sender: Sender, targets: Targets) -> set[str]:
    """Return the models to come back from: those of named devices, else the one that the channel wants."""
    if targets.pinned:
        return _models(sender.fleet, targets.pinned)
    wanted = sender.fleet.channel_release
    release: ReleaseManifest | None = None if wanted is None else sender.desk.read_release(wanted)
    return set() if release is None else {release.blobs["model"].sha256}


def _models(fleet: Fleet, names: Sequence[str]) -> set[str]:
    devices: list[Device] = [fleet.get(name) for name in names]
    reports = [one.report for one in devices if one.report is not None]
    return {report.current.sha256 for report in reports if report.current is not None}
