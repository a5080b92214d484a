"""How a release gets in: order, download, check, try in a child, switch, watch, commit. Or nothing changes.

downloading -> verifying -> testing -> trial -> active; failed and rolled_back say why. Every step is told on
`model/reported`; what must survive a power cut is in `slots` before the step is taken.
"""

import contextlib
import logging
from dataclasses import replace
from pathlib import Path
from typing import Callable, Optional, Tuple

from contract.manifest import ReleaseManifest
from contract.messages import GoldenResult, Problem
from contract.rings import share
from contract.stamps import parse_time
from edge_agent.clock import Clock
from edge_agent.config import AgentConfig
from edge_agent.errors import AgentError, ModelError, StorageError, TrustError
from edge_agent.events import MessageArrived, WorkerAnswered, WorkerFailed, WorkerReady, WorkerTested
from edge_agent.inference.predictor import Predictor
from edge_agent.updates.acceptance import Acceptance, Order, Outcome
from edge_agent.updates.choice import commit, leave_revoked
from edge_agent.updates.downloader import Downloader
from edge_agent.updates.hold import LOCK, UPDATE_LOCKED, Hold
from edge_agent.updates.release_orders import Orders
from edge_agent.updates.reporter import Reporter
from edge_agent.updates.retry import Retry, is_temporary, pause_after_s, uses_no_attempt
from edge_agent.updates.runnable import choose_runnable
from edge_agent.updates.slot_state import forget_signed
from edge_agent.updates.slots import Slots
from edge_agent.updates.store import BLOB_DAMAGED
from edge_agent.updates.trial import Trial
from edge_agent.updates.trust import Trust
from edge_agent.updates.tryout import StartWorker, Tryout
from edge_agent.updates.verify import require_signatures

_log = logging.getLogger(__name__)
_MAX_ATTEMPTS = 3
_REVOKED = Problem("revoked", "a release that answered, or was about to, has been revoked", "push another")


class Updater:
    """The state machine of one device; driven by the agent's loop, one event at a time."""

    def __init__(
        self,
        config: AgentConfig,
        *,
        trust: Trust,
        slots: Slots,
        clock: Clock,
        downloader: Downloader,
        reporter: Reporter,
        predictor: Predictor,
        start_worker: StartWorker,
        exchange: Callable[[], None],
    ) -> None:
        """Prepare; `exchange` has the release that is active now answer in place of the one that was."""
        self._config = config
        self._trust = trust
        self._slots = slots
        self._clock = clock
        self._downloader = downloader
        self._reporter = reporter
        self._exchange = exchange
        acceptance = Acceptance(config, trust=trust, slots=slots, clock=clock)
        self._orders = Orders(acceptance, reporter, clock, self._obey)
        self._hold = Hold(config.update, Path(config.state_dir) / LOCK, clock)
        self._retry = Retry()
        self._tryout = Tryout(clock=clock, predictor=predictor, start_worker=start_worker)
        self._manifest: Optional[ReleaseManifest] = None
        self._start_at_s: Optional[float] = None
        self._waiting_step: Optional[Callable[[], None]] = None

    def resume(self) -> None:
        """Go on with what is on its way in; chunks that are on disk are not fetched again."""
        # The power may have gone just before either was done.
        self.root_changed()
        self._leave_revoked()
        candidate = self._slots.state.candidate
        if candidate is not None and not self._tryout.is_under_way:
            # It may have a time to wait for; one that is damaged is dealt with when it begins.
            with contextlib.suppress(StorageError):
                self._manifest = self._slots.release(candidate.release)
            self._start_at_s = self._clock.monotonic_s() + pause_after_s(candidate.attempts)

    def connected(self) -> None:
        """A new connection: orders are heard again, chunks are asked for again."""
        # The disk may not have let them be forgotten before.
        self.root_changed()
        self._orders.connected()
        self._downloader.reconnected()

    def desired(self, message: MessageArrived, is_own: bool) -> None:
        """Take a signed release, or hear that there is none any more; `is_own` if on the own topic."""
        self._orders.hear(message, is_own)

    def root_changed(self) -> None:
        """Another root of trust is in force: forget what keys said that it does not name, and sent."""
        state = self._slots.state
        if state.candidate is not None and not self._is_trusted(state.candidate.release):
            manifest = self._manifest
            self._drop_candidate()
            what = "the keys that signed the release are no longer trusted"
            self._reporter.refused(Problem("signature", what, "push it again"), manifest)
            state = replace(state, candidate=None)
        if not self._trust.counts_still(state.signed_by):
            state = forget_signed(state)
        if state == self._slots.state:
            return
        try:
            self._slots.save(state)
        except StorageError as error:
            _log.error("what replaced keys said is forgotten later: %s", error.message)

    def chunk(self, message: MessageArrived) -> None:
        """Take an index or a chunk; a foreign one is left."""
        self._guarded(lambda: self._downloader.take(message))
        self._after_download()

    def unreadable(self, topic: str) -> None:
        """The broker does not let us read a topic; if a chunk is meant, the release cannot come."""
        self._guarded(lambda: self._downloader.refused(topic))

    def ready(self, event: WorkerReady) -> bool:
        """The candidate's worker has loaded it. False if it is not ours."""
        if not self._tryout.owns(event.worker):
            return False
        self._guarded(lambda: self._test(event))
        return True

    def tested(self, event: WorkerTested) -> None:
        """The candidate has run its golden samples."""
        if self._tryout.owns(event.worker):
            self._guarded(lambda: self._judge(event.result))

    def answered(self, event: WorkerAnswered) -> None:
        """Look at an answer before the predictor passes it on: it says how a model does."""
        problem = self._tryout.answered(event)
        if problem is not None:
            self._fail(problem)

    def failed(self, event: WorkerFailed) -> bool:
        """A worker is gone. True if it was the candidate's: that is refused, or rolled back if it served.

        If the Edge TPU or another model on it is to blame, the candidate is tried again later.
        """
        trial = self._tryout.trial
        if not self._tryout.lost(event.worker):
            return False
        if is_temporary(event.problem):
            self._guarded(lambda: self._put_off(event.problem))
        elif trial is not None and trial.tolerates_failure():
            self._guarded(self._tryout.restart)
        else:
            self._fail(event.problem)
        return True

    def problems(self) -> Tuple[Problem, ...]:
        """Return what keeps a release from getting in now."""
        is_locked = self._waiting_step is not None and self._hold.is_locked()
        return (*self._downloader.problems(), *((UPDATE_LOCKED,) if is_locked else ()))

    def tick(self) -> None:
        """Do what time demands: begin, ask again, go on after a lock, look at the trial, end it."""
        now_s = self._clock.monotonic_s()
        may_fetch = self._hold.may_fetch()
        self._orders.tick()
        if self._start_at_s is not None and now_s >= self._start_at_s and self._is_due() and may_fetch:
            self._start_at_s = None
            self._guarded(self._begin)
        if self._waiting_step is not None and self._hold.may_switch():
            step, self._waiting_step = self._waiting_step, None
            self._guarded(step)
        self._watch()
        if may_fetch:
            self._downloader.tick()
        else:
            self._downloader.pause()

    def _obey(self, order: Order) -> None:
        """Act on an order that is on disk."""
        manifest = order.release.manifest
        if order.outcome is Outcome.REPEATED:
            self._reporter.send()
        elif order.outcome is Outcome.ADOPTED:
            self._drop_candidate()
            self._reporter.adopted(manifest)
        elif order.outcome is Outcome.CONTINUED:
            self._manifest = manifest
            self._reporter.follows(manifest)
        elif order.outcome is Outcome.FAILED_BEFORE:
            assert order.problem is not None
            self._drop_candidate()
            self._reporter.refused(order.problem, manifest)
        elif order.outcome is Outcome.TAKEN:
            self._drop_candidate()
            self._manifest = manifest
            self._retry.reset()
            jitter_s = share(order.release.digest, self._config.device) * manifest.rollout.spread_s
            self._start_at_s = self._clock.monotonic_s() + jitter_s
        self._leave_revoked()
        if order.outcome not in (Outcome.REPEATED, Outcome.NOT_OURS):
            self._slots.collect_garbage()
            self.tick()
        if order.outcome is Outcome.TAKEN and self._start_at_s is not None:
            self._reporter.superseded()

    def _leave_revoked(self) -> None:
        """What has been revoked answers nobody any more."""
        state = self._slots.state
        left = leave_revoked(self._slots, self._clock.stamp())
        if left == state:
            return
        try:
            self._slots.save(left)
        except StorageError as error:
            _log.error("what is revoked gives way at the next order or start: %s", error.message)
            return
        if left.candidate != state.candidate:
            self._drop_candidate()
            self._reporter.rolled_back(_REVOKED)
        if left.active != state.active:
            # A candidate on trial goes on; if it is rolled back, the release that is active now is loaded.
            self._tryout.forget_before()
            self._reporter.rolled_back(_REVOKED)
            if self._tryout.trial is None:
                self._exchange()

    def _begin(self) -> None:
        candidate = self._slots.state.candidate
        if candidate is None or self._tryout.is_under_way:
            return
        try:
            self._manifest = manifest = self._slots.release(candidate.release)
        except StorageError:
            # The broker still holds it, and it is let in again: same sequence, same bytes.
            self._slots.forget_candidate()
            raise
        # Whatever becomes of it now is told under its own sequence.
        self._reporter.begin(manifest)
        if candidate.attempts >= _MAX_ATTEMPTS:
            raise ModelError("too_many_attempts", f"given up after {candidate.attempts} attempts")
        self._downloader.require_space(manifest)
        self._downloader.begin(manifest)
        self._after_download()

    def _after_download(self) -> None:
        if self._downloader.is_complete:
            self._downloader.end()
            self._when_free(self._load)
            if self._waiting_step is not None:
                self._reporter.arrived()

    def _when_free(self, step: Callable[[], None]) -> None:
        """Take a step as soon as nothing holds it back, at best now."""
        self._waiting_step = step
        self.tick()

    def _load(self) -> None:
        self._reporter.phase("verifying")
        manifest = self._require_manifest()
        runnable = choose_runnable(self._slots, manifest, self._config.edgetpu)
        # Counted before it is tried: a model that takes the whole board down must not be tried for ever.
        self._count_attempt(+1)
        self._tryout.load(manifest, runnable)

    def _test(self, event: WorkerReady) -> None:
        if self._tryout.trial is not None:
            self._tryout.go_on(event)
            return
        self._tryout.test(event)
        self._reporter.phase("testing")

    def _judge(self, result: GoldenResult) -> None:
        self._reporter.golden = result
        self._tryout.judge(result)
        self._when_free(self._switch)

    def _switch(self) -> None:
        self._tryout.switch()
        self._reporter.phase("trial")
        self.tick()

    def _watch(self) -> None:
        """Look at the trial; end it when it is over."""
        problem = self._tryout.weigh()
        if problem is not None:
            self._fail(problem)
        elif self._tryout.trial is not None and self._tryout.is_over():
            self._commit(self._tryout.trial)

    def _commit(self, trial: Trial) -> None:
        try:
            self._slots.save(commit(self._slots.state, self._require_manifest(), self._clock.stamp()))
        except StorageError as error:
            # It goes on answering, and is committed later.
            _log.error("release not committed: %s", error.message)
            trial.until_s = self._clock.monotonic_s() + self._retry.next_pause_s()
            return
        self._tryout.succeed()
        self._manifest = None
        self._retry.reset()
        # A revoked release may have answered until now, for want of another.
        self._leave_revoked()
        self._slots.collect_garbage()
        self._reporter.phase("active")

    def _drop_candidate(self) -> None:
        """Stop what is under way; files stay, a release that follows may share them."""
        self._downloader.end()
        self._tryout.stop(has_active=self._slots.state.active is not None)
        self._manifest = None
        self._start_at_s = self._waiting_step = None

    def _fail(self, problem: Problem) -> None:
        _log.error("release failed: %s: %s", problem.code, problem.message)
        was_serving = self._tryout.trial is not None
        self._drop_candidate()
        self._reporter.error = problem
        try:
            self._slots.forget_candidate(problem)
            self._slots.collect_garbage()
        except AgentError as error:
            _log.error("cannot clean up: %s", error)
            # It is still on its way in; until it can be forgotten, it is tried again.
            self._start_at_s = self._clock.monotonic_s() + self._retry.next_pause_s()
        self._reporter.phase("rolled_back" if was_serving else "failed")

    def _put_off(self, problem: Problem) -> None:
        """What the candidate needs is not there, or was taken from it: it is loaded again later."""
        manifest = self._manifest
        self._drop_candidate()
        self._manifest = manifest
        if uses_no_attempt(problem):
            self._guarded(lambda: self._count_attempt(-1))
        self._try_later(problem)

    def _count_attempt(self, change: int) -> None:
        candidate = self._slots.state.candidate
        if candidate is not None:
            counted = replace(candidate, attempts=max(0, candidate.attempts + change))
            self._slots.save(replace(self._slots.state, candidate=counted))

    def _try_later(self, problem: Problem) -> None:
        _log.warning("release delayed: %s: %s", problem.code, problem.message)
        self._downloader.end()
        self._reporter.delayed(problem)
        self._start_at_s = self._clock.monotonic_s() + self._retry.next_pause_s(problem)

    def _guarded(self, step: Callable[[], object]) -> None:
        """Take a step. What the disk refuses is tried later, whatever else goes wrong ends the release."""
        try:
            step()
        except StorageError as error:
            self._try_later(error.problem())
        except AgentError as error:
            problem = error.problem()
            if problem.code == BLOB_DAMAGED:
                self._fetch_again(problem)
            elif is_temporary(problem):
                self._put_off(problem)
            else:
                self._fail(problem)

    def _fetch_again(self, problem: Problem) -> None:
        """A whole file is wrong though each of its chunks was right: the disk, or who cut it."""
        self._guarded(lambda: self._count_attempt(+1))
        self._try_later(problem)

    def _is_trusted(self, release: str) -> bool:
        """Say whether a release's keys still count; one that is damaged is dealt with when it begins."""
        try:
            require_signatures(self._slots.envelope(release), self._trust.root, "release")
        except TrustError:
            return False
        except StorageError:
            return True
        return True

    def _is_due(self) -> bool:
        not_before = self._manifest.rollout.not_before if self._manifest else None
        if not_before is None or not self._clock.is_synced():
            return True
        return self._clock.now_s() >= parse_time(not_before)

    def _require_manifest(self) -> ReleaseManifest:
        assert self._manifest is not None, "a step of a release without a release"
        return self._manifest
