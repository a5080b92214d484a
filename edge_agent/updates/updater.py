"""How a release gets in: order, download, check, try in a child, switch, watch, commit. Or nothing changes.

downloading -> verifying -> testing -> trial -> active; failed and rolled_back say why. Every step is told on
`model/reported`; what must survive a power cut is in `slots` before the step is taken.
"""

import contextlib
import hashlib
import logging
import os
import random
from dataclasses import replace
from pathlib import Path
from typing import Callable, Optional

from contract.manifest import ReleaseManifest
from contract.messages import GoldenResult, Problem
from contract.stamps import parse_time
from contract.trust import Root
from edge_agent.clock import Clock
from edge_agent.config import AgentConfig
from edge_agent.errors import AgentError, ModelError, StorageError, TrustError
from edge_agent.events import MessageArrived, WorkerFailed, WorkerReady, WorkerTested
from edge_agent.files import explain
from edge_agent.inference.host import SHARED
from edge_agent.inference.predictor import Predictor, Serving
from edge_agent.inference.runnable_model import RunnableModel
from edge_agent.inference.workers import ModelFiles, Worker
from edge_agent.updates.downloader import Downloader
from edge_agent.updates.reporter import Reporter
from edge_agent.updates.runnable import choose_runnable
from edge_agent.updates.slots import Candidate, Slot, Slots
from edge_agent.updates.verify import Scope, Seen, VerifiedRelease, verify_release

_log = logging.getLogger(__name__)
_MAX_ATTEMPTS = 3
_RETRY_S = 10.0
_RETRY_WITHOUT_EDGETPU_S = 300.0
# Said of the candidate, but not its fault: it waits until the Edge TPU is there. An old runtime is its fault.
_NOT_THE_MODEL = (
    "edgetpu_absent",
    "edgetpu_dead",
    "edgetpu_library_missing",
    "edgetpu_no_driver",
    "edgetpu_no_right",
    "edgetpu_owned",
    "edgetpu_refused",
)

StartWorker = Callable[[ModelFiles], Worker]


class Updater:
    """The state machine of one device; driven by the agent's loop, one event at a time."""

    def __init__(
        self,
        config: AgentConfig,
        *,
        root: Root,
        slots: Slots,
        clock: Clock,
        downloader: Downloader,
        reporter: Reporter,
        predictor: Predictor,
        start_worker: StartWorker,
    ) -> None:
        self._config = config
        self._root = root
        self._slots = slots
        self._clock = clock
        self._downloader = downloader
        self._reporter = reporter
        self._predictor = predictor
        self._start_worker = start_worker
        self._has_own = False
        self._manifest: Optional[ReleaseManifest] = None
        self._runnable: Optional[RunnableModel] = None
        self._worker: Optional[Worker] = None
        self._ready: Optional[WorkerReady] = None
        self._before: Optional[Serving] = None
        self._start_at_s: Optional[float] = None
        self._soak_until_s: Optional[float] = None

    def resume(self) -> None:
        """Go on with what a restart interrupted; chunks that are on disk are not fetched again."""
        candidate = self._slots.state.candidate
        if candidate is not None:
            # It may have a time to wait for; one that is damaged is dealt with when it begins.
            with contextlib.suppress(StorageError):
                self._manifest = self._slots.release(candidate.release)
            self._start_at_s = self._clock.monotonic_s()

    def connected(self) -> None:
        """A new connection: it is heard again whether this device has a release of its own."""
        self._has_own = False
        self._downloader.reconnected()

    def desired(self, message: MessageArrived, is_own: bool) -> None:
        """Take a signed release. It is acknowledged when it is on disk, or refused for good.

        Args:
            message: the envelope; an empty one means that there is none any more.
            is_own: it came on this device's own topic, which overrides the channel's.
        """
        if is_own:
            self._has_own = bool(message.payload)
        if message.payload and (is_own or not self._has_own):
            try:
                self._accept(message.payload)
            except TrustError as error:
                _log.warning("release refused: %s: %s", error.code, error.message)
                self._reporter.refused(error.problem())
            except StorageError as error:
                _log.error("release not stored: %s", error.message)
                self._reporter.refused(error.problem())
                return
        message.acknowledge()

    def chunk(self, message: MessageArrived) -> None:
        """Take an index or a chunk; a foreign one is left."""
        self._guarded(lambda: self._downloader.take(message))
        self._after_download()

    def unreadable(self, topic: str) -> None:
        """The broker does not let us read a topic; if a chunk is meant, the release cannot come."""
        self._guarded(lambda: self._downloader.refused(topic))

    def ready(self, event: WorkerReady) -> bool:
        """The candidate's worker has loaded it. False if it is not ours."""
        if not self._is_candidate(event.worker):
            return False
        self._ready = event
        self._guarded(self._test)
        return True

    def tested(self, event: WorkerTested) -> None:
        """The candidate has run its golden samples."""
        if self._is_candidate(event.worker):
            self._guarded(lambda: self._judge(event.result))

    def failed(self, event: WorkerFailed) -> bool:
        """A worker is gone. True if it was the candidate's: that is refused, or rolled back if it served.

        If the Edge TPU or another model on it is to blame, the candidate is tried again later.
        """
        if self._before is not None and self._before.worker.number == event.worker:
            self._before = None
        if not self._is_candidate(event.worker):
            return False
        self._worker = None
        if event.problem.code == SHARED:
            self._put_off(event.problem, _RETRY_S)
        elif event.problem.code in _NOT_THE_MODEL:
            self._guarded(self._uncount_attempt)
            self._put_off(event.problem, _RETRY_WITHOUT_EDGETPU_S)
        else:
            self._fail(event.problem)
        return True

    def tick(self) -> None:
        """Do what time demands: begin, ask again, end the soak."""
        now_s = self._clock.monotonic_s()
        if self._start_at_s is not None and now_s >= self._start_at_s and self._is_due():
            self._start_at_s = None
            self._guarded(self._begin)
        if self._soak_until_s is not None and now_s >= self._soak_until_s:
            # If the disk refuses, the trial goes on and is committed later.
            self._soak_until_s = now_s + _RETRY_S
            self._guarded(self._commit)
        self._downloader.tick()

    def _accept(self, envelope: bytes) -> None:
        release = verify_release(envelope, self._root, self._scope(), self._seen(), self._clock.now_s())
        state = self._slots.state
        known = (
            state.active.release if state.active else "",
            state.candidate.release if state.candidate else "",
        )
        if release.digest in known:
            self._reporter.send()
            return
        refusal = self._slots.refusal(release.digest)
        if refusal is not None:
            self._reporter.refused(refusal)
            return
        self._drop_candidate()
        self._slots.keep_release(release.digest, envelope)
        mine = _is_in_percent(release.manifest, self._config.device)
        self._slots.save(
            replace(
                state,
                candidate=Candidate(release.digest) if mine else None,
                sequence_high=release.manifest.sequence,
                release_high=release.digest,
                time_floor_s=max(state.time_floor_s, parse_time(release.manifest.issued)),
            )
        )
        if mine:
            self._manifest = release.manifest
            self._start_at_s = self._clock.monotonic_s() + _jitter_s(release, self._config.device)
            self.tick()

    def _begin(self) -> None:
        candidate = self._slots.state.candidate
        if candidate is None or self._worker is not None:
            return
        try:
            self._manifest = manifest = self._slots.release(candidate.release)
        except StorageError:
            # The broker still holds it, and it is let in again: same sequence, same bytes.
            self._slots.forget_candidate()
            raise
        if candidate.attempts >= _MAX_ATTEMPTS:
            raise ModelError("too_many_attempts", f"given up after {candidate.attempts} attempts")
        self._require_space(manifest)
        self._reporter.begin(manifest)
        self._downloader.begin(manifest)
        self._after_download()

    def _after_download(self) -> None:
        if self._downloader.is_complete and self._worker is None and self._manifest is not None:
            self._guarded(self._load)

    def _load(self) -> None:
        self._downloader.end()
        self._reporter.phase("verifying")
        self._runnable = choose_runnable(self._slots, self._require_manifest(), self._config.edgetpu)
        candidate = self._slots.state.candidate
        if candidate is not None:
            # Counted before it is tried: a model that takes the whole board down must not be tried for ever.
            self._slots.save(
                replace(self._slots.state, candidate=replace(candidate, attempts=candidate.attempts + 1))
            )
        self._worker = self._start_worker(self._runnable.files)

    def _test(self) -> None:
        manifest, ready = self._require_manifest(), self._ready
        if ready is None or self._worker is None:
            return
        wanted = tuple((spec.shape, spec.dtype) for spec in manifest.model.inputs + manifest.model.outputs)
        found = tuple((spec.shape, spec.dtype) for spec in ready.inputs + ready.outputs)
        if wanted != found:
            raise ModelError("signature_mismatch", f"model takes and gives {found}, not {wanted}")
        self._reporter.phase("testing")
        self._worker.test(self._slots.blob_path(manifest.blobs["golden"]), manifest.selftest.timeout_s)

    def _judge(self, result: GoldenResult) -> None:
        self._reporter.golden = result
        gates = self._require_manifest().selftest
        for good, what in (
            (result.top1_agreement >= gates.min_top1, f"top-1 agreement {result.top1_agreement}"),
            (result.max_lsb <= gates.max_lsb, f"largest difference {result.max_lsb} LSB"),
            (result.p95_ms <= gates.p95_ms, f"p95 latency {result.p95_ms} ms"),
        ):
            if not good:
                raise ModelError("selftest", f"golden samples: {what} is beyond the gate")
        self._switch()

    def _switch(self) -> None:
        manifest = self._require_manifest()
        assert self._worker is not None and self._ready is not None and self._runnable is not None
        self._reporter.phase("trial")
        self._before = self._predictor.switch(Serving(self._worker, self._ready, self._runnable))
        self._soak_until_s = self._clock.monotonic_s() + manifest.rollout.soak_s
        self.tick()

    def _commit(self) -> None:
        state, manifest = self._slots.state, self._require_manifest()
        if state.candidate is None:
            return
        self._slots.save(
            replace(
                state,
                active=Slot(state.candidate.release, self._clock.stamp()),
                last_known_good=state.active,
                candidate=None,
                security_floor=max(state.security_floor, manifest.model.security_floor),
            )
        )
        if self._before is not None:
            self._predictor.retire(self._before.worker)
        self._worker = self._ready = self._before = self._manifest = self._soak_until_s = None
        self._slots.collect_garbage()
        self._reporter.phase("active")

    def _drop_candidate(self) -> None:
        """Stop what is under way; files stay, a release that follows may share them."""
        self._downloader.end()
        if self._is_on_trial():
            self._serve_as_before()
        if self._worker is not None:
            self._predictor.retire(self._worker)
        self._worker = self._ready = self._before = self._manifest = None
        self._start_at_s = self._soak_until_s = None

    def _serve_as_before(self) -> None:
        if self._before is not None or self._slots.state.active is None:
            self._predictor.switch(self._before)
        elif self._predictor.serving is not None:
            # The one before is gone too; the resident starts it again.
            self._predictor.suspend()

    def _is_on_trial(self) -> bool:
        return self._soak_until_s is not None

    def _fail(self, problem: Problem) -> None:
        _log.error("release failed: %s: %s", problem.code, problem.message)
        was_serving = self._is_on_trial()
        self._drop_candidate()
        self._reporter.error = problem
        try:
            self._slots.forget_candidate(problem)
            self._slots.collect_garbage()
        except AgentError as error:
            _log.error("cannot clean up: %s", error)
        self._reporter.phase("rolled_back" if was_serving else "failed")

    def _put_off(self, problem: Problem, pause_s: float) -> None:
        self._drop_candidate()
        self._try_later(problem, pause_s)

    def _uncount_attempt(self) -> None:
        candidate = self._slots.state.candidate
        if candidate is not None:
            fewer = replace(candidate, attempts=max(0, candidate.attempts - 1))
            self._slots.save(replace(self._slots.state, candidate=fewer))

    def _try_later(self, problem: Problem, pause_s: float = _RETRY_S) -> None:
        _log.warning("release delayed: %s: %s", problem.code, problem.message)
        self._downloader.end()
        self._reporter.error = problem
        self._reporter.send()
        self._start_at_s = self._clock.monotonic_s() + pause_s * random.uniform(0.5, 1.5)

    def _guarded(self, step: Callable[[], object]) -> None:
        """Take a step. What the disk refuses is tried later, whatever else goes wrong ends the release."""
        try:
            step()
        except StorageError as error:
            self._try_later(error.problem())
        except AgentError as error:
            self._fail(error.problem())

    def _require_space(self, manifest: ReleaseManifest) -> None:
        if manifest.total_bytes > self._config.update.max_release_bytes:
            raise ModelError("too_large", f"release has {manifest.total_bytes} bytes")
        try:
            disk = os.statvfs(self._config.state_dir)
        except OSError as error:
            raise explain(error, Path(self._config.state_dir)) from error
        free_bytes = disk.f_bavail * disk.f_frsize
        needed_bytes = 2 * manifest.total_bytes + self._config.update.reserve_bytes
        if free_bytes < needed_bytes:
            raise StorageError(
                "disk_full",
                f"{self._config.state_dir} has {free_bytes} bytes free, {needed_bytes} needed",
                "free some space on the board",
            )

    def _is_due(self) -> bool:
        not_before = self._manifest.rollout.not_before if self._manifest else None
        if not_before is None or not self._clock.is_synced():
            return True
        return self._clock.now_s() >= parse_time(not_before)

    def _is_candidate(self, worker: int) -> bool:
        return self._worker is not None and self._worker.number == worker

    def _require_manifest(self) -> ReleaseManifest:
        assert self._manifest is not None, "a step of a release without a release"
        return self._manifest

    def _scope(self) -> Scope:
        return Scope(self._config.device, self._config.channel, self._config.hardware)

    def _seen(self) -> Seen:
        state = self._slots.state
        return Seen(state.sequence_high, state.release_high, state.security_floor, state.time_floor_s)


def _share(salt: str, device: str) -> float:
    """Return where a device stands between 0 and 1; evenly spread, other for every salt."""
    digest = hashlib.sha256(f"{salt}\0{device}".encode()).digest()
    return int.from_bytes(digest[:4], "big") / 2**32


def _is_in_percent(manifest: ReleaseManifest, device: str) -> bool:
    return _share(manifest.rollout.salt, device) * 100 < manifest.rollout.percent


def _jitter_s(release: VerifiedRelease, device: str) -> float:
    return _share(release.digest, device) * release.manifest.rollout.spread_s
