"""A board as seen from the broker: fetches, checks and reports as it is told to."""

import hashlib
import queue
import socket
import threading
from dataclasses import replace

import paho.mqtt.client as paho

from contract.chunks import split_index
from contract.codec import decode, encode
from contract.envelope import Envelope
from contract.manifest import ReleaseManifest
from contract.messages import (
    Candidate,
    ChunkNeed,
    DeviceInfo,
    InstalledModel,
    Latency,
    ModelReport,
    ModelVersion,
    Prediction,
    Problem,
    TrustState,
)
from contract.rings import is_in_percent
from contract.stamps import format_time
from contract.topics import Topics

BOOT = "01JD8Z6M5T3Q0E9W2K7R4C1XAB"
NOW = format_time(1_800_000_000.0)
TIMEOUT_S = 10.0
SILENCE = "silence"


def make_report(phase: str, sequence: int | None = None, **changes) -> ModelReport:
    values = {
        "ts": NOW,
        "phase": phase,
        "progress_pct": 100,
        "release": None,
        "sequence": sequence,
        "current": None,
        "last_known_good": None,
        "error": None,
        "golden": None,
        "trust": TrustState(1, sequence or 0, 0),
        **changes,
    }
    return ModelReport(**values)


def make_info(device: str, channel: str = "stable", boot: str = BOOT, tags: tuple = ()) -> DeviceInfo:
    sources = ("camera",)
    return DeviceInfo(device, boot, NOW, "0.1.0", "3.7.3", "none", "aarch64", channel, sources, tags=tags)


def make_prediction(device: str, seq: int, source: str = "camera", boot: str = BOOT) -> Prediction:
    return Prediction(
        id=BOOT,
        device=device,
        boot=boot,
        source=source,
        seq=seq,
        ts=NOW,
        label="cat",
        label_id=0,
        score=0.9,
        top=(Candidate("cat", 0, 0.9),),
        model=ModelVersion("toy", "1", "a" * 64),
        backend="cpu",
        degraded=None,
        latency_ms=Latency(0, 0, 1, 0, 1),
    )


class FakeDevice:
    """A `with` block: online on entry, gone on exit (with its last will if it crashed)."""

    def __init__(
        self,
        address,
        base: str,
        name: str,
        channel: str = "stable",
        boot: str = BOOT,
        tags: tuple = (),
        retains: bool = True,
    ) -> None:
        self._retains = retains
        self.name, self.topics, self.boot, self.tags = name, Topics(base), boot, tags
        self.taken: list[ReleaseManifest] = []
        self._n = 0
        self._address, self._channel = address, channel
        self._gone = threading.Event()
        self._arrived: queue.Queue = queue.Queue()
        self._threads: list[threading.Thread] = []
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        self.client.will_set(self.topics.status(name), b"offline", 1, retains)
        self.client.on_socket_open = lambda c, u, s: s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.client.on_message = lambda c, u, message: self._arrived.put(message)

    def __enter__(self) -> "FakeDevice":
        self.client.connect(self._address.host, self._address.port)
        self.client.loop_start()
        self.client.subscribe(
            [(self.topics.model_desired(self.name), 1), (self.topics.channel_desired(self._channel), 1)]
        )
        info = make_info(self.name, self._channel, self.boot, self.tags)
        self.send(self.topics.info(self.name), encode(info))
        self.send(self.topics.status(self.name), b"online")
        return self

    def __exit__(self, *error: object) -> None:
        self._gone.set()
        for thread in self._threads:
            thread.join(TIMEOUT_S)
        self.client.disconnect()
        self.client.loop_stop()

    def crash(self) -> None:
        """Lose the connection without a word."""
        # Ending its thread takes up to a second, in which it must not connect again.
        self.client.reconnect_delay_set(int(TIMEOUT_S), int(TIMEOUT_S))
        self.client.socket().shutdown(socket.SHUT_RDWR)
        self.client.loop_stop()

    def send(self, topic: str, payload: bytes, retain: bool = True) -> None:
        self.client.publish(topic, payload, 1, retain and self._retains).wait_for_publish(TIMEOUT_S)

    def report(self, phase: str, sequence: int | None, **changes) -> None:
        report = make_report(phase, sequence, **changes)
        self.send(self.topics.model_reported(self.name), encode(report))

    def prediction(self, seq: int, source: str = "camera", **changes) -> bytes:
        """Return one as it is sent."""
        return encode(replace(make_prediction(self.name, seq, source), **changes))

    def predict(self, seq: int, **changes) -> None:
        prediction = make_prediction(self.name, seq, **changes)
        topic = self.topics.prediction(self.name, prediction.source)
        self.send(topic, encode(prediction), retain=False)

    def await_release(self) -> ReleaseManifest:
        """Return the next release that arrives; its signature is not this fake's business."""
        return decode(Envelope, self._take()).open(ReleaseManifest)

    def fetch(self, release: ReleaseManifest, forget: int | None = None) -> bytes:
        """Fetch and check the model; chunk `forget` is lost, here and at the broker, and asked for."""
        blob = release.blobs["model"]
        self.client.subscribe(self.topics.blob_index(blob.id), 1)
        index = self._take()
        assert hashlib.sha256(index).hexdigest() == blob.index_sha256
        hashes = split_index(index, blob.size, blob.chunk_bytes)
        self.client.subscribe([(self.topics.blob_chunk(blob.id, n), 1) for n in range(blob.chunks)])
        chunks: dict[bytes, bytes] = {}
        for _ in range(blob.chunks):
            chunk = self._take()
            chunks[hashlib.sha256(chunk).digest()] = chunk
        if forget is not None:
            del chunks[hashes[forget]]
            self.send(self.topics.blob_chunk(blob.id, forget), b"")
            self.ask(blob.id, forget)
            chunk = self._take() or self._take()
            chunks[hashlib.sha256(chunk).digest()] = chunk
        return b"".join(chunks[one] for one in hashes)

    def ask(self, blob_id: str, number: int) -> None:
        need = ChunkNeed(blob_id, False, ChunkNeed.pack((number,)))
        self.send(self.topics.model_need(self.name), encode(need), retain=False)

    def play(self, story) -> None:
        """Run `story(self)` in the background; it is joined on exit."""
        thread = threading.Thread(target=story, args=(self,), daemon=True)
        thread.start()
        self._threads.append(thread)

    def install(self) -> None:
        """Play a board on which everything goes well."""
        release = self.await_release()
        self.report("downloading", release.sequence, progress_pct=0)
        assert len(self.fetch(release)) == release.blobs["model"].size
        model = release.blobs["model"].sha256
        installed = InstalledModel(release.model.name, release.model.version, model, NOW)
        self.report("trial", release.sequence)
        self.report("active", release.sequence, current=installed)

    def refuse(self, phase: str = "failed", code: str = "selftest") -> None:
        """Play a board on which it does not go well."""
        release = self.await_release()
        self.report(phase, release.sequence, error=Problem(code, "golden samples: top-1 agreement 0.5"))

    def obey(self, verdict=lambda release: None) -> None:
        """Take every release that is for this device, from now on and in the background.

        `verdict` says what is wrong with a release: None for nothing, a code for an error, SILENCE for a
        device that says nothing about it.
        """

        def follow(_: "FakeDevice") -> None:
            while not self._gone.is_set():
                try:
                    message = self._arrived.get(timeout=0.05)
                except queue.Empty:
                    continue
                if message.payload and message.topic.endswith("desired"):
                    release = decode(Envelope, message.payload).open(ReleaseManifest)
                    if self._is_for_us(release):
                        self.taken.append(release)
                        self._end(release, verdict(release))

        self.play(follow)

    def _is_for_us(self, release: ReleaseManifest) -> bool:
        if release.devices:
            return self.name in release.devices
        return is_in_percent(release.rollout.salt, release.rollout.percent, self.name)

    def _end(self, release: ReleaseManifest, problem: "str | None") -> None:
        if problem == SILENCE:
            return
        if problem is not None:
            self.tell("failed", release, error=Problem(problem, "it does not go well here"))
            return
        installed = InstalledModel(
            release.model.name, release.model.version, release.blobs["model"].sha256, NOW
        )
        self.tell("active", release, current=installed)

    def tell(self, phase: str, release: ReleaseManifest, **changes) -> None:
        """Report as a board does that counts its reports."""
        self._n += 1
        counted = {"rollout": release.rollout.id, "boot": self.boot, "n": self._n, **changes}
        self.report(phase, release.sequence, **counted)

    def _take(self) -> bytes:
        return self._arrived.get(timeout=TIMEOUT_S).payload
