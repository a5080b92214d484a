"""Promises of edge_agent.disk, kept by the real disk and by the one in memory alike."""

import errno
import hashlib
import os
from pathlib import Path

import pytest

from edge_agent.disk import Disk
from tests.powercut.disk import CrashDisk


@pytest.fixture(params=[Disk, CrashDisk])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Disk:
    """A disk on which `folder` has been made."""
    disk: Disk = request.param()
    disk.make_folder(tmp_path / "a" / "folder")
    return disk


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "a" / "folder"


def test_what_is_written_is_read(disk: Disk, folder: Path) -> None:
    """A second time replaces the first, also with less."""
    for data in (b"longer", b"short"):
        disk.write(folder / "x", data)
        disk.sync(folder / "x")
        disk.sync_folder(folder)
        assert disk.read(folder / "x") == data
    assert disk.size(folder / "x") == 5 and disk.size(folder / "y") is None
    assert disk.hash_file(folder / "x") == hashlib.sha256(b"short").hexdigest()
    assert disk.free_bytes(folder) > 0


def test_names_come_and_go(disk: Disk, folder: Path) -> None:
    """A rename takes the place of what was there; names are sorted."""
    for name in ("b", "a", "c"):
        disk.write(folder / name, name.encode())
    disk.rename(folder / "a", folder / "c")
    assert disk.names(folder) == ["b", "c"] and disk.read(folder / "c") == b"a"
    disk.remove(folder / "b")
    assert disk.names(folder) == ["c"]


def test_a_folder_may_be_made_twice(disk: Disk, folder: Path) -> None:
    """What is in it stays."""
    disk.write(folder / "x", b"")
    disk.make_folder(folder)
    assert disk.names(folder) == ["x"]


@pytest.mark.parametrize("what", ["read", "remove", "sync", "hash_file"])
def test_what_is_not_there_is_told(disk: Disk, folder: Path, what: str) -> None:
    """ENOENT, as every caller expects."""
    with pytest.raises(FileNotFoundError) as caught:
        getattr(disk, what)(folder / "x")
    assert caught.value.errno == errno.ENOENT


def test_a_part_has_its_size_and_takes_bytes_anywhere(disk: Disk, folder: Path) -> None:
    """What an earlier attempt left is kept, what is too much is cut off, what is missing reads as zeros."""
    disk.write(folder / "x", b"0123456789")
    part = disk.open_part(folder / "x", 6)
    part.pwrite(b"AB", 1)
    part.sync_data()
    part.sync()
    part.close()
    part.close()
    assert disk.read(folder / "x") == b"0AB345"
    longer = disk.open_part(folder / "x", 8)
    assert longer.pread(10, 4) == b"45\0\0"
    longer.close()


def test_a_part_is_written_whole_though_the_system_takes_it_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A short write is gone on with."""
    pwrite = os.pwrite
    part = Disk().open_part(tmp_path / "x", 10)
    monkeypatch.setattr(os, "pwrite", lambda file, data, offset: pwrite(file, bytes(data[:3]), offset))
    part.pwrite(b"0123456789", 0)
    part.close()
    assert (tmp_path / "x").read_bytes() == b"0123456789"


def test_a_folder_lasts_with_every_folder_above_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each new name is synced in the folder that holds it."""
    synced = []
    monkeypatch.setattr(Disk, "sync_folder", lambda _, folder: synced.append(folder))
    Disk().make_folder(tmp_path / "a" / "b")
    assert synced == [tmp_path, tmp_path / "a"]
