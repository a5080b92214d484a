"""Which files of a folder have been asked about, also before the last restart."""

import hashlib
import logging
import os
from pathlib import Path
from typing import AbstractSet, NamedTuple, Set

from edge_agent.errors import StorageError
from edge_agent.files import write_whole

_log = logging.getLogger(__name__)
_MARK_BYTES = 8
_SAVE_EVERY_S = 60.0


class FileState(NamedTuple):
    """A file's name, its size in bytes, and when it was last written to, in nanoseconds since 1970."""

    name: str
    size: int
    mtime_ns: int

    def mark(self) -> bytes:
        """Return 8 bytes that stand for it: a file that was changed is another one."""
        said = f"{self.size} {self.mtime_ns} ".encode("ascii") + os.fsencode(self.name)
        return hashlib.blake2b(said, digest_size=_MARK_BYTES).digest()


class Seen:
    """A set of files, by their marks; on disk their list, 8 bytes each.

    It is saved at most once a minute, to spare the eMMC: what a power cut takes is asked about once more. A
    disk that refuses costs the memory of it, nothing else.
    """

    def __init__(self, path: Path, now_s: float) -> None:
        """Read the list, if there is one."""
        self._path = path
        self._marks = _read(path)
        self._is_saved = True
        self._saved_s = now_s

    def __contains__(self, mark: bytes) -> bool:
        return mark in self._marks

    def add(self, mark: bytes) -> None:
        """Remember a file."""
        self._marks.add(mark)
        self._is_saved = False

    def keep_only(self, marks: AbstractSet[bytes]) -> None:
        """Forget every other file: it is gone, or was changed."""
        gone = self._marks - marks
        self._marks -= gone
        self._is_saved = self._is_saved and not gone

    def save(self, now_s: float, is_last: bool = False) -> None:
        """Write the list if it has changed, and was not written a moment ago; `is_last` forces it."""
        if self._is_saved or (now_s - self._saved_s < _SAVE_EVERY_S and not is_last):
            return
        self._saved_s = now_s
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self._path, b"".join(sorted(self._marks)))
            self._is_saved = True
        except (StorageError, OSError) as error:
            _log.warning("%s cannot be written, its files may be asked about again: %s", self._path, error)


def _read(path: Path) -> Set[bytes]:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return set()
    except OSError as error:
        _log.warning("%s cannot be read, its files may be asked about again: %s", path, error)
        return set()
    return {data[start : start + _MARK_BYTES] for start in range(0, len(data), _MARK_BYTES)}
