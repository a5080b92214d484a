"""Random lives of a board: orders, chunks, workers, time, keys and disks in any order; what must hold."""

import errno
import fcntl
import random
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Callable, Dict, List, Optional, Tuple

from contract.manifest import Rollout
from contract.messages import GoldenResult, Problem
from contract.topics import Topics
from edge_agent.errors import AgentError
from edge_agent.events import (
    IMAGE,
    DeviceReset,
    InferenceAsked,
    WorkerAnswered,
    WorkerFailed,
    WorkerReady,
    WorkerTested,
)
from edge_agent.inference.host import SHARED
from edge_agent.updates.hold import LOCK
from tests.fakes.board import FOUND, GOOD, Board, FakeWorker
from tests.fakes.faulty_disk import Fault, FaultyDisk
from tests.fakes.publisher import DATA

NAN = Problem("model_not_finite", "the model answered NaN or infinity")
BAD = GoldenResult(samples=20, top1_agreement=0.2, max_lsb=90, p95_ms=3.0)
CAUSES = (
    "worker_died",
    "model_load",
    "worker_not_started",
    "out_of_memory",
    "worker_hung",
    "edgetpu_absent",
    SHARED,
)
OPERATIONS = ("read", "write", "sync", "sync_folder", "rename", "remove", "open_part", "pwrite", "hash_file")
NUMBERS = (errno.ENOSPC, errno.EIO, errno.EROFS, errno.EMFILE)
UNDER_WAY = ("downloading", "verifying", "testing", "trial")
CONTENTS = 4
# A life that is good from now on comes to rest within so many rounds.
ROUNDS = 400


def files_of(content: int) -> Dict[str, bytes]:
    """Return a small release's files; the workers of these boards never open them."""
    labels, preprocessing = (DATA / name for name in ("tiny_labels.txt", "tiny_preprocessing.json"))
    return {
        "model": b"model %d " % content * 400,
        "labels": labels.read_bytes(),
        "preprocessing": preprocessing.read_bytes(),
        "golden": b"golden %d " % (content % 2) * 100,
    }


class HastyDisk(FaultyDisk):
    """Fails as told, and waits for nothing: what a power cut leaves is told elsewhere."""

    def sync(self, path: Path) -> None:
        self.meet("sync", path)

    def sync_folder(self, folder: Path) -> None:
        self.meet("sync_folder", folder)


class Life:
    """One board's life; `step` does something at random and then checks what must always hold."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._dice = random.Random(seed)
        self.disk = HastyDisk()
        self._is_compiled = seed % 3 == 0
        self._resets = 0
        self.board = Board(folder, edgetpu=":0" if self._is_compiled else None, disk=self.disk)
        self.board.lane.connected()
        self._inputs = self.board.publisher.manifest().model
        self._loaded: Dict[int, int] = {}
        self._tested: Dict[int, bool] = {}
        self._sent: List[bytes] = []
        self._retained: Dict[bool, bytes] = {}
        self._last: Tuple[int, Rollout] = (0, Rollout("r0"))
        self._lock: Optional[BinaryIO] = None
        self._had_model = False
        self._high: Tuple[int, Tuple[str, ...]] = (0, ())
        self.log: List[str] = []
        kinds: Dict[Callable[[], None], int] = {
            self._order: 4,
            self._order_same: 2,
            self._replay: 2,
            self._junk: 1,
            self._clear: 1,
            self._deliver: 12,
            self._worker: 24,
            self._reset: 2,
            self._ask: 8,
            self._wait: 12,
            self._hold: 1,
            self._reconnect: 2,
            self._reboot: 1,
            self._rotate: 1,
            self._break_disk: 2,
            self._rot: 1,
            self._use: 1,
        }
        self._steps, self._weights = list(kinds), list(kinds.values())

    def step(self) -> None:
        """Do something, then check."""
        step = self._dice.choices(self._steps, self._weights)[0]
        self.log.append(step.__name__)
        step()
        self.check()

    def check(self) -> None:
        """What must hold after every step."""
        board, state = self.board, self.board.slots.state
        self._had_model = self._had_model or state.active is not None
        assert not self._had_model or state.active is not None, "no model after the first"
        high, signed_by = self._high
        assert state.sequence_high >= high or not board.trust.counts_still(signed_by), "the sequence fell"
        self._high = state.sequence_high, state.signed_by
        self._check_workers()
        self._check_report()

    def settle(self) -> None:
        """From now on all goes well: the newest good order is installed, whatever was before."""
        self._mend()
        self._rounds(lambda: self.board.slots.state.candidate is None)
        content = self._dice.randrange(100, 200)
        self._publish(content, Rollout(f"last-{self.board.publisher.sequence}"), is_own=True)
        wanted = f"c{content}"
        self._rounds(lambda: self._serves(wanted) and self.board.slots.state.candidate is None)
        assert self.board.report.phase == "active", self.board.report
        assert self.board.report.current is not None and self.board.report.current.version == wanted
        self.check()

    def _serves(self, version: str) -> bool:
        serving = self.board.predictor.serving
        if serving is None or serving.model.degraded is not None:
            return False
        return serving.model.version.version == version

    def _mend(self) -> None:
        self.log.append("MEND")
        self.disk.faults.clear()
        self._let_go()
        self.board.clock.monotonic += 7200.0
        self._hear_roots()
        self._reconnect()

    def _rounds(self, is_done: Callable[[], bool]) -> None:
        for _ in range(ROUNDS):
            if is_done():
                return
            self.board.download()
            self._reset()
            for worker in list(self.board.workers):
                self._serve(worker)
            self.board.pass_time(30.0)
            self.check()
        raise AssertionError(f"does not come to rest: {self.board.slots.state}, {self.board.report}")

    def _check_workers(self) -> None:
        """Every process has an owner, and who serves is alive."""
        board = self.board
        serving, tryout, resident = board.predictor.serving, board.updater._tryout, board.resident
        if serving is not None:
            assert serving.worker.is_running, f"worker {serving.worker.number} serves, and is gone"
            assert serving.worker not in board.predictor._retired, "it serves, and is to go"
        owners = [serving, tryout._before]
        owned = [owner.worker for owner in owners if owner is not None]
        owned += [tryout._worker, resident._worker, resident._leaving, resident._standby._worker]
        owned += board.predictor._retired
        for worker in board.workers:
            assert not worker.is_running or worker in owned, f"worker {worker.number} is nobody's"
        if board.slots.state.active is not None:
            assert serving is not None or board.predictor.is_restarting, "nobody answers, and nobody will"

    def _check_report(self) -> None:
        report, tryout = self.board.report, self.board.updater._tryout
        if report.phase == "trial":
            assert tryout.trial is not None, "reports a trial that there is not"
        if report.phase in UNDER_WAY:
            assert self.board.slots.state.candidate is not None, report.phase
        if report.phase == "active" and report.error is None:
            assert self.board.slots.state.active is not None

    def _publish(self, content: int, rollout: Rollout, is_own: bool, **changes: object) -> None:
        board, files = self.board, files_of(content)
        if self._is_compiled:
            files["fallback"] = b"fallback %d " % content * 100
        for data in files.values():
            board.broker.retain(board.publisher.messages(data))
        model = replace(self._inputs, version=f"c{content}", compiled=self._is_compiled)
        manifest = board.publisher.manifest(files, model=model, rollout=rollout, **changes)
        self._send(board.publisher.release(manifest), is_own)

    def _send(self, envelope: bytes, is_own: bool) -> None:
        self._sent.append(envelope)
        self._retained[is_own] = envelope
        self.board.order(envelope, is_own)

    def _order(self) -> None:
        dice, content = self._dice, self._dice.randrange(CONTENTS)
        rollout = Rollout(
            f"r{len(self._sent)}",
            percent=dice.choice((100.0, 100.0, 100.0, 0.0)),
            soak_s=dice.choice((0.0, 0.0, 60.0, 600.0)),
            max_failures=dice.choice((0, 0, 1, 2)),
            spread_s=dice.choice((0.0, 0.0, 300.0)),
        )
        changes: Dict[str, object] = {}
        if not dice.randrange(20):
            others = [other for other in range(CONTENTS) if other != content]
            blob = self.board.publisher.blob(files_of(dice.choice(others))["model"])
            changes["revoked"] = (blob.sha256,)
        if not dice.randrange(8):
            changes["devices"] = ("somebody-else",)
        self._last = content, rollout
        self._publish(content, rollout, bool(dice.randrange(2)), **changes)

    def _order_same(self) -> None:
        content, rollout = self._last
        self._publish(content, replace(rollout, percent=100.0), bool(self._dice.randrange(2)))

    def _replay(self) -> None:
        if self._sent:
            self.board.order(self._dice.choice(self._sent), bool(self._dice.randrange(2)))

    def _junk(self) -> None:
        envelope = bytearray(self._dice.choice(self._sent or [b"{}"]))
        envelope[self._dice.randrange(len(envelope))] ^= 1 << self._dice.randrange(8)
        self.board.order(bytes(envelope), bool(self._dice.randrange(2)))

    def _clear(self) -> None:
        is_own = bool(self._dice.randrange(2))
        self._retained.pop(is_own, None)
        self.board.order(b"", is_own)

    def _deliver(self) -> None:
        waiting = self.board.link.waiting
        if not self._dice.randrange(4):
            self._dice.shuffle(waiting)
        if waiting and not self._dice.randrange(4):
            lost = waiting.pop()
            if lost.payload and not self._dice.randrange(2):
                waiting.append(replace(lost, payload=lost.payload[:-1] + b"?"))
        self.board.download(self._dice.choice((1, 3, 100)))

    def _worker(self) -> None:
        living = [worker for worker in self.board.workers if worker.is_running]
        if not living:
            return
        worker = self._dice.choice(living)
        if not self._dice.randrange(12):
            self._die(worker)
        else:
            self._serve(worker, is_good=bool(self._dice.randrange(10)))

    def _serve(self, worker: FakeWorker, is_good: bool = True) -> None:
        """Let a worker do the next thing it was asked for."""
        number, lane = worker.number, self.board.lane
        if not worker.is_running:
            return
        if self._loaded.get(number, 0) < 1 + len(worker.reloads):
            self._loaded[number] = 1 + len(worker.reloads)
            shape = self._inputs.inputs if is_good else ()
            lane.ready(WorkerReady(number, "fake 1.0", "cpu", shape, self._inputs.outputs))
        elif worker.golden is not None and not self._tested.get(number):
            self._tested[number] = True
            lane.tested(WorkerTested(number, GOOD if is_good else BAD))
        elif worker.jobs:
            lane.answered(WorkerAnswered(number, worker.jobs.pop(0)[0], FOUND if is_good else NAN))
        lane.tick()

    def _die(self, worker: FakeWorker) -> None:
        worker.is_running = False
        problem = Problem(self._dice.choice(CAUSES), "it died")
        self.board.lane.failed(WorkerFailed(worker.number, problem))
        self.board.lane.tick()

    def _reset(self) -> None:
        """The Edge TPU has been reset, or the service manager has started the agent again."""
        if self.board.restarts:
            self._reboot()
        elif self.board.resets > self._resets:
            self._resets = self.board.resets
            problem = self._dice.choice((None, Problem("device_reset", "no right to")))
            self.board.lane.device_reset(DeviceReset(problem))

    def _ask(self) -> None:
        now_s = self.board.clock.monotonic_s()
        self.board.predictor.ask(InferenceAsked(IMAGE, b"png", "http", now_s, lambda _result: None))

    def _wait(self) -> None:
        self.board.clock.now += self._dice.choice((0.0, 0.0, 0.0, 86_400.0, -86_400.0))
        self.board.pass_time(self._dice.choice((0.1, 1.0, 20.0, 90.0, 700.0)))

    def _hold(self) -> None:
        if self._lock is not None:
            self._let_go()
            return
        self._lock = (Path(self.board.config.state_dir) / LOCK).open("wb")
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def _let_go(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _reconnect(self) -> None:
        board = self.board
        board.link.subscribed.clear()
        board.link.waiting.clear()
        board.lane.connected()
        for is_own in (True, False):
            if is_own in self._retained:
                board.order(self._retained[is_own], is_own)

    def _reboot(self) -> None:
        self.board.lane.stop()
        self._resets = 0
        self._loaded.clear()
        self._tested.clear()
        # An agent that cannot read its folder ends, and is started again until it can.
        for _ in range(20):
            with suppress(AgentError):
                self.board.reboot()
                self._hear_roots()
                self._reconnect()
                return
        raise AssertionError("never starts")

    def _rotate(self) -> None:
        if self._dice.randrange(4):
            return
        root = self.board.publisher.rotate("release")
        version = self.board.publisher.newest_root.version
        self.board.broker.retained[Topics().trust_root(version)] = root
        self._hear_roots()

    def _hear_roots(self) -> None:
        board = self.board
        while board.trust.root.version < board.publisher.newest_root.version:
            version = board.trust.root.version
            topic = Topics().trust_root(version + 1)
            board.hear(topic, board.broker.retained[topic])
            if board.trust.root.version == version:
                break

    def _break_disk(self) -> None:
        dice = self._dice
        number, what = dice.choice(NUMBERS), dice.choice(OPERATIONS)
        if (number, what) == (errno.EIO, "read"):
            # A state that is lost gives way to the copy before it, and the sequence with it.
            return
        fault = Fault(number, what, "", dice.randrange(8), dice.choice((1, 1, 2, 5)))
        self.disk.faults = [*self.disk.faults[-2:], fault]

    def _rot(self) -> None:
        """A file of a release changes on disk."""
        files = sorted((Path(self.board.config.state_dir) / "blobs").iterdir())
        if files:
            self._dice.choice(files).write_bytes(b"rotten")

    def _use(self) -> None:
        with suppress(AgentError):
            self.board.lane.use(None)


def live(folder: Path, seed: int, steps: int) -> None:
    """Live one life to its good end.

    Raises:
        AssertionError: something that must hold does not; the seed and the last steps are named.
    """
    life = Life(folder, seed)
    try:
        for _ in range(steps):
            life.step()
        life.settle()
    except Exception as error:
        raise AssertionError(f"seed {seed}, after {life.log[-25:]}: {error!r}") from error
    finally:
        life._let_go()
