"""Files that are complete the moment they are visible, and their hashes."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from contract.artifacts import FileEntry

_READ_BYTES = 1024 * 1024


def write_bytes(path: Path, data: bytes) -> None:
    """Replace the file at `path` by `data`: a reader sees the old file or the whole new one."""
    write_with(path, lambda temporary: temporary.write_bytes(data))


def write_with(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then put it in place of `path`.

    The temporary name keeps the suffix of `path`, because Keras and numpy choose a format by it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        write(temporary)
        _flush(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _flush(path.parent)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content, 64 lower-case hex digits."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_READ_BYTES):
            digest.update(block)
    return digest.hexdigest()


def describe(path: Path) -> FileEntry:
    """Return name, size and hash of a file, as they stand in a manifest beside it."""
    return FileEntry(path=path.name, size=path.stat().st_size, sha256=sha256_of(path))


def _flush(path: Path) -> None:
    # Without this a rename may reach the disk before the bytes do, and a power cut leaves an empty file.
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
