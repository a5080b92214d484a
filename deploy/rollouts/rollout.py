"""The stories of a rollout: start one, go on with it, pause it, end it, list all."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from contract.manifest import ReleaseManifest
from contract.stamps import format_time
from contract.topics import DEFAULT_BASE
from deploy.fleets.fleet import Fleet
from deploy.releases.bundle import load_bundle
from deploy.releases.desk import new_rollout_id
from deploy.releases.keeper import Say
from deploy.releases.ledger import ABORTING, PAUSED, RUNNING, Ledger
from deploy.releases.publisher import require_room
from deploy.releases.release import ReleasePlan, build_release, cut_blobs
from deploy.releases.sending import Sender, open_sender
from deploy.rollouts.controller import Controller
from deploy.rollouts.controller_lock import is_controlled, only_controller
from deploy.rollouts.rollout_book import Counted, Rollout, RolloutBook
from deploy.rollouts.rollout_rules import Plan, Tally
from deploy.rollouts.stages import count_all, members
from host_cli.errors import Unreachable, WrongUsage
from host_mqtt.address import Address
from host_mqtt.link import TOPIC_ROOM_BYTES

OBEY_S = 10.0
_POLL_S = 0.1
_LIST = "deploy rollout list shows the ids"


@dataclass(frozen=True)
class Order:
    """What the operator asked for."""

    bundle: Path
    fleet: Path
    broker: Address
    plan: Plan = field(default_factory=Plan)
    channel: str = "stable"
    base: str = DEFAULT_BASE
    wait: bool = True
    dry_run: bool = False


@dataclass(frozen=True)
class Ended:
    """How a rollout stands when its controller ends, and where its release does not run."""

    rollout: Rollout
    tally: Tally
    unfinished: tuple[Counted, ...] = ()


@dataclass(frozen=True)
class Forecast:
    """What a rollout would do: how many devices each stage would have, if everything stays as it is."""

    version: str
    stages: tuple[tuple[str, int], ...]


def start(order: Order, say: Say) -> Ended | Forecast:
    """Bring a bundle to a channel in stages, until it ended; without waiting, until stage 1 is published.

    Raises:
        WrongUsage: the bundle, the keys or a canary cannot be used, or another rollout is not finished.
        GateNotMet: the bundle was changed, or the broker does not take it; nothing was published.
        Unreachable: the broker is not there, or nobody follows the channel.
    """
    bundle = load_bundle(order.bundle)
    with (
        open_sender(order.fleet, order.broker, order.base, order.channel, say) as sender,
        only_controller(order.fleet),
    ):
        now_s = time.time()
        identity = new_rollout_id(now_s)
        blobs = cut_blobs(bundle, None, max(1, sender.link.max_packet_bytes - TOPIC_ROOM_BYTES))
        template = build_release(bundle, blobs, ReleasePlan(order.channel, (), 1, identity, now_s))
        rollout = _new_rollout(order, identity, template, sender, now_s)
        _require_fit(rollout, sender.fleet)
        if order.dry_run:
            rings = [(str(one), len(members(sender.fleet, rollout, one))) for one in order.plan.stages]
            return Forecast(template.model.version, tuple(rings))
        sender.desk.require_no_rollout(order.channel)
        sender.desk.keep(blobs.values())
        require_room(sender.link, sender.desk.sign(template, [rollout.topic]))
        with sender.desk.ledger.step():
            RolloutBook(sender.desk.ledger).add(rollout)
            about = f"{identity}: {template.model.name} {template.model.version} to {order.channel}"
            sender.desk.ledger.note("rollout", about, now_s)
        say(f"rollout {identity}: {template.model.name} {template.model.version}")
        return _control(sender, identity, order.wait)


def resume(fleet: Path, broker: Address, identity: str, say: Say) -> Ended:
    """Let a paused rollout go on, and take over its control if no controller runs.

    Raises:
        WrongUsage: there is no such rollout, it has ended, or a controller runs it already.
        Unreachable: the broker is not there.
    """
    with Ledger(fleet) as ledger:
        rollout = _find(ledger, identity)
        was_paused = RolloutBook(ledger).resume(identity, time.time())
        if was_paused:
            ledger.note("resumed", identity, time.time())
        if was_paused and is_controlled(fleet):
            say("its controller goes on")
            return _stand(ledger, identity)
    return _take_over(fleet, broker, rollout, say)


def pause(fleet: Path, identity: str) -> Ended:
    """Stop a rollout where it is; its controller obeys within a second.

    Raises:
        WrongUsage: there is no such rollout, or it does not run.
    """
    with Ledger(fleet) as ledger:
        rollout = _find(ledger, identity)
        if not RolloutBook(ledger).pause(identity, time.time()):
            raise WrongUsage(f"rollout {identity} is {rollout.state}", "deploy rollout pause", _LIST)
        ledger.note("paused", identity, time.time())
        return _stand(ledger, identity)


def abort(fleet: Path, broker: Address, identity: str, say: Say) -> Ended:
    """End a rollout and point its channel back; by its controller if one runs, else from here.

    Raises:
        WrongUsage: there is no such rollout, or it has ended.
        Unreachable: the broker is not there, or the controller does not obey.
    """
    with Ledger(fleet) as ledger:
        rollout = _find(ledger, identity)
        reason = f"aborted by {ledger.who}"
        if RolloutBook(ledger).change(identity, [RUNNING, PAUSED], ABORTING, reason):
            ledger.note("abort", identity, time.time())
        deadline_s = time.monotonic() + OBEY_S
        while is_controlled(fleet) and time.monotonic() < deadline_s:
            time.sleep(_POLL_S)
        ended = _stand(ledger, identity)
    return ended if not ended.rollout.is_unfinished else _take_over(fleet, broker, rollout, say)


def list_all(fleet: Path) -> list[Ended]:
    """Return every rollout, newest first."""
    with Ledger(fleet) as ledger:
        return [_stand(ledger, one.id) for one in RolloutBook(ledger).all()]


def _take_over(fleet: Path, broker: Address, rollout: Rollout, say: Say) -> Ended:
    with (
        open_sender(fleet, broker, rollout.base, rollout.channel, say) as sender,
        only_controller(fleet),
    ):
        return _control(sender, rollout.id, True)


def _control(sender: Sender, identity: str, wait: bool) -> Ended:
    book = RolloutBook(sender.desk.ledger)

    def is_published(rollout: Rollout) -> bool:
        page = book.stage(identity, rollout.stage)
        return not wait and page is not None and page.published_s is not None

    try:
        Controller(sender, identity).run(is_published)
    except BaseException:
        # Ctrl-C, or a broker that is gone: everything is in the ledger.
        sender.say(f"go on with: deploy rollout resume {identity}")
        raise
    return _stand(sender.desk.ledger, identity)


def _stand(ledger: Ledger, identity: str) -> Ended:
    rollout = _find_any(ledger, identity)
    counted = RolloutBook(ledger).counted(identity, rollout.stage)
    return Ended(rollout, count_all(counted), tuple(one for one in counted if not one.is_good))


def _find(ledger: Ledger, identity: str) -> Rollout:
    rollout = _find_any(ledger, identity)
    if not rollout.is_unfinished:
        raise WrongUsage(f"rollout {identity} is {rollout.state}: {rollout.reason or 'ended'}", "ID", _LIST)
    return rollout


def _find_any(ledger: Ledger, identity: str) -> Rollout:
    rollout = RolloutBook(ledger).get(identity)
    if rollout is None:
        raise WrongUsage(f"no rollout {identity}", str(ledger.path), _LIST)
    return rollout


def _new_rollout(
    order: Order, identity: str, template: ReleaseManifest, sender: Sender, now_s: float
) -> Rollout:
    """Return it as it begins; what the channel has now is what an abort goes back to."""
    found = sender.fleet.channel_release or b""
    previous = found if sender.desk.read_release(found) is not None else b""
    return Rollout(identity, order.base, order.channel, order.plan, template, previous, RUNNING, 1, now_s)


def _require_fit(rollout: Rollout, fleet: Fleet) -> None:
    """Check that somebody follows the channel, and that every canary takes part."""
    everybody = members(fleet, rollout, rollout.plan.stages[-1])
    if not everybody:
        what = f"no free device of channel {rollout.channel} was ever heard of"
        raise Unreachable(what, "--channel", "start a board, or publish for later: deploy push --no-wait")
    missing = sorted(set(rollout.plan.canary) - set(everybody))
    if missing:
        what = f"no free device of channel {rollout.channel}: {', '.join(missing)}"
        raise WrongUsage(what, "--canary", "deploy status shows the names")


def as_json(ended: Ended) -> dict[str, Any]:
    """Return the shape that scripts rely on."""
    rollout, tally = ended.rollout, ended.tally
    return {
        "ok": rollout.state == "done" and not ended.unfinished,
        "rollout": rollout.id,
        "channel": rollout.channel,
        "model": rollout.template.model.name,
        "version": rollout.template.model.version,
        "state": rollout.state,
        "reason": rollout.reason,
        "started": format_time(rollout.started_s),
        "stages": [str(stage) for stage in rollout.plan.stages],
        "stage": rollout.stage,
        "devices": tally.devices,
        "good": tally.good,
        "failed": tally.failed,
        "unfinished": [
            {"device": one.device, "phase": one.phase, "error": one.problem and one.problem.code}
            for one in ended.unfinished
        ],
    }
