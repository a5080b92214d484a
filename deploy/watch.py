"""Follows a published release on its devices until it ended, and mends what they miss."""

import logging
import time
from collections.abc import Callable, Iterable

from contract.codec import decode
from contract.errors import ContractError
from contract.messages import ChunkNeed
from deploy.fleet import Device, Fleet, Outcome, Wanted, give_up, judge
from deploy.link import Link, Message
from deploy.publisher import Needs, Retention, publish_facts

NEED = "model/need"
POLL_S = 0.1
_log = logging.getLogger(__name__)

Say = Callable[[str], None]


class Watch:
    """Follows a release on its devices and mends what they miss."""

    def __init__(self, link: Link, fleet: Fleet, retention: Retention, wanted: Wanted, say: Say) -> None:
        self._link, self._fleet, self._retention = link, fleet, retention
        self._wanted, self._say = wanted, say
        self._before = {device.name: device.report for device in fleet.known()}
        self._needs = Needs()
        self._started_s = time.monotonic()
        self.mended_bytes = 0

    def wait_for(self, names: Iterable[str], timeout_s: float) -> list[Outcome]:
        """Wait until the release ended on every device, at most for `timeout_s`."""
        waiting = dict.fromkeys(names)
        outcomes: dict[str, Outcome] = {}
        while len(outcomes) < len(waiting) and self._elapsed_s() < timeout_s:
            changed = self._listen()
            if changed in waiting and changed not in outcomes:
                outcome = self._judge(self._fleet.get(changed))
                self._tell(self._fleet.get(changed))
                if outcome is not None:
                    outcomes[changed] = outcome
            self._mend()
        late_s = self._elapsed_s()
        return [
            outcomes.get(name) or give_up(self._fleet.get(name), self._wanted, late_s) for name in waiting
        ]

    def _judge(self, device: Device) -> Outcome | None:
        return judge(device, self._wanted, self._elapsed_s(), self._before.get(device.name))

    def _listen(self) -> str | None:
        message = self._link.receive(POLL_S)
        if message is None:
            return None
        if message.topic.endswith("/" + NEED):
            self._note_need(message)
            return None
        return self._fleet.observe(message.topic, message.payload, message.retained)

    def _note_need(self, message: Message) -> None:
        try:
            self._needs.ask(decode(ChunkNeed, message.payload), time.monotonic())
        except ContractError as error:
            _log.warning("ignored a request on %s: %s", message.topic, error)

    def _mend(self) -> None:
        pieces = self._needs.take_due(time.monotonic())
        if pieces:
            self.mended_bytes += publish_facts(self._link, self._retention.mend(pieces))
            self._say(f"published {len(pieces)} missing pieces again")

    def _tell(self, device: Device) -> None:
        report = device.report
        if report is not None and report.sequence == self._wanted.sequence:
            self._say(f"{device.name}: {report.phase} {report.progress_pct} %")

    def _elapsed_s(self) -> float:
        return time.monotonic() - self._started_s
