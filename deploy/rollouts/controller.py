"""Drives a rollout from wherever the ledger says it stands: it may be killed between any two steps.

A stage is signed, written down, published and marked as published, in this order. What was written down is
published again as the same bytes, so a step that is done twice changes nothing.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import replace

from contract.codec import encode
from contract.manifest import Rollout as Share
from contract.rollout import RolloutProgress
from contract.stamps import format_time
from deploy.fleets.fleet import Wanted
from deploy.releases.keeper import listen
from deploy.releases.ledger import ABORTED, ABORTING, RUNNING, SUPERSEDED, UNFINISHED, Desired
from deploy.releases.publisher import Fact, publish_facts
from deploy.releases.sending import Sender
from deploy.rollouts.rollout_book import Counted, Rollout, RolloutBook, StagePage
from deploy.rollouts.rollout_rules import Move, Tally, decide
from deploy.rollouts.stage_count import StageCount
from deploy.rollouts.stages import count_all, members, progress_of, staged

DECIDE_EVERY_S = 0.2
TELL_EVERY_S = 1.0
_REASON_CHARACTERS = 900

Clock = Callable[[], float]


class Controller:
    """One rollout, on one connection. `clock` tells seconds since 1970: it must go on while nobody runs."""

    def __init__(self, sender: Sender, rollout_id: str, clock: Clock = time.time) -> None:
        self._sender, self._id, self._clock = sender, rollout_id, clock
        self._book = RolloutBook(sender.desk.ledger)
        self._count: StageCount | None = None
        self._counted_stage = 0
        self._told: RolloutProgress | None = None
        self._told_s = 0.0

    def run(self, is_over: Callable[[Rollout], bool] = lambda rollout: False) -> Rollout:
        """Go on until the rollout ended, or `is_over`; return how it stands.

        Raises:
            Unreachable: the broker went away for good; resume when it is back.
        """
        self._sender.keeper.check()
        while (rollout := self._load()).is_unfinished and not is_over(rollout):
            self._step(rollout)
        self._tell(rollout)
        self._sender.link.flush()
        return rollout

    def unfinished(self) -> list[Counted]:
        """Return the devices of the stage on which the release does not run."""
        rollout = self._load()
        return [one for one in self._book.counted(self._id, rollout.stage) if not one.is_good]

    def _load(self) -> Rollout:
        found = self._book.get(self._id)
        assert found is not None, "a controller of a rollout that was written down"
        return found

    def _step(self, rollout: Rollout) -> None:
        page = self._book.stage(self._id, rollout.stage)
        if rollout.state == ABORTING:
            self._go_back(rollout, page)
        elif page is not None and page.published_s is not None:
            self._follow(rollout, page)
        elif rollout.state != RUNNING:
            self._hear(None)
        elif page is None:
            self._open_stage(rollout)
        else:
            self._publish_stage(rollout, page)

    def _open_stage(self, rollout: Rollout) -> None:
        """Choose the devices, sign the stage, and write both down; nothing is published yet."""
        stage = rollout.plan.stages[rollout.stage - 1]
        desk, now_s = self._sender.desk, self._clock()
        devices = members(self._sender.fleet, rollout, stage)
        with desk.ledger.step():
            if self._is_superseded(rollout, rollout.stage - 1):
                return
            release = desk.renew(staged(rollout, stage), self._sender.seen(()), now_s)
            desk.write_down(release, desk.seal(release), [rollout.topic], now_s)
            self._book.open_stage(self._id, rollout.stage, release.sequence, devices)

    def _publish_stage(self, rollout: Rollout, page: StagePage) -> None:
        """Publish what was written down: the files, then one retained message."""
        if self._is_superseded(rollout, rollout.stage):
            return
        self._publish_wanted(rollout)
        self._book.mark_published(self._id, rollout.stage, self._clock())
        stage = rollout.plan.stages[rollout.stage - 1]
        self._sender.say(f"stage {rollout.stage} ({stage}): published release {page.sequence}")

    def _publish_wanted(self, rollout: Rollout) -> None:
        desk, link = self._sender.desk, self._sender.link
        wanted = desk.ledger.wanted_on(rollout.topic)
        if wanted is not None:
            self._sender.keeper.restore_files()
            publish_facts(link, [Fact(wanted.topic, wanted.payload)])

    def _follow(self, rollout: Rollout, page: StagePage) -> None:
        """Listen for a moment, count, and decide what the rules say."""
        count = self._count_of(rollout, page)
        self._hear(count)
        if self._is_superseded(rollout, rollout.stage):
            return
        self._tell(rollout, count.tally)
        if rollout.state == RUNNING:
            self._decide(rollout, page, count.tally)

    def _decide(self, rollout: Rollout, page: StagePage, tally: Tally) -> None:
        now_s = self._clock()
        published_s = page.published_s or now_s
        held_s = None if page.met_s is None else max(0.0, now_s - page.met_s)
        decision = decide(rollout.plan.gate, tally, max(0.0, now_s - published_s), held_s)
        if decision.move is Move.WAIT and page.met_s is not None:
            self._book.mark_met(self._id, rollout.stage, None)
        elif decision.move is Move.HOLD and page.met_s is None:
            self._book.mark_met(self._id, rollout.stage, now_s)
        elif decision.move is Move.ADVANCE:
            self._advance(rollout, decision.reason, now_s)
        elif decision.move is Move.ABORT:
            self._end(ABORTING, decision.reason, [RUNNING])

    def _advance(self, rollout: Rollout, reason: str, now_s: float) -> None:
        is_last = rollout.stage == len(rollout.plan.stages)
        with self._sender.desk.ledger.step():
            if self._book.end_stage(self._id, rollout.stage, is_last, now_s):
                about = f"{self._id} stage {rollout.stage}: {reason}"
                self._sender.desk.ledger.note("stage passed", about, now_s)
        self._sender.say(f"stage {rollout.stage}: {reason}")

    def _go_back(self, rollout: Rollout, page: StagePage | None) -> None:
        """Point the channel back to what it had before: signed and written down, then published."""
        if rollout.back_sequence is not None:
            self._publish_wanted(rollout)
            self._end(ABORTED, rollout.reason or "", [ABORTING])
        elif page is None and rollout.stage == 1:
            self._end(ABORTED, f"{rollout.reason}; nothing had been published", [ABORTING])
        elif not self._is_superseded(rollout, rollout.stage if page else rollout.stage - 1):
            self._sign_back(rollout)

    def _sign_back(self, rollout: Rollout) -> None:
        desk, now_s = self._sender.desk, self._clock()
        previous = desk.read_release(rollout.previous) if rollout.previous else None
        with desk.ledger.step():
            if previous is None:
                last = desk.ledger.wanted_on(rollout.topic)
                sequence = 0 if last is None else last.sequence
                desk.ledger.want(Desired(rollout.topic, sequence, b""))
                reason = f"{rollout.reason}; the channel had no release before, so it has none now"
                self._book.change(self._id, [ABORTING], ABORTING, reason[:_REASON_CHARACTERS])
                self._book.set_back(self._id, 0)
                return
            back = replace(previous, devices=(), rollout=Share(f"{self._id}-back"))
            back = desk.renew(back, self._sender.seen(()), now_s)
            desk.write_down(back, desk.seal(back), [rollout.topic], now_s)
            self._book.set_back(self._id, back.sequence)

    def _is_superseded(self, rollout: Rollout, stage: int) -> bool:
        """Whether the channel was given something else since the stage was signed; it ends the rollout."""
        page = self._book.stage(self._id, stage)
        if page is None:
            return False
        wanted = self._sender.desk.ledger.wanted_on(rollout.topic)
        if wanted is not None and wanted.sequence == page.sequence:
            return False
        other = "another machine's release" if wanted is None else f"release {wanted.sequence}"
        self._end(SUPERSEDED, f"{other} came in between", UNFINISHED)
        return True

    def _end(self, state: str, reason: str, before: Iterable[str]) -> None:
        reason = reason[:_REASON_CHARACTERS]
        with self._sender.desk.ledger.step():
            if self._book.change(self._id, before, state, reason):
                self._sender.desk.ledger.note(state, f"{self._id}: {reason}", self._clock())
        self._sender.say(f"{state}: {reason}")

    def _count_of(self, rollout: Rollout, page: StagePage) -> StageCount:
        if self._count is None or self._counted_stage != rollout.stage:
            wanted = Wanted(page.sequence, rollout.template.blobs["model"].sha256)
            count = StageCount(wanted, self._book.counted(self._id, rollout.stage))
            known = self._sender.fleet.known()
            count.start(known)
            self._write_counts([count.observe(device) for device in known])
            self._count, self._counted_stage = count, rollout.stage
        return self._count

    def _hear(self, count: StageCount | None) -> None:
        """Listen for a moment, and write down what counts now."""
        news: list[Counted | None] = []
        until_s = time.monotonic() + DECIDE_EVERY_S
        while time.monotonic() < until_s:
            changed = listen(self._sender.link, self._sender.keeper, self._sender.fleet)
            if changed is not None and count is not None:
                news.append(count.observe(self._sender.fleet.get(changed)))
        self._write_counts(news)

    def _write_counts(self, news: list[Counted | None]) -> None:
        found = [one for one in news if one is not None]
        if found:
            self._book.count(self._id, self._load().stage, found)
        for one in found:
            if one.is_failed:
                told = one.problem.message if one.problem else "it gave no reason"
                self._sender.say(f"{one.device} {one.phase}: {told}")

    def _tell(self, rollout: Rollout, tally: Tally | None = None) -> None:
        """Publish how far it is, when that changed and at most every TELL_EVERY_S."""
        now = time.monotonic()
        if rollout.is_unfinished and now - self._told_s < TELL_EVERY_S:
            return
        tally = tally or count_all(self._book.counted(self._id, rollout.stage))
        progress = progress_of(rollout, tally)
        if progress != self._told:
            self._told, self._told_s = progress, now
            stands = "" if rollout.state == RUNNING else f", {rollout.state}"
            self._sender.say(f"stage {rollout.stage}: {tally.good} of {tally.devices} run it{stands}")
            stamped = replace(progress, ts=format_time(self._clock()))
            topic = self._sender.desk.topics.rollout(self._id)
            self._sender.link.publish(topic, encode(stamped), retain=True)
