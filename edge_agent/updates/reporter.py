"""Tells the fleet where a release stands: the retained ModelReport, and nothing too often."""

import contextlib
import logging
from typing import Iterator, Optional

from contract.codec import encode
from contract.manifest import ReleaseManifest
from contract.messages import GoldenResult, InstalledModel, ModelReport, Problem, TrustState
from contract.stamps import parse_time
from contract.topics import Topics
from edge_agent.clock import Clock
from edge_agent.config import AgentConfig
from edge_agent.errors import StorageError
from edge_agent.link import Link
from edge_agent.updates.slot_state import Slot
from edge_agent.updates.slots import Slots
from edge_agent.updates.trust import Trust

_log = logging.getLogger(__name__)
_PROGRESS_EVERY_S = 1.0
_UNDER_WAY = ("downloading", "verifying", "testing", "trial")


class Reporter:
    """What this device says about releases.

    Attributes:
        golden: how the last golden samples went.
        error: why the last release was refused, until one is begun.
    """

    def __init__(
        self,
        config: AgentConfig,
        *,
        trust: Trust,
        slots: Slots,
        link: Link,
        clock: Clock,
        boot: str,
        numbers: Iterator[int],
        name: str = "",
    ) -> None:
        """Prepare.

        Args:
            config: who this device is.
            trust: what it believes.
            slots: what is installed.
            link: the way to the broker.
            clock: the time.
            boot: the id of this start of the agent.
            numbers: gives each report of this boot, of any model, its own.
            name: the model's on this device, "" for the main one.
        """
        self._topic = Topics(config.mqtt.base).model_reported(config.device, name)
        self._trust = trust
        self._slots = slots
        self._link = link
        self._clock = clock
        self._boot = boot
        self._numbers = numbers
        self._phase = "active" if slots.state.active else "idle"
        self._manifest = self._read(slots.state.active)
        self._progress_pct = 0
        self._sent_s = 0.0
        self._is_stale = False
        self._expiry = ("", 0.0)
        self.golden: Optional[GoldenResult] = None
        self.error: Optional[Problem] = None

    def begin(self, manifest: ReleaseManifest) -> None:
        """A release is being fetched."""
        self._manifest = manifest
        self._progress_pct = 0
        self.golden = self.error = None
        self.phase("downloading")

    def phase(self, phase: str) -> None:
        """A step has been taken."""
        self._phase = phase
        if phase not in ("idle", "downloading", "failed"):
            self._progress_pct = 100
        self.send()

    def progress(self, percent: int) -> None:
        """More has arrived."""
        self._progress_pct = percent
        if self._clock.monotonic_s() - self._sent_s >= _PROGRESS_EVERY_S:
            self.send()

    def arrived(self) -> None:
        """Everything has arrived; it waits."""
        self._progress_pct = 100
        self.send()

    def follows(self, manifest: ReleaseManifest) -> None:
        """What is on its way in goes on under another release."""
        self._manifest = manifest
        self.send()

    def superseded(self) -> None:
        """What was on its way in, if anything was, gave way to a release that waits for its time."""
        if self._phase in _UNDER_WAY:
            active = self._slots.state.active
            self._manifest = self._read(active)
            self.phase("active" if active else "idle")

    def adopted(self, manifest: ReleaseManifest) -> None:
        """What runs is now this release."""
        self._manifest = manifest
        self.error = None
        self.phase("active")

    def refused(self, problem: Problem, manifest: Optional[ReleaseManifest] = None) -> None:
        """An order was refused; what runs, or is on its way in, goes on.

        Args:
            problem: why.
            manifest: the release, None if nobody may be believed to have sent it: then no rollout counts it.
        """
        self.error = problem
        if manifest is not None or self._phase not in _UNDER_WAY:
            self._manifest = manifest
            self._phase = "failed"
        self.send()

    def delayed(self, problem: Problem) -> None:
        """What is on its way in does not get on; it is tried again."""
        self.error = problem
        self.phase("failed")

    def rolled_back(self, problem: Problem) -> None:
        """What ran gave way to what ran before."""
        self.error = problem
        self.phase("rolled_back")

    def check_expiry(self) -> bool:
        """Say whether the release that runs has expired, or newer word of the fleet is held back.

        The fleet is told when that changes.
        """
        now_s = max(self._clock.now_s(), self._slots.state.time_floor_s)
        is_stale = self._has_expired(now_s) or self._trust.is_stale(now_s)
        if is_stale != self._is_stale:
            self._is_stale = is_stale
            # Also here: whoever holds things back may hold the report back too.
            _log.warning(
                "the release, or what is known of newer ones, %s", "has expired" if is_stale else "is fresh"
            )
            self.send()
        return is_stale

    def send(self) -> None:
        """Publish the report as it is now; while offline it waits for the next connection."""
        self._sent_s = self._clock.monotonic_s()
        self._link.publish(self._topic, encode(self._report()), retain=True)

    def _report(self) -> ModelReport:
        state, manifest = self._slots.state, self._manifest
        return ModelReport(
            ts=self._clock.stamp(),
            phase=self._phase,
            progress_pct=self._progress_pct,
            release=manifest.model.version if manifest else None,
            sequence=manifest.sequence if manifest else None,
            current=self._installed(state.active),
            last_known_good=self._installed(state.last_known_good),
            error=self.error,
            golden=self.golden,
            trust=TrustState(self._trust.root.version, state.sequence_high, state.security_floor),
            stale=self._is_stale,
            rollout=manifest.rollout.id if manifest else None,
            boot=self._boot,
            n=next(self._numbers),
            clock_synced=self._clock.is_synced(),
        )

    def _has_expired(self, now_s: float) -> bool:
        state = self._slots.state
        if state.active is None:
            return False
        if state.active.release != self._expiry[0]:
            try:
                expires_s = parse_time(self._slots.release(state.active.release).expires)
            except StorageError:
                return False
            self._expiry = (state.active.release, expires_s)
        return self._expiry[1] < now_s

    def _installed(self, slot: Optional[Slot]) -> Optional[InstalledModel]:
        manifest = self._read(slot)
        if slot is None or manifest is None:
            return None
        return InstalledModel(
            manifest.model.name, manifest.model.version, manifest.blobs["model"].sha256, slot.since
        )

    def _read(self, slot: Optional[Slot]) -> Optional[ReleaseManifest]:
        if slot is not None:
            with contextlib.suppress(StorageError):
                return self._slots.release(slot.release)
        return None
