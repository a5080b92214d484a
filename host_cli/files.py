"""Files that are complete the moment they are visible, and their hashes."""

import errno
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from contract.artifacts import FileEntry

_READ_BYTES = 1024 * 1024
# What the system says when there is no room: on the disk, in the quota, below a limit of file sizes.
DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def write_bytes(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Replace the file at `path` by `data`: a reader sees the old file or the whole new one.

    Args:
        path: the file; its folder is made if need be.
        data: the whole content.
        mode: permission bits of the new file, set before the first byte is written.
    """

    def write(temporary: Path) -> None:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)
            file.write(data)

    write_with(path, write)


def write_with(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file beside `path`, then put it in place of `path`.

    The temporary name keeps the suffix of `path`, because Keras and numpy choose a format by it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        write(temporary)
        sync(temporary)
        temporary.replace(path)
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)  # a full disk is met by an open file, and such an error names none
        raise
    finally:
        temporary.unlink(missing_ok=True)
    sync(path.parent)


def sync(path: Path) -> None:
    """Make a file's bytes, or a folder's names, last; without it a rename may survive and the bytes not."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
