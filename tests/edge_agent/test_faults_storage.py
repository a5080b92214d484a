"""What must happen when the disk fails. Power cuts: test_power_cut; kills: tests/house/test_torture."""

import errno
import hashlib
import os
import resource
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest

from contract.chunks import build_index
from contract.codec import decode
from contract.envelope import Envelope
from contract.messages import ModelReport
from contract.topics import Topics
from edge_agent.errors import StorageError
from edge_agent.files import write_whole
from edge_agent.updates.slots import Slots
from edge_agent.updates.transfer import Transfer
from tests.fakes.board import DEVICE, Board
from tests.fakes.faulty_disk import Fault, FaultyDisk
from tests.fakes.publisher import Publisher, tiny_files

LONG_S = 5000.0
EVERY_WRITE = ("write", "open_part", "pwrite", "rename", "remove")
WINDOW_BYTES = 1024 * 1024
MIB = 1024 * 1024


def model(number: int) -> "dict[str, bytes]":
    """Return the files of a release whose model is one of its own."""
    files = tiny_files()
    return {**files, "model": files["model"] + b"%d" % number}


@pytest.fixture
def disk() -> FaultyDisk:
    return FaultyDisk()


@pytest.fixture
def board(tmp_path: Path, disk: FaultyDisk) -> Board:
    """A board on which two releases were installed; the second answers."""
    board = Board(tmp_path, disk=disk)
    for number in (1, 2):
        board.install(files=model(number))
    assert board.report.phase == "active"
    return board


def version(board: Board) -> str:
    """Return what is active."""
    active = board.slots.state.active
    assert active is not None
    return board.slots.release(active.release).model.version


def reported_errors(board: Board) -> "list[str]":
    """Return the codes of every error that was reported since the boot."""
    topic = Topics().model_reported(DEVICE)
    reports = [decode(ModelReport, payload) for sent, payload in board.broker.published if sent == topic]
    return [report.error.code for report in reports if report.error is not None]


def carry_on(board: Board) -> None:
    """Give the release that is on its way in time, and let it be tried."""
    board.pass_time(LONG_S)
    board.download()
    board.ready()
    board.tested()


@pytest.mark.parametrize(
    ("what", "word", "after"), [("open_part", "", 0), ("pwrite", "", 3), ("write", "slots.json", 0)]
)
def test_f29_a_full_disk_costs_only_the_parts(
    board: Board, disk: FaultyDisk, what: str, word: str, after: int
) -> None:
    """ENOSPC anywhere: disk_full is said, parts make room, what answers stays, later it goes on."""
    disk.faults = [Fault(errno.ENOSPC, what, word, after)]
    board.publish(files=model(3))
    board.download()
    assert board.report.error is not None and board.report.error.code == "disk_full"
    assert disk.names(Path(board.config.state_dir) / "parts") == []
    assert version(board) == "2"
    write_whole(Path(board.config.state_dir) / "another", b"there is room for it", disk)
    board.order(board.publisher.release(board.publisher.manifest(model(3))))
    carry_on(board)
    assert version(board) == "4"


def test_f30_an_unreadable_active_file_gives_way_to_the_one_before(board: Board, disk: FaultyDisk) -> None:
    """EIO on the model that should answer: the one before it answers, and that is said."""
    name = hashlib.sha256(model(2)["model"]).hexdigest()
    disk.faults = [Fault(errno.EIO, "hash_file", name, times=10**6)]
    board.reboot()
    assert version(board) == "1"
    assert board.workers[0].files.model.name == hashlib.sha256(model(1)["model"]).hexdigest()
    assert "blob_damaged" in reported_errors(board)


def test_f31_a_read_only_disk_does_not_stop_the_answers(board: Board, disk: FaultyDisk) -> None:
    """EROFS on every write: a release is refused with that reason, a restart still answers."""
    disk.faults = [Fault(errno.EROFS, what, times=10**6) for what in EVERY_WRITE]
    board.publish(files=model(3))
    assert board.report.error is not None and board.report.error.code == "disk_read_only"
    board.reboot()
    board.ready(0)
    assert board.predictor.serving is not None
    assert version(board) == "2"


def test_f32_bit_rot_is_found_before_it_answers(board: Board) -> None:
    """One flipped bit in the active model: the last known good answers, and the file is fetched again."""
    path = board.slots.blob_path(board.slots.release(board.slots.state.active.release).blobs["model"])
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    board.reboot()
    assert version(board) == "1"
    board.ready(0)
    carry_on(board)
    assert version(board) == "2"
    assert path.read_bytes() == data


DAMAGE = {
    "empty": lambda good: b"",
    "truncated": lambda good: good[: len(good) // 2],
    "garbage": lambda good: bytes(len(good)),
    "of a future version": lambda good: _sealed(good.partition(b"\n")[2].replace(b'{"v":1', b'{"v":2', 1)),
}


def _sealed(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest().encode() + b"\n" + body


@pytest.mark.parametrize("damage", DAMAGE)
def test_f33_a_damaged_state_gives_way_to_the_one_before_and_to_a_scan(board: Board, damage: str) -> None:
    """The copy is used; without it, the newest whole release answers, and older ones stay behind it."""
    before, folder = board.slots.state, Path(board.config.state_dir)
    (folder / "slots.json").write_bytes(DAMAGE[damage]((folder / "slots.json").read_bytes()))
    board.reboot()
    assert board.workers, "nothing answers"
    (folder / "slots.json").write_bytes(b"")
    (folder / "slots.prev.json").write_bytes(DAMAGE[damage]((folder / "slots.prev.json").read_bytes()))
    board.reboot()
    after = board.slots.state
    assert after.active is not None and after.active.release == before.active.release
    assert after.last_known_good.release == before.last_known_good.release
    assert after.factory.release == before.factory.release
    assert (after.sequence_high, after.signed_by) == (before.sequence_high, before.signed_by)
    assert (folder / "slots.json").stat().st_size > 0, "what was found is not written down"


def test_f33_a_release_with_a_damaged_file_is_not_chosen_by_the_scan(board: Board) -> None:
    """It counts for the highest sequence, but answers nobody."""
    folder = Path(board.config.state_dir)
    board.slots.blob_path(board.slots.release(board.slots.state.active.release).blobs["model"]).unlink()
    for name in ("slots.json", "slots.prev.json"):
        (folder / name).unlink()
    slots = Slots(folder)
    assert slots.release(slots.state.active.release).model.version == "1"
    assert slots.state.sequence_high == 2


def test_f33_what_a_release_on_disk_revokes_is_not_chosen_by_the_scan(board: Board) -> None:
    """Also when all memory is lost: the newest release names what must not answer."""
    one = board.slots.release(board.slots.state.last_known_good.release)
    board.install(files=model(3), revoked=(one.blobs["model"].sha256,))
    envelope = board.publisher.release(one)
    board.slots.keep_release(hashlib.sha256(decode(Envelope, envelope).signed_bytes()).hexdigest(), envelope)
    folder = Path(board.config.state_dir)
    (folder / "blobs" / one.blobs["model"].sha256).write_bytes(model(1)["model"])
    for name in ("slots.json", "slots.prev.json"):
        (folder / name).unlink()
    slots = Slots(folder)
    versions = [
        slots.release(slot.release).model.version for slot in (slots.state.active, slots.state.factory)
    ]
    assert versions == ["3", "2"]
    assert slots.state.revoked == (one.blobs["model"].sha256,)


def test_f35_a_part_that_is_too_long_or_has_holes_is_mended(tmp_path: Path) -> None:
    """What is beyond the size is cut off, holes are found by their hash, and only these are fetched."""
    slots, publisher = Slots(tmp_path), Publisher(1024)
    files = {**tiny_files(), "model": bytes(range(1, 256)) * 40}
    manifest = publisher.manifest(files)
    blob = manifest.blobs["model"]
    with slots.part_path(blob).open("wb") as part:
        part.write(files["model"][:1024])
        part.seek(3 * 1024)
        part.write(files["model"][3 * 1024 :] + b"and more")
    transfer = Transfer(manifest, slots, WINDOW_BYTES)
    transfer.take(blob.id, None, build_index(files["model"], 1024))
    assert sorted(place.number for place in transfer.wanted() if place.blob_id == blob.id) == [1, 2]
    for number in (1, 2):
        transfer.take(blob.id, number, files["model"][number * 1024 : (number + 1) * 1024])
    assert slots.blob_path(blob).read_bytes() == files["model"]


@pytest.mark.parametrize(("what", "word"), [("part_sync", "parts"), ("sync_folder", "blobs")])
def test_f37_after_a_failed_sync_nothing_of_the_part_is_believed(
    board: Board, disk: FaultyDisk, what: str, word: str
) -> None:
    """EIO once: the kernel may have thrown the bytes away and says so only once; the file is fetched anew."""
    name = hashlib.sha256(model(3)["model"]).hexdigest()
    disk.faults = [Fault(errno.EIO, what, word if what == "sync_folder" else name)]
    board.publish(files=model(3))
    board.download()
    assert board.report.error is not None and board.report.error.code == "disk_error"
    folder = Path(board.config.state_dir)
    assert name not in (*disk.names(folder / "parts"), *disk.names(folder / "blobs"))
    carry_on(board)
    assert version(board) == "3"


def test_f38_without_file_descriptors_it_waits_and_loses_none(tmp_path: Path) -> None:
    """EMFILE: said as an error of the disk, no chunk on disk is given up, no descriptor leaks."""
    slots, publisher = Slots(tmp_path), Publisher(1024)
    files = tiny_files()
    manifest = publisher.manifest(files)
    pieces = [(place, payload) for data in files.values() for place, payload in publisher.messages(data)]
    blob = manifest.blobs["model"]
    slots.part_path(blob).write_bytes(files["model"][:2048])
    baseline = _descriptors()
    transfer = Transfer(manifest, slots, WINDOW_BYTES)
    with _no_descriptor_left(), pytest.raises(StorageError) as caught:
        transfer.take(blob.id, None, build_index(files["model"], 1024))
    assert caught.value.code == "disk_error" and pieces
    transfer.close()
    again = Transfer(manifest, slots, WINDOW_BYTES)
    again.take(blob.id, None, build_index(files["model"], 1024))
    assert {0, 1}.isdisjoint(place.number for place in again.wanted() if place.blob_id == blob.id)
    again.close()
    assert _descriptors() == baseline


def _descriptors() -> "list[int]":
    """Return what is open, but for the folder that tells it."""
    found = (int(path.name) for path in Path("/proc/self/fd").iterdir())
    return [number for number in found if _is_open(number)]


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


class _no_descriptor_left:
    """Lower the limit so that the next file cannot be opened."""

    def __enter__(self) -> None:
        self._limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        descriptors = _descriptors()
        lowest = next(number for number in range(len(descriptors) + 1) if number not in descriptors)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, self._limits[1]))

    def __exit__(self, *_: object) -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, self._limits)


def test_f39_what_a_cut_left_between_pointer_and_removal_is_swept(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Orphans go at the next boot, and every pointer leads somewhere."""
    with monkeypatch.context() as patch:
        patch.setattr(Slots, "collect_garbage", lambda _: None)
        for number in (3, 4):
            board.install(files=model(number))
    folder = Path(board.config.state_dir)
    assert len(list((folder / "releases").iterdir())) == 4
    board.reboot()
    state = board.slots.state
    pointers = {state.active.release, state.last_known_good.release, state.factory.release}
    assert {path.stem for path in (folder / "releases").iterdir()} == pointers
    for digest in pointers:
        board.slots.model_files(board.slots.release(digest))


def test_an_installation_of_8_mb_takes_at_most_2_mb_of_memory(tmp_path: Path) -> None:
    """Chunks go to disk one by one, and whole files are hashed block by block."""
    size_bytes, publisher = 8 * MIB, Publisher(16 * 1024)
    source = tmp_path / "source"
    source.write_bytes(os.urandom(size_bytes))
    index = build_index(source.read_bytes(), publisher.chunk_bytes)
    blob = publisher.blob(source.read_bytes())
    manifest = publisher.manifest(tiny_files())
    manifest = replace(manifest, blobs={**manifest.blobs, "model": blob})
    tracemalloc.start()
    transfer = Transfer(manifest, Slots(tmp_path / "state"), WINDOW_BYTES)
    transfer.take(blob.id, None, index)
    with source.open("rb") as file:
        for number in range(blob.chunks):
            transfer.take(blob.id, number, file.read(blob.chunk_bytes))
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (tmp_path / "state" / "blobs" / blob.sha256).stat().st_size == size_bytes
    assert peak_bytes <= 2 * MIB


def test_f40_an_installation_writes_little_more_than_the_release(tmp_path: Path, disk: FaultyDisk) -> None:
    """At most 1.1 times its bytes and 1 MiB, and a sync for each MiB and a few more: eMMC wears out."""
    board = Board(tmp_path / "board", Publisher(16 * 1024), disk=disk)
    files = {**tiny_files(), "model": os.urandom(2 * MIB)}
    board.install(files=files)
    size_bytes = sum(map(len, files.values()))
    assert board.report.phase == "active"
    assert size_bytes <= disk.written_bytes <= 1.1 * size_bytes + MIB
    assert disk.syncs <= 60
