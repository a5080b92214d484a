"""Counts the devices of one stage, each once, whatever order their reports come in. Pure."""

from collections.abc import Iterable
from dataclasses import replace

from contract.messages import UNDER_WAY, ModelReport
from deploy.fleets.fleet import Device, Wanted, judge
from deploy.rollouts.rollout_book import Counted
from deploy.rollouts.rollout_rules import Tally
from deploy.rollouts.stages import count_all


class StageCount:
    """What counts for each device of a stage; a device that is not of the stage never counts."""

    def __init__(self, wanted: Wanted, counted: Iterable[Counted]) -> None:
        self._wanted = wanted
        self._counted = {one.device: one for one in counted}
        self._busy: set[str] = set()
        self._before: dict[str, ModelReport | None] = {}

    def start(self, devices: Iterable[Device]) -> None:
        """Remember what devices had said before the stage: an old failure is not one of this stage."""
        self._before = {one.name: one.report for one in devices}

    @property
    def tally(self) -> Tally:
        """The counts as they stand."""
        return replace(count_all(self._counted.values()), busy=len(self._busy))

    @property
    def unfinished(self) -> list[Counted]:
        """Those on which the release does not run, by name."""
        return sorted((one for one in self._counted.values() if not one.is_good), key=lambda one: one.device)

    def observe(self, device: Device) -> Counted | None:
        """Take in the newest that a device said; return what counts now, or None if nothing changed."""
        known = self._counted.get(device.name)
        report = device.report
        if known is None or report is None:
            return None
        found = self._judge(known, device, report)
        self._note_busy(device, report, found)
        # The same end told again is not news: a device repeats it after every reconnection.
        if (found.phase, found.problem) == (known.phase, known.problem):
            return None
        self._counted[device.name] = found
        return found

    def _note_busy(self, device: Device, report: ModelReport, found: Counted) -> None:
        has_begun = report.sequence == self._wanted.sequence and report.phase in UNDER_WAY
        is_here = device.online is not False
        if has_begun and is_here and found.phase is None:
            self._busy.add(device.name)
        else:
            self._busy.discard(device.name)

    def _judge(self, known: Counted, device: Device, report: ModelReport) -> Counted:
        outcome = judge(device, self._wanted, 0.0, self._before.get(device.name))
        if outcome is not None:
            return Counted(device.name, outcome.phase, outcome.error, report.boot, report.n)
        if _is_reborn(known, device, report, self._wanted):
            return Counted(device.name)
        return known


def _is_reborn(known: Counted, device: Device, report: ModelReport, wanted: Wanted) -> bool:
    """Whether a device that had ended began anew: its disk was written afresh, for it has forgotten
    that it ever saw the release.
    """
    if known.phase is None or report.boot is None or report.boot == known.boot:
        return False
    is_current = device.info is None or device.info.boot == report.boot
    return is_current and report.trust.sequence_high < wanted.sequence
