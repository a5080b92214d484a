"""A disk in memory for each simulated device; equal chunks of equal files are kept once for all of them."""

import errno
import hashlib
import os
from pathlib import Path
from typing import Dict, List, Optional, Tuple, Union

from edge_agent.disk import Disk, Part

_FREE_BYTES = 8 * 1024**3
_LITTLE_BYTES = 64 * 1024


class Pool:
    """Chunks that devices share, by file name and place. A blob's name is its hash: whoever has it has these.

    What no device keeps any more stays until the process ends; that is one copy of each release.
    """

    def __init__(self) -> None:
        self._chunks: Dict[Tuple[str, int], bytes] = {}
        self._hashes: Dict[Tuple[int, ...], str] = {}

    def share(self, name: str, offset: int, data: bytes) -> bytes:
        """Return the equal bytes that others hold already, or these."""
        known = self._chunks.setdefault((name, offset), data)
        return known if known == data else data

    def hash(self, name: str, chunks: Dict[int, bytes]) -> str:
        """Return the SHA-256 (hex) of chunks by offset; of those that are shared it is counted once."""
        is_shared = all(self._chunks.get((name, offset)) is data for offset, data in chunks.items())
        if not is_shared:
            return _hash(chunks)
        key = tuple(id(chunks[offset]) for offset in sorted(chunks))
        if key not in self._hashes:
            self._hashes[key] = _hash(chunks)
        return self._hashes[key]


class MemoryPart(Part):
    """A file that is being filled. Chunks are kept as they came, so they must not overlap."""

    def __init__(self, pool: Pool, name: str, size_bytes: int) -> None:
        """Begin with nothing but zeros."""
        self._pool = pool
        self._name = name
        self.size_bytes = size_bytes
        self.chunks: Dict[int, bytes] = {}

    def pread(self, length: int, offset: int) -> bytes:
        """Return a chunk as it was written, or zeros."""
        data = self.chunks.get(offset, b"")[:length]
        return data + bytes(max(0, min(length, self.size_bytes - offset)) - len(data))

    def pwrite(self, data: bytes, offset: int) -> None:
        """Keep a chunk."""
        self.chunks[offset] = self._pool.share(self._name, offset, data)

    def sync_data(self) -> None:
        """Memory lasts as long as the process."""

    def sync(self) -> None:
        """Memory lasts as long as the process."""

    def close(self) -> None:
        """There is nothing to let go of."""


class MemoryDisk(Disk):
    """One device's files. Every method raises OSError as a real disk would.

    Attributes:
        is_full: there is room for small files only.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._folders: Dict[str, Dict[str, Union[bytes, MemoryPart]]] = {}
        self.is_full = False

    def make_folder(self, path: Path) -> None:
        """Make a folder, unless it is there."""
        self._folders.setdefault(str(path), {})

    def names(self, folder: Path) -> List[str]:
        """Return the names in a folder, sorted."""
        return sorted(self._folder(folder))

    def size(self, path: Path) -> Optional[int]:
        """Return how many bytes a file has, None if there is no such file."""
        file = self._folder(path.parent).get(path.name)
        if isinstance(file, MemoryPart):
            return file.size_bytes
        return None if file is None else len(file)

    def read(self, path: Path) -> bytes:
        """Return a whole file."""
        file = self._file(path)
        return b"".join(_in_order(file.chunks)) if isinstance(file, MemoryPart) else file

    def write(self, path: Path, data: bytes) -> None:
        """Make a file of this content."""
        self._require_room(path, len(data))
        self._folder(path.parent)[path.name] = self._pool.share(path.name, 0, data)

    def sync(self, path: Path) -> None:
        """Memory lasts as long as the process."""
        self._file(path)

    def sync_folder(self, folder: Path) -> None:
        """Memory lasts as long as the process."""
        self._folder(folder)

    def rename(self, source: Path, target: Path) -> None:
        """Give a file another name."""
        self._folder(target.parent)[target.name] = self._file(source)
        del self._folder(source.parent)[source.name]

    def remove(self, path: Path) -> None:
        """Remove a file."""
        self._file(path)
        del self._folder(path.parent)[path.name]

    def open_part(self, path: Path, size_bytes: int) -> Part:
        """Open a file of `size_bytes`; what an earlier attempt left in it is kept."""
        file = self._folder(path.parent).get(path.name)
        if not isinstance(file, MemoryPart) or file.size_bytes != size_bytes:
            self._require_room(path, size_bytes)
            file = self._folder(path.parent)[path.name] = MemoryPart(self._pool, path.name, size_bytes)
        return file

    def free_bytes(self, folder: Path) -> int:
        """Return how much may still be written."""
        return _LITTLE_BYTES if self.is_full else _FREE_BYTES

    def hash_file(self, path: Path) -> str:
        """Return the SHA-256 (hex) of a file."""
        file = self._file(path)
        if isinstance(file, MemoryPart):
            return self._pool.hash(path.name, file.chunks)
        return hashlib.sha256(file).hexdigest()

    def _folder(self, path: Path) -> Dict[str, Union[bytes, MemoryPart]]:
        try:
            return self._folders[str(path)]
        except KeyError:
            raise _error(errno.ENOENT, path) from None

    def _file(self, path: Path) -> Union[bytes, MemoryPart]:
        try:
            return self._folder(path.parent)[path.name]
        except KeyError:
            raise _error(errno.ENOENT, path) from None

    def _require_room(self, path: Path, size_bytes: int) -> None:
        if size_bytes > self.free_bytes(path):
            raise _error(errno.ENOSPC, path)


def _hash(chunks: Dict[int, bytes]) -> str:
    digest = hashlib.sha256()
    for data in _in_order(chunks):
        digest.update(data)
    return digest.hexdigest()


def _in_order(chunks: Dict[int, bytes]) -> List[bytes]:
    return [chunks[offset] for offset in sorted(chunks)]


def _error(number: int, path: Path) -> OSError:
    # OSError chooses the fitting subclass, such as FileNotFoundError.
    return OSError(number, os.strerror(number), str(path))
