"""Puts the files of a release together from chunks that arrive in any order, twice, or damaged."""

import hashlib
import os
from typing import Dict, List, NamedTuple, Optional, Set, Tuple

from contract.chunks import chunk_length, split_index
from contract.errors import ContractError
from contract.manifest import BlobRef, ReleaseManifest
from contract.messages import ChunkNeed
from edge_agent.errors import TransferError
from edge_agent.files import explain, move_whole
from edge_agent.updates.slots import Slots

_SYNC_EVERY_BYTES = 1024 * 1024


class Wanted(NamedTuple):
    """One thing to ask the broker for; `number` is None for a blob's index."""

    blob_id: str
    number: Optional[int]


class _Part:
    """One blob on its way in: its index, which chunks are on disk, the open file."""

    def __init__(self, blob: BlobRef, slots: Slots) -> None:
        self.blob = blob
        self.missing: Optional[Set[int]] = None
        self._hashes: List[bytes] = []
        self._path = slots.part_path(blob)
        self._target = slots.blob_path(blob)
        self._descriptor = -1
        self._unsynced_bytes = 0

    @property
    def left_bytes(self) -> int:
        """Bytes that are still to come."""
        if self.missing is None:
            return self.blob.size
        return sum(chunk_length(self.blob.size, self.blob.chunk_bytes, number) for number in self.missing)

    def take_index(self, index: bytes) -> None:
        """Accept the index, then look which chunks an earlier attempt has left on disk."""
        if hashlib.sha256(index).hexdigest() != self.blob.index_sha256:
            raise TransferError("index_damaged", f"index of {self.blob.id} has another hash")
        self._hashes = split_index(index, self.blob.size, self.blob.chunk_bytes)
        try:
            self._descriptor = os.open(str(self._path), os.O_RDWR | os.O_CREAT, 0o600)
            os.ftruncate(self._descriptor, self.blob.size)
            os.posix_fallocate(self._descriptor, 0, self.blob.size)
            self.missing = {number for number in range(self.blob.chunks) if not self._is_on_disk(number)}
        except OSError as error:
            raise explain(error, self._path) from error

    def take_chunk(self, number: int, payload: bytes) -> bool:
        """Write a chunk at its place; False if it was there already."""
        expected = chunk_length(self.blob.size, self.blob.chunk_bytes, number)
        if len(payload) != expected:
            raise TransferError("chunk_length", f"chunk {number} has {len(payload)} bytes, not {expected}")
        if hashlib.sha256(payload).digest() != self._hashes[number]:
            raise TransferError("chunk_damaged", f"chunk {number} of {self.blob.id} has another hash")
        if self.missing is None or number not in self.missing:
            return False
        try:
            os.pwrite(self._descriptor, payload, number * self.blob.chunk_bytes)
            self._unsynced_bytes += len(payload)
            if self._unsynced_bytes >= _SYNC_EVERY_BYTES:
                os.fdatasync(self._descriptor)
                self._unsynced_bytes = 0
        except OSError as error:
            raise explain(error, self._path) from error
        self.missing.discard(number)
        return True

    def finish(self) -> None:
        """Check the whole file and give it its name."""
        try:
            os.fsync(self._descriptor)
            self.close()
            if hashlib.sha256(self._path.read_bytes()).hexdigest() != self.blob.sha256:
                self._path.unlink()
                raise TransferError("blob_damaged", f"file {self.blob.id} has another hash")
            move_whole(self._path, self._target)
        except OSError as error:
            raise explain(error, self._path) from error

    def close(self) -> None:
        """Close the file; what is on disk stays for the next attempt."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _is_on_disk(self, number: int) -> bool:
        length = chunk_length(self.blob.size, self.blob.chunk_bytes, number)
        data = os.pread(self._descriptor, length, number * self.blob.chunk_bytes)
        return hashlib.sha256(data).digest() == self._hashes[number]


class Transfer:
    """All files of one release. Asks through `wanted`, is fed through `take`, is over when `is_complete`.

    Attributes:
        refused: chunks that were damaged, of a wrong length or of no use; counted, not fatal.
    """

    def __init__(self, manifest: ReleaseManifest, slots: Slots, window_bytes: int) -> None:
        self._window_bytes = window_bytes
        blobs = {blob.id: blob for blob in manifest.blobs.values()}
        self._total_bytes = sum(blob.size for blob in blobs.values())
        self._parts: Dict[str, _Part] = {
            blob.id: _Part(blob, slots) for blob in blobs.values() if not slots.has_blob(blob)
        }
        self.refused = 0
        self.received_bytes = 0

    @property
    def is_complete(self) -> bool:
        """Whether every file has its name."""
        return not self._parts

    @property
    def progress_pct(self) -> int:
        """How much of the release is on disk, 0 to 100."""
        left_bytes = sum(part.left_bytes for part in self._parts.values())
        return 100 - (100 * left_bytes) // self._total_bytes

    def wanted(self) -> Tuple[Wanted, ...]:
        """Return what to be subscribed to now: at most a window's worth, one blob after the other."""
        found: List[Wanted] = []
        room = self._window_bytes
        for blob_id, part in self._parts.items():
            if part.missing is None:
                found.append(Wanted(blob_id, None))
                room -= part.blob.index_bytes
                continue
            for number in sorted(part.missing):
                if room < part.blob.chunk_bytes and found:
                    return tuple(found)
                found.append(Wanted(blob_id, number))
                room -= part.blob.chunk_bytes
        return tuple(found)

    def needs(self) -> Tuple[ChunkNeed, ...]:
        """Return what to ask the publisher for when the broker does not have it."""
        numbers: Dict[str, List[int]] = {}
        for item in self.wanted():
            numbers.setdefault(item.blob_id, []).extend([] if item.number is None else [item.number])
        return tuple(
            ChunkNeed(blob_id, index=not missing, missing=ChunkNeed.pack(tuple(missing)))
            for blob_id, missing in numbers.items()
        )

    def take(self, blob_id: str, number: Optional[int], payload: bytes) -> bool:
        """Take what has arrived; False if it was of no use.

        Raises:
            StorageError: the disk refuses; what is there stays for the next attempt.
            TransferError: a whole file is wrong although each of its chunks was right.
        """
        part = self._parts.get(blob_id)
        if part is None or (number is None) != (part.missing is None):
            return False
        try:
            useful = self._take_into(part, number, payload)
        except (TransferError, ContractError):
            self.refused += 1
            return False
        self.received_bytes += len(payload)
        if not part.missing and part.missing is not None:
            del self._parts[blob_id]
            part.finish()
        return useful

    def close(self) -> None:
        """Let go of open files."""
        for part in self._parts.values():
            part.close()

    def _take_into(self, part: _Part, number: Optional[int], payload: bytes) -> bool:
        if number is None:
            part.take_index(payload)
            return True
        return part.take_chunk(number, payload)
