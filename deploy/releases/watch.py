"""Follows a published release on its devices until it ended; meanwhile the keeper mends what they miss."""

import time
from collections.abc import Iterable

from deploy.fleets.fleet import Device, Fleet, Outcome, Wanted, give_up, judge
from deploy.releases.keeper import Keeper, Say, listen
from host_mqtt.link import Link


class Watch:
    """Follows a release on its devices."""

    def __init__(self, link: Link, fleet: Fleet, keeper: Keeper, wanted: Wanted, say: Say) -> None:
        self._link, self._fleet, self._keeper = link, fleet, keeper
        self._wanted, self._say = wanted, say
        self._before = {device.name: device.report for device in fleet.known()}
        self._started_s = time.monotonic()

    def wait_for(self, names: Iterable[str], timeout_s: float) -> list[Outcome]:
        """Wait until the release ended on every device, at most for `timeout_s`."""
        waiting = dict.fromkeys(names)
        outcomes: dict[str, Outcome] = {}
        while len(outcomes) < len(waiting) and self._elapsed_s() < timeout_s:
            changed = listen(self._link, self._keeper, self._fleet)
            if changed in waiting and changed not in outcomes:
                outcome = self._judge(self._fleet.get(changed))
                self._tell(self._fleet.get(changed))
                if outcome is not None:
                    outcomes[changed] = outcome
        late_s = self._elapsed_s()
        return [
            outcomes.get(name) or give_up(self._fleet.get(name), self._wanted, late_s) for name in waiting
        ]

    def _judge(self, device: Device) -> Outcome | None:
        return judge(device, self._wanted, self._elapsed_s(), self._before.get(device.name))

    def _tell(self, device: Device) -> None:
        report = device.report
        if report is not None and report.sequence == self._wanted.sequence:
            self._say(f"{device.name}: {report.phase} {report.progress_pct} %")

    def _elapsed_s(self) -> float:
        return time.monotonic() - self._started_s
