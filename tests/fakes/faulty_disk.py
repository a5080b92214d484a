"""The board's own disk, on which operations fail as told; it counts what is written and synced."""

import os
from pathlib import Path
from typing import List

from edge_agent.disk import Disk, Part


class Fault:
    """An error of one operation on paths with a word in them: it works `after` times, then fails `times`."""

    def __init__(self, number: int, what: str, word: str = "", after: int = 0, times: int = 1) -> None:
        self._number, self._what, self._word = number, what, word
        self._after, self._left = after, times

    def meet(self, what: str, path: str) -> None:
        """Raise OSError if the operation is the one that fails."""
        if what != self._what or self._word not in path or not self._left:
            return
        if self._after:
            self._after -= 1
            return
        self._left -= 1
        raise OSError(self._number, os.strerror(self._number), path)


class FaultyDisk(Disk):
    """A disk whose `faults` a test sets.

    Attributes:
        faults: what fails.
        written_bytes: what was written so far.
        syncs: how often a file or a folder was synced.
    """

    def __init__(self) -> None:
        self.faults: List[Fault] = []
        self.written_bytes = 0
        self.syncs = 0

    def read(self, path: Path) -> bytes:
        self.meet("read", path)
        return super().read(path)

    def write(self, path: Path, data: bytes) -> None:
        self.meet("write", path)
        self.written_bytes += len(data)
        super().write(path, data)

    def sync(self, path: Path) -> None:
        self.meet("sync", path)
        self.syncs += 1
        super().sync(path)

    def sync_folder(self, folder: Path) -> None:
        self.meet("sync_folder", folder)
        self.syncs += 1
        super().sync_folder(folder)

    def rename(self, source: Path, target: Path) -> None:
        self.meet("rename", target)
        super().rename(source, target)

    def remove(self, path: Path) -> None:
        self.meet("remove", path)
        super().remove(path)

    def open_part(self, path: Path, size_bytes: int) -> Part:
        self.meet("open_part", path)
        return _FaultyPart(self, path, size_bytes)

    def hash_file(self, path: Path) -> str:
        self.meet("hash_file", path)
        return super().hash_file(path)

    def meet(self, what: str, path: Path) -> None:
        """Raise OSError if this operation is to fail."""
        for fault in self.faults:
            fault.meet(what, str(path))


class _FaultyPart(Part):
    """A part on a FaultyDisk."""

    def __init__(self, disk: FaultyDisk, path: Path, size_bytes: int) -> None:
        super().__init__(path, size_bytes)
        self._disk, self._path = disk, path

    def pread(self, length: int, offset: int) -> bytes:
        self._disk.meet("pread", self._path)
        return super().pread(length, offset)

    def pwrite(self, data: bytes, offset: int) -> None:
        self._disk.meet("pwrite", self._path)
        self._disk.written_bytes += len(data)
        super().pwrite(data, offset)

    def sync_data(self) -> None:
        self._disk.meet("sync_data", self._path)
        self._disk.syncs += 1
        super().sync_data()

    def sync(self) -> None:
        self._disk.meet("part_sync", self._path)
        self._disk.syncs += 1
        super().sync()
