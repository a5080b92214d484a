"""Tells the fleet where a release stands: the retained ModelReport, and nothing too often."""

from typing import Optional

from contract.codec import encode
from contract.manifest import ReleaseManifest
from contract.messages import GoldenResult, InstalledModel, ModelReport, Problem, TrustState
from contract.stamps import parse_time
from contract.topics import Topics
from contract.trust import Root
from edge_agent.clock import Clock
from edge_agent.config import AgentConfig
from edge_agent.errors import StorageError
from edge_agent.link import Link
from edge_agent.updates.slots import Slot, Slots

_PROGRESS_EVERY_S = 1.0


class Reporter:
    """What this device says about releases.

    Attributes:
        golden: how the last golden samples went.
        error: why the last release was refused, until one is begun.
    """

    def __init__(
        self, config: AgentConfig, *, root: Root, slots: Slots, link: Link, clock: Clock, name: str = ""
    ) -> None:
        """Prepare; `name` is the model's on this device, "" for the main one."""
        self._topic = Topics(config.mqtt.base).model_reported(config.device, name)
        self._root = root
        self._slots = slots
        self._link = link
        self._clock = clock
        self._phase = "active" if slots.state.active else "idle"
        self._manifest: Optional[ReleaseManifest] = None
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

    def refused(self, problem: Problem) -> None:
        """An order was refused; what runs, or is on its way in, goes on."""
        self.error = problem
        if self._phase in ("idle", "active"):
            self._phase = "failed"
        self.send()

    def check_expiry(self) -> bool:
        """Say whether the release that runs has expired; the fleet is told when that changes."""
        is_stale = self._has_expired()
        if is_stale != self._is_stale:
            self._is_stale = is_stale
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
            trust=TrustState(self._root.version, state.sequence_high, state.security_floor),
            stale=self._is_stale,
            clock_synced=self._clock.is_synced(),
        )

    def _has_expired(self) -> bool:
        state = self._slots.state
        if state.active is None:
            return False
        if state.active.release != self._expiry[0]:
            try:
                expires_s = parse_time(self._slots.release(state.active.release).expires)
            except StorageError:
                return False
            self._expiry = (state.active.release, expires_s)
        return self._expiry[1] < max(self._clock.now_s(), state.time_floor_s)

    def _installed(self, slot: Optional[Slot]) -> Optional[InstalledModel]:
        if slot is None:
            return None
        try:
            manifest = self._slots.release(slot.release)
        except StorageError:
            return None
        return InstalledModel(
            manifest.model.name, manifest.model.version, manifest.blobs["model"].sha256, slot.since
        )
