"""A small record on disk behind a checksum, and beside it the one before. Wrong bytes are never believed."""

import hashlib
import logging
from pathlib import Path
from typing import Generic, Optional, Type, TypeVar

from contract.codec import decode, encode
from contract.errors import ContractError, MessageError
from contract.records import Record
from edge_agent.disk import Disk
from edge_agent.files import explain, is_lost, write_whole

_log = logging.getLogger(__name__)
R = TypeVar("R", bound=Record)


class StateFile(Generic[R]):
    """One record as `NAME.json`, and the one that it replaced as `NAME.prev.json`."""

    def __init__(self, folder: Path, name: str, kind: Type[R], disk: Disk) -> None:
        self._path = folder / (name + ".json")
        self._previous = folder / (name + ".prev.json")
        self._kind = kind
        self._disk = disk

    def load(self) -> Optional[R]:
        """Return the record, else the one before, None if neither is there and whole.

        Raises:
            StorageError: they cannot be read now, which may pass.
        """
        for path in (self._path, self._previous):
            found = self._read(path)
            if found is not None:
                return found
        return None

    def is_whole(self) -> bool:
        """Say whether the newest record, not only the one before, is there and undamaged.

        Raises:
            StorageError: it cannot be read now.
        """
        return self._read(self._path) is not None

    def save(self, record: R) -> None:
        """Put a record on disk; the one that was there is kept beside it, unless it is damaged.

        Raises:
            StorageError: it could not be written; what was there still is.
        """
        before = self._read(self._path)
        if before is not None:
            write_whole(self._previous, _seal(before), self._disk)
        write_whole(self._path, _seal(record), self._disk)

    def _read(self, path: Path) -> Optional[R]:
        try:
            checksum, _, body = self._disk.read(path).partition(b"\n")
            if _checksum(body) != checksum:
                raise MessageError("checksum does not match")
            return decode(self._kind, body)
        except FileNotFoundError:
            return None
        except OSError as error:
            if not is_lost(error):
                raise explain(error, path) from error
            _log.warning("%s cannot be read: %s", path, error)
        except ContractError as error:
            _log.warning("%s is damaged: %s", path, error)
        return None


def _seal(record: Record) -> bytes:
    body = encode(record)
    return _checksum(body) + b"\n" + body


def _checksum(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest().encode("ascii")
