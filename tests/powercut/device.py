"""One device on a disk that can lose its power: the real update path, driven until an order is done."""

import hashlib
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Dict, FrozenSet, NamedTuple, Optional, Set, Tuple

from contract.chunks import blob_id, count_chunks
from contract.codec import decode
from contract.envelope import Envelope
from contract.errors import TopicError
from contract.manifest import ReleaseManifest
from contract.topics import Topics
from edge_agent.events import MessageArrived, WorkerReady, WorkerTested
from edge_agent.updates.slot_state import SlotState
from tests.fakes.board import GOOD, Board
from tests.fakes.publisher import Publisher
from tests.powercut.disk import CrashDisk

FOLDER = Path("/nowhere/board")
# A path with more slashes than this lies in releases, blobs or parts.
FOLDER_DEPTH = 3
CHUNK_BYTES = 4096
_MODEL_BYTES = 8 * CHUNK_BYTES + 100
_ROUNDS = 12
_LONG_S = 5000.0

Place = Tuple[str, Optional[int]]


class Release(NamedTuple):
    """What is published: `is_good` is False if its golden samples fail."""

    digest: str
    envelope: bytes
    manifest: ReleaseManifest
    is_good: bool


class Fleet:
    """A publisher, and what its broker has retained.

    Attributes:
        releases: by the name of their model's version.
        pieces: every index and every chunk by its place.
    """

    def __init__(self, versions: Tuple[str, ...]) -> None:
        """Publish these in order. One called "bad" fails its golden samples."""
        self.publisher = Publisher(CHUNK_BYTES)
        self.retained: Dict[str, bytes] = {}
        self.pieces: Dict[Place, bytes] = {}
        self.releases = {name: self._publish(name) for name in versions}

    def _publish(self, name: str) -> Release:
        chance = Random(name)
        files = {
            "model": _noise(chance, _MODEL_BYTES),
            "labels": b"the same for all",
            "preprocessing": b"%d" % (len(self.retained) % 2),
            "golden": _noise(chance, CHUNK_BYTES + 1),
        }
        for data in files.values():
            for topic, payload in self.publisher.messages(data):
                self.retained[topic] = payload
                place = Topics().parse_chunk(topic)
                self.pieces[(place.blob_id, place.number)] = payload
        manifest = self.publisher.manifest(files)
        envelope = self.publisher.release(manifest)
        digest = hashlib.sha256(decode(Envelope, envelope).signed_bytes()).hexdigest()
        return Release(digest, envelope, manifest, name != "bad")

    def durable(self, disk: CrashDisk) -> FrozenSet[Place]:
        """Return the chunks that have been synced, whether the file's name has or not."""
        found = set()
        for path, inode in disk.names_now.items():
            content = disk.inodes[inode].durable
            if content and path.count("/") > FOLDER_DEPTH:
                name = blob_id(path.rpartition("/")[2])
                for number in range(count_chunks(len(content), CHUNK_BYTES)):
                    start = number * CHUNK_BYTES
                    if self.pieces.get((name, number)) == content[start : start + CHUNK_BYTES]:
                        found.add((name, number))
        return frozenset(found)

    def require_pointers(self, state: SlotState, contents: Dict[str, bytes]) -> Set[str]:
        """Raise AssertionError if a pointer leads nowhere; return the paths that the pointers need."""
        needed = set()
        for name in ("active", "last_known_good", "factory", "candidate"):
            pointer = getattr(state, name)
            if pointer is None:
                continue
            release = next(each for each in self.releases.values() if each.digest == pointer.release)
            paths = {f"{FOLDER}/blobs/{blob.sha256}" for blob in release.manifest.blobs.values()}
            envelope = f"{FOLDER}/releases/{release.digest}.json"
            assert contents.get(envelope) == release.envelope, f"the {name} release is gone"
            for path in paths if name != "candidate" else ():
                content = contents.get(path, b"")
                assert path.endswith(hashlib.sha256(content).hexdigest()), f"{name} has no {path}"
            needed |= {envelope} | paths | {path.replace("/blobs/", "/parts/") for path in paths}
        return needed


def _noise(chance: Random, size_bytes: int) -> bytes:
    return chance.getrandbits(8 * size_bytes).to_bytes(size_bytes, "big")


class Device:
    """A board that boots from a disk. What it must never do is found by `broken`.

    Attributes:
        fetched: every chunk that the broker has sent it since the boot.
    """

    def __init__(self, fleet: Fleet, disk: CrashDisk) -> None:
        self._fleet = fleet
        self._disk = disk
        self._told: Set[int] = set()
        self.fetched: Set[Place] = set()
        self.board = board = Board(FOLDER, fleet.publisher, disk=disk)
        board.broker.retained.update(fleet.retained)

    @property
    def release_bytes(self) -> int:
        """How large the releases are, all of one size."""
        return self._fleet.releases["one"].manifest.total_bytes

    @property
    def state(self) -> SlotState:
        """What is installed."""
        return self.board.slots.state

    def begin(self, release: Release, chunks: int) -> None:
        """Order a release, and let some of it arrive."""
        self.board.order(release.envelope)
        self.board.link.deliver(self._take, chunks)

    def carry_out(self, release: Release) -> bool:
        """Order a release and give it all the time and luck it needs; say whether it came to its end."""
        self.board.order(release.envelope)
        for _ in range(_ROUNDS):
            self.board.link.deliver(self._take)
            self._work(release)
            if self._is_done(release):
                return True
            self.board.pass_time(_LONG_S)
        return False

    def require_answers(self, allowed: FrozenSet[str]) -> None:
        """Raise AssertionError unless one of these releases has been loaded, with every file undamaged."""
        active = self.state.active
        assert active is not None and active.release in allowed, f"active is {active}"
        assert self.board.workers, "nothing has been loaded"
        files, contents = self.board.workers[0].files, self._disk.contents()
        for path in (files.model, files.labels, files.preprocessing, files.golden):
            content = contents.get(str(path), b"")
            assert hashlib.sha256(content).hexdigest() == path.name, f"the worker was given a damaged {path}"

    def require_order(self) -> None:
        """Raise AssertionError if a pointer leads nowhere, or a file is there that none needs."""
        contents = self._disk.contents()
        needed = self._fleet.require_pointers(self.state, contents)
        orphans = [path for path in contents if path not in needed and path.count("/") > FOLDER_DEPTH]
        assert not orphans, f"nobody needs {orphans}"

    def _take(self, message: MessageArrived) -> None:
        try:
            place = Topics().parse_chunk(message.topic)
            self.fetched.add((place.blob_id, place.number))
        except TopicError:
            pass
        self.board.updater.chunk(message)

    def _work(self, release: Release) -> None:
        """Let every worker load its model, and run the golden samples if it is asked to."""
        model = release.manifest.model
        for worker in self.board.workers:
            if worker.is_running and worker.number not in self._told:
                self._told.add(worker.number)
                self.board.lane.ready(
                    WorkerReady(worker.number, "fake 1.0", "cpu", model.inputs, model.outputs)
                )
            if worker.golden is not None and worker.is_running:
                worker.golden = None
                result = GOOD if release.is_good else replace(GOOD, top1_agreement=0.0)
                self.board.lane.tested(WorkerTested(worker.number, result))
        self.board.lane.tick()

    def _is_done(self, release: Release) -> bool:
        state = self.state
        if release.is_good:
            return state.candidate is None and state.active.release == release.digest
        return state.candidate is None and any(each.release == release.digest for each in state.refused)
