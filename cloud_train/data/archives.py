"""Pictures in a .zip or .tar.gz: copied into a nameless file, never to a place that the archive names."""

import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, cast

from cloud_train.data.folders import Found, Parts, Read, check_count, is_hidden
from cloud_train.data.pictures import MAX_PICTURE_BYTES, is_picture
from cloud_train.data.samples import BadSamples
from cloud_train.data.spool import Spool
from host_cli.progress import Advance, progress

SUFFIXES = (".zip", ".tar.gz", ".tgz", ".tar")
# What an archive may grow to; a folder has no such limit.
MAX_UNPACKED_BYTES = 64 * 1024**3
# What stands before a member of a .tar, long names and extra fields with it.
MAX_TAR_HEADER_BYTES = 1024 * 1024
# A .zip in a .zip in a .zip is nothing that people publish.
MAX_DEPTH = 2

_DAMAGED = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError),
    *(NotImplementedError, RuntimeError, ValueError),
)


def is_archive(name: str) -> bool:
    """Say whether a file's name is that of an archive."""
    return name.lower().endswith(SUFFIXES)


def open_archive(path: Path, near: Path | None) -> Found:
    """List the pictures of an archive, also of archives inside it (one level); links are ignored.

    Args:
        path: .zip, .tar.gz, .tgz or .tar.
        near: a folder on the disk that takes a copy of the pictures, as in `Spool`.

    Raises:
        BadSamples: it is damaged, encrypted, or larger than the limits above.
        Failed: the disk is full.
    """
    try:
        with (
            path.open("rb") as stream,
            progress(f"reading {path.name}", path.stat().st_size, "bytes") as done,
        ):
            collector = _Collector(Spool(near), _meter(stream, done))
            collector.take(path.name, stream, depth=1)
    except BadSamples:
        raise
    except _DAMAGED as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise  # the archive may not be read, or is not there
        raise BadSamples(f"it is no whole archive: {error}") from error
    return collector.found(path.name)


class _Collector:
    """Copies pictures out of archives into a spool."""

    def __init__(self, spool: Spool, moved: Callable[[], None]) -> None:
        self._spool = spool
        self._moved = moved
        self._pictures: dict[Parts, Read] = {}
        self._folders: set[Parts] = set()
        self._skipped: list[str] = []
        self._members = 0
        self._unpacked_bytes = 0

    def found(self, name: str) -> Found:
        """Return everything so far, as what lies in `name`."""
        everything = [*self._pictures, *self._folders]
        above = {parts[:depth] for parts in everything for depth in range(len(parts))}
        return Found(name, self._pictures, frozenset(above | self._folders), tuple(self._skipped))

    def take(self, name: str, stream: IO[bytes], depth: int) -> None:
        """Go through one archive."""
        if name.lower().endswith(".zip"):
            self._take_zip(stream, depth)
        elif name.lower().endswith(".tar"):
            self._take_tar(stream, depth)
        else:
            with gzip.GzipFile(fileobj=stream) as unpacked:
                self._take_tar(cast(IO[bytes], unpacked), depth)

    def _take_zip(self, stream: IO[bytes], depth: int) -> None:
        with zipfile.ZipFile(stream) as archive:
            for member in archive.infolist():
                parts = self._count(member.filename, member.file_size)
                if parts and member.is_dir():
                    self._folders.add(parts)
                elif parts and _is_wanted(parts, depth):
                    with archive.open(member) as content:
                        self._take_member(parts, content, member.file_size, depth)

    def _take_tar(self, stream: IO[bytes], depth: int) -> None:
        bounded = _Bounded(stream)
        with tarfile.open(fileobj=bounded, mode="r:") as archive:
            while (member := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined]  # tarfile keeps all of them
                parts = self._count(member.name, member.size)
                if parts and member.isdir():
                    self._folders.add(parts)
                elif parts and member.isreg() and _is_wanted(parts, depth):
                    content = archive.extractfile(member)
                    assert content is not None  # isreg() says that it has some
                    bounded.allow(MAX_UNPACKED_BYTES if is_archive(parts[-1]) else MAX_PICTURE_BYTES)
                    self._take_member(parts, content, member.size, depth)
                bounded.allow(MAX_TAR_HEADER_BYTES)
        if bounded.last != bytes(tarfile.BLOCKSIZE):
            # tarfile takes anything that is no header for the end.
            raise BadSamples("it is no whole archive: its end is missing, or a header is damaged")
        stream.read(MAX_TAR_HEADER_BYTES)  # to the very end, where gzip has its checksum

    def _take_member(self, parts: Parts, content: IO[bytes], size_bytes: int, depth: int) -> None:
        if is_archive(parts[-1]):
            self.take(parts[-1], content, depth + 1)
        elif size_bytes > MAX_PICTURE_BYTES:
            self._skipped.append(f"{'/'.join(parts)}: the file has more than {MAX_PICTURE_BYTES} bytes")
        else:
            data = content.read(size_bytes)
            self._pictures[parts] = partial(self._spool.read, self._spool.append(data), len(data))

    def _count(self, name: str, size_bytes: int) -> Parts:
        # Returns the folders and the name of what may be looked at, and nothing for the rest.
        self._moved()
        self._members += 1
        check_count(self._members)
        self._unpacked_bytes += size_bytes
        if size_bytes < 0 or self._unpacked_bytes > MAX_UNPACKED_BYTES:
            raise BadSamples(f"it has more than {MAX_UNPACKED_BYTES} bytes: unpack it, and name the folder")
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            self._skipped.append(f"{name}: its name leads out of the archive")
            return ()
        return () if is_hidden(path.parts) else path.parts


def _is_wanted(parts: Parts, depth: int) -> bool:
    return is_picture(parts[-1]) or (is_archive(parts[-1]) and depth < MAX_DEPTH)


def _meter(stream: IO[bytes], done: Advance) -> Callable[[], None]:
    farthest = 0

    def moved() -> None:
        nonlocal farthest
        now = max(farthest, stream.tell())
        done(now - farthest)
        farthest = now

    return moved


class _Bounded(io.RawIOBase):
    """A stream of which only so much is read: the size in a .tar header is a stranger's word."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._left_bytes = MAX_TAR_HEADER_BYTES
        self.last = b""

    def allow(self, size_bytes: int) -> None:
        """Let so many bytes be read from now on."""
        self._left_bytes = size_bytes

    def read(self, size: int = -1) -> bytes:
        """Read as the stream does."""
        if not 0 <= size <= self._left_bytes:
            raise BadSamples("a header in the archive is too large")
        self._left_bytes -= size
        self.last = self._stream.read(size)
        return self.last

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Seek as the stream does."""
        if offset > MAX_UNPACKED_BYTES:
            raise BadSamples(f"it has more than {MAX_UNPACKED_BYTES} bytes")
        return self._stream.seek(offset, whence)

    def seekable(self) -> bool:
        """Say that it can be: a .zip inside is read from its end."""
        return True

    def tell(self) -> int:
        """Return where the stream is."""
        return self._stream.tell()
