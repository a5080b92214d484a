"""A nameless file on the disk for what does not fit in memory: it is gone when nobody uses it any more."""

import os
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from cloud_train.data.samples import Array
from host_cli import files
from host_cli.errors import Failed


class Spool:
    """Bytes that are appended, and read or mapped again."""

    def __init__(self, near: Path | None) -> None:
        """Make the file, without a name, so that not even SIGKILL leaves it behind.

        Args:
            near: a folder, which need not be there yet, on the disk to use; without one, the system's
                temporary folder.
        """
        self._folder = None if near is None else _existing(near)
        with disk_errors(self._where), tempfile.TemporaryFile(dir=self._folder) as file:
            self._descriptor = os.dup(file.fileno())
        weakref.finalize(self, os.close, self._descriptor)
        self.size_bytes = 0

    @property
    def _where(self) -> str:
        return str(self._folder or tempfile.gettempdir())

    def append(self, data: bytes | memoryview) -> int:
        """Write bytes at the end, and return where they begin.

        Raises:
            Failed: the disk is full or broken.
        """
        offset = self.size_bytes
        left = memoryview(data)
        with disk_errors(self._where):
            while left:
                left = left[os.write(self._descriptor, left) :]
        self.size_bytes += len(data)
        return offset

    def read(self, offset: int, length: int) -> bytes:
        """Return bytes that were written; any thread may ask."""
        return os.pread(self._descriptor, length, offset)

    def map(self, shape: tuple[int, ...]) -> Array:
        """Return everything as a read-only array of uint8; the file lives as long as the array."""
        with os.fdopen(os.dup(self._descriptor), "rb") as stream:
            return np.memmap(stream, np.uint8, mode="r", shape=shape)


@contextmanager
def disk_errors(where: str) -> Iterator[None]:
    """Say that the disk is full, and where."""
    try:
        yield
    except OSError as error:
        if error.errno not in files.DISK_FULL:
            raise
        hint = "free some space there, or take a folder on another disk"
        raise Failed(error.strerror or str(error), where, hint) from error


def _existing(folder: Path) -> Path:
    # The same disk, and no new folder that would stay behind when reading fails.
    return next(each for each in (folder.absolute(), *folder.absolute().parents) if each.is_dir())
