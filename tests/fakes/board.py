"""A board without a runtime: the real update path, a fake link, fake time, and workers that do as told."""

from pathlib import Path
from typing import List, Optional, Tuple, Union

from contract.codec import decode
from contract.manifest import ReleaseModel
from contract.messages import Candidate, GoldenResult, ModelReport, Prediction, Problem
from contract.topics import Topics
from edge_agent.clock import Clock
from edge_agent.config import AgentConfig, UpdateConfig
from edge_agent.disk import Disk
from edge_agent.events import Classified, WorkerAnswered, WorkerFailed, WorkerReady, WorkerTested
from edge_agent.inference.workers import ModelFiles
from edge_agent.lane import MAIN, Lane
from edge_agent.outgoing.publisher import Publisher as PredictionPublisher
from edge_agent.recovery.resident import Means
from edge_agent.updates.trust import Trust
from tests.fakes.broker import FakeBroker, FakeLink
from tests.fakes.publisher import DAY_S, ISSUED_S, Publisher, tiny_files

DEVICE = "board-a"
BOOT = "01JD8Z6M5T3Q0E9W2K7R4C1XAB"
GOOD = GoldenResult(samples=20, top1_agreement=1.0, max_lsb=1, p95_ms=3.0)
FOUND = Classified((Candidate("class 0", 0, 0.9),), 0.1, 1.0, 0.1)


class FakeClock(Clock):
    """Time that passes when told."""

    def __init__(self) -> None:
        self.now = ISSUED_S + DAY_S
        self.monotonic = 1000.0

    def now_s(self) -> float:
        return self.now

    def monotonic_s(self) -> float:
        return self.monotonic


class FakeWorker:
    """A worker that notes what it is asked."""

    def __init__(self, number: int, files: ModelFiles) -> None:
        self.number = number
        self.files = files
        self.jobs: List[Tuple[int, str, bytes]] = []
        self.golden: Optional[Path] = None
        self.reloads: List[bool] = []
        self.is_running = True
        self.memory_bytes = 0

    def test(self, golden: Path, _timeout_s: float) -> None:
        self.golden = golden

    def submit(self, key: int, kind: str, payload: bytes, _top_k: Optional[int] = None) -> None:
        self.jobs.append((key, kind, payload))

    def reload(self, keep_delegate: bool) -> None:
        self.reloads.append(keep_delegate)

    def resident_bytes(self) -> int:
        return self.memory_bytes

    def let_go(self) -> None:
        self.is_running = False


class Board:
    """One device and its publisher; `reboot` makes it anew from what is on disk."""

    def __init__(
        self,
        folder: Path,
        publisher: Optional[Publisher] = None,
        edgetpu: Optional[str] = None,
        disk: Optional[Disk] = None,
    ) -> None:
        self.disk = disk or Disk()
        self.publisher = publisher or Publisher()
        self.broker = FakeBroker()
        self.clock = FakeClock()
        update = UpdateConfig(window_bytes=4096, reserve_bytes=0)
        self.config = AgentConfig(DEVICE, str(folder), "unused", edgetpu=edgetpu, update=update)
        self.reboot()

    def reboot(self) -> None:
        """Start from what is on disk, connect, hear what is retained."""
        config, clock = self.config, self.clock
        self.link = link = FakeLink(self.broker)
        self.workers: List[FakeWorker] = []
        self.predictions: List[Prediction] = []
        self.resets = 0
        self.restarts: List[Problem] = []
        publisher = PredictionPublisher(config, link=link, clock=clock, keep=self.predictions.append)
        self.trust = Trust(config, self.publisher.root, link, self.disk)
        self.lane = lane = Lane(
            config,
            MAIN,
            trust=self.trust,
            link=link,
            clock=clock,
            boot=BOOT,
            publish=publisher.publish,
            may_start=lambda: True,
            means=Means(self._start_worker, self._reset_device, self.restarts.append),
            disk=self.disk,
        )
        self.slots, self.predictor = lane.slots, lane.predictor
        self.reporter, self.updater, self.resident = lane.reporter, lane.updater, lane._resident
        lane.start()
        lane.tick()

    def _start_worker(self, files: ModelFiles) -> FakeWorker:
        self.workers.append(FakeWorker(len(self.workers) + 1, files))
        return self.workers[-1]

    def _reset_device(self) -> None:
        self.resets += 1

    @property
    def report(self) -> ModelReport:
        """The newest report on the broker."""
        return decode(ModelReport, self.broker.retained[Topics().model_reported(DEVICE)])

    @property
    def reported_phases(self) -> List[str]:
        """Every phase that was reported, repeats left out."""
        topic = Topics().model_reported(DEVICE)
        found: List[str] = []
        for published, payload in self.broker.published:
            if published == topic:
                phase = decode(ModelReport, payload).phase
                found += [phase] if found[-1:] != [phase] else []
        return found

    def order(self, envelope: bytes, is_own: bool = True) -> None:
        """Let a release arrive, on the device's own topic or its channel's."""
        topics = Topics()
        topic = topics.model_desired(DEVICE) if is_own else topics.channel_desired(self.config.channel)
        self.updater.desired(self.link.message(topic, envelope), is_own)

    def hear(self, topic: str, payload: bytes) -> None:
        """Let a root or a timestamp arrive."""
        if self.trust.take(self.link.message(topic, payload)):
            self.lane.root_changed()

    def publish(self, **changes: object) -> bytes:
        """Publish the tiny model's files and order a release of them; return its envelope."""
        files = changes.pop("files", None) or tiny_files()
        for data in files.values():  # type: ignore[attr-defined]
            self.broker.retain(self.publisher.messages(data))
        envelope = self.publisher.release(self.publisher.manifest(files, **changes))  # type: ignore[arg-type]
        self.order(envelope)
        return envelope

    def download(self, at_most: int = 10**6) -> int:
        """Let what the broker has arrive."""
        return self.link.deliver(self.updater.chunk, at_most)

    def ready(self, worker: int = -1, model: Optional[ReleaseModel] = None) -> None:
        """A worker has loaded its model, the usual one unless told otherwise."""
        if model is None:
            model = self.publisher.manifest().model
            self.publisher.sequence -= 1
        event = WorkerReady(self.workers[worker].number, "fake 1.0", "cpu", model.inputs, model.outputs)
        self.lane.ready(event)

    def tested(self, result: GoldenResult = GOOD) -> None:
        """The newest worker has run the golden samples."""
        self.lane.tested(WorkerTested(self.workers[-1].number, result))

    def worker_fails(self, worker: int = -1, code: str = "worker_died") -> None:
        """A worker is gone."""
        number = self.workers[worker].number
        event = WorkerFailed(number, Problem(code, "it died"))
        self.workers[worker].is_running = False
        self.lane.failed(event)
        self.lane.tick()

    def answer(self, worker: int = -1, result: Union[Classified, Problem] = FOUND) -> None:
        """A worker answers the job that it was given last."""
        fake = self.workers[worker]
        self.lane.answered(WorkerAnswered(fake.number, fake.jobs[-1][0], result))
        self.lane.tick()

    def install(self, **changes: object) -> bytes:
        """Bring a release all the way in."""
        envelope = self.publish(**changes)
        self.download()
        self.ready(model=changes.get("model"))  # type: ignore[arg-type]
        self.tested()
        return envelope

    def pass_time(self, seconds: float) -> None:
        """Let time pass and the loop tick once."""
        self.clock.monotonic += seconds
        self.lane.tick()
