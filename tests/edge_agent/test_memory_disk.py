"""A disk in memory behaves as one, and keeps what devices have in common once."""

import errno
import hashlib
from pathlib import Path

import pytest

from edge_agent.files import write_whole
from edge_agent.simulate.memory_disk import MemoryDisk, Pool

FOLDER = Path("/simulated/a")


@pytest.fixture
def disk():
    disk = MemoryDisk(Pool())
    disk.make_folder(FOLDER)
    return disk


def fill(disk, name, chunks):
    """Write a file of chunks as a transfer does."""
    part = disk.open_part(FOLDER / name, sum(map(len, chunks)))
    for number, chunk in enumerate(chunks):
        part.pwrite(chunk, number * len(chunks[0]))
    return part


def test_what_was_written_is_read(disk):
    """Whole files and parts, by their newest names."""
    write_whole(FOLDER / "state.json", b"one", disk)
    write_whole(FOLDER / "state.json", b"two", disk)
    fill(disk, "part", [b"aaaa", b"bb"])
    disk.rename(FOLDER / "part", FOLDER / "blob")
    assert disk.names(FOLDER) == ["blob", "state.json"]
    assert (disk.read(FOLDER / "state.json"), disk.size(FOLDER / "state.json")) == (b"two", 3)
    assert (disk.read(FOLDER / "blob"), disk.size(FOLDER / "blob")) == (b"aaaabb", 6)
    assert disk.hash_file(FOLDER / "blob") == hashlib.sha256(b"aaaabb").hexdigest()
    disk.remove(FOLDER / "blob")
    assert disk.size(FOLDER / "blob") is None


def test_a_part_goes_on_where_it_was_left(disk):
    """What was written is there after a reboot, what was not reads as zeros."""
    fill(disk, "part", [b"aaaa", b"bb"])
    again = disk.open_part(FOLDER / "part", 6)
    assert (again.pread(4, 0), again.pread(2, 4)) == (b"aaaa", b"bb")
    fresh = disk.open_part(FOLDER / "other", 6)
    assert fresh.pread(4, 4) == bytes(2)


def test_devices_share_equal_chunks_and_only_those():
    """A thousand devices with one file need its memory once; a changed byte is never taken for another's."""
    pool = Pool()
    first, second, third = (MemoryDisk(pool) for _ in range(3))
    for disk in (first, second, third):
        disk.make_folder(FOLDER)
    parts = [fill(disk, "blob", [b"x" * 4, bytes([1]) * 4]) for disk in (first, second)]
    other = fill(third, "blob", [b"x" * 4, bytes([2]) * 4])
    assert parts[0].chunks[4] is parts[1].chunks[4]
    assert other.chunks[4] == bytes([2]) * 4
    assert first.hash_file(FOLDER / "blob") == second.hash_file(FOLDER / "blob")
    assert third.hash_file(FOLDER / "blob") == hashlib.sha256(b"x" * 4 + bytes([2]) * 4).hexdigest()


def test_a_full_disk_takes_small_files_only(disk):
    """As a real one that has a little room left."""
    disk.is_full = True
    disk.write(FOLDER / "small", b"x")
    for attempt in (
        lambda: disk.open_part(FOLDER / "big", 100_000),
        lambda: disk.write(FOLDER / "big", bytes(100_000)),
    ):
        with pytest.raises(OSError) as caught:
            attempt()
        assert caught.value.errno == errno.ENOSPC


def test_what_is_not_there_is_refused_as_by_a_real_disk(disk):
    """FileNotFoundError, which the agent understands."""
    for attempt in (disk.read, disk.remove, disk.hash_file, lambda path: disk.names(path / "folder")):
        with pytest.raises(FileNotFoundError):
            attempt(FOLDER / "nothing")
