"""What a stage of a rollout is: its release, its devices, its counts, and what dashboards are told. Pure."""

from collections.abc import Iterable
from dataclasses import replace

from contract.manifest import ReleaseManifest
from contract.manifest import Rollout as Share
from contract.rings import is_in_percent
from contract.rollout import RolloutProgress
from contract.stamps import format_time
from deploy.fleets.fleet import Fleet
from deploy.rollouts.rollout_book import Counted, Rollout
from deploy.rollouts.rollout_rules import Stage, Tally


def staged(rollout: Rollout, stage: Stage) -> ReleaseManifest:
    """Return the release of a stage; who it is for is signed with it."""
    share = Share(rollout.id, stage.percent, rollout.id, soak_s=rollout.plan.trial_s)
    return replace(rollout.template, devices=stage.devices, rollout=share)


def members(fleet: Fleet, rollout: Rollout, stage: Stage) -> list[str]:
    """Return the devices that a stage is for, also those that are offline, by name.

    A device with a release of its own does not take part.
    """
    free = [one.name for one in fleet.on_channel(rollout.channel) if not one.is_pinned(rollout.channel)]
    if stage.devices:
        return [name for name in free if name in stage.devices]
    return [name for name in free if is_in_percent(rollout.id, stage.percent, name)]


def count_all(counted: Iterable[Counted]) -> Tally:
    """Return how many devices a stage has, and how it went on them."""
    found = list(counted)
    return Tally(len(found), sum(one.is_good for one in found), sum(one.is_failed for one in found))


def progress_of(rollout: Rollout, tally: Tally) -> RolloutProgress:
    """Return what dashboards are told, with a time that somebody else fills in."""
    return RolloutProgress(
        ts=format_time(0.0),
        rollout=rollout.id,
        channel=rollout.channel,
        model=rollout.template.model.name,
        version=rollout.template.model.version,
        state=rollout.state,
        stages=tuple(str(stage) for stage in rollout.plan.stages),
        stage=rollout.stage,
        devices=tally.devices,
        good=tally.good,
        failed=tally.failed,
        reason=rollout.reason,
    )
