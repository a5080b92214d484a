"""The disk: the few operations between which the power can fail. A test puts another one in its place.

What is written lasts only once it is synced; a name that came, went or changed lasts only once its folder is.
"""

import hashlib
import os
from pathlib import Path
from typing import List, Optional

_BLOCK_BYTES = 64 * 1024


class Part:
    """A file of fixed size that is filled in any order. Every method raises OSError."""

    def __init__(self, path: Path, size_bytes: int) -> None:
        """Open or make it. What is there beyond the size is cut off, what is not there yet reads as zeros."""
        self._descriptor = os.open(str(path), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.ftruncate(self._descriptor, size_bytes)
            # Also fills holes: a full disk is known now, not at some later chunk.
            os.posix_fallocate(self._descriptor, 0, size_bytes)
        except OSError:
            self.close()
            raise

    def pread(self, length: int, offset: int) -> bytes:
        """Return `length` bytes from `offset`, fewer at the end of the file."""
        return os.pread(self._descriptor, length, offset)

    def pwrite(self, data: bytes, offset: int) -> None:
        """Write all of `data` at `offset`."""
        rest = memoryview(data)
        while rest:
            written = os.pwrite(self._descriptor, rest, offset)
            rest, offset = rest[written:], offset + written

    def sync_data(self) -> None:
        """Make every byte last that was written so far, without the times of the file."""
        os.fdatasync(self._descriptor)

    def sync(self) -> None:
        """Make the whole file last."""
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Let go of it; a second time does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class Disk:
    """The board's own file system. Every method raises OSError."""

    def make_folder(self, path: Path) -> None:
        """Make a folder that lasts, and those above it, unless they are there."""
        if not path.is_dir():
            self.make_folder(path.parent)
            path.mkdir(exist_ok=True)
            self.sync_folder(path.parent)

    def names(self, folder: Path) -> List[str]:
        """Return the names in a folder, sorted."""
        return sorted(path.name for path in folder.iterdir())

    def size(self, path: Path) -> Optional[int]:
        """Return how many bytes a file has, None if there is no such file."""
        try:
            return path.stat().st_size
        except FileNotFoundError:
            return None

    def read(self, path: Path) -> bytes:
        """Return a whole small file."""
        return path.read_bytes()

    def write(self, path: Path, data: bytes) -> None:
        """Make a file of this content, in place of one that is there."""
        path.write_bytes(data)

    def sync(self, path: Path) -> None:
        """Make a file's content last."""
        _sync(path, os.O_RDWR)

    def sync_folder(self, folder: Path) -> None:
        """Make creations, renames and removals in a folder last."""
        _sync(folder, os.O_RDONLY)

    def rename(self, source: Path, target: Path) -> None:
        """Give a file another name, in place of the file that had it."""
        source.replace(target)

    def remove(self, path: Path) -> None:
        """Remove a file."""
        path.unlink()

    def open_part(self, path: Path, size_bytes: int) -> Part:
        """Open a file of `size_bytes` whose room is reserved; what an earlier attempt left in it is kept."""
        return Part(path, size_bytes)

    def free_bytes(self, folder: Path) -> int:
        """Return how much the agent may still write there."""
        found = os.statvfs(str(folder))
        return found.f_bavail * found.f_frsize

    def hash_file(self, path: Path) -> str:
        """Return the SHA-256 (hex) of a file, read block by block."""
        digest = hashlib.sha256()
        with path.open("rb") as file:
            for block in iter(lambda: file.read(_BLOCK_BYTES), b""):
                digest.update(block)
        return digest.hexdigest()


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(str(path), flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
