"""Puts the files of a release together from chunks that arrive in any order, twice, or damaged."""

import contextlib
import hashlib
from typing import Dict, Iterable, List, NamedTuple, Optional, Set, Tuple

from contract.chunks import chunk_length, split_index
from contract.errors import ContractError
from contract.manifest import BlobRef, ReleaseManifest
from contract.messages import ChunkNeed
from edge_agent.disk import Part
from edge_agent.errors import StorageError, TransferError
from edge_agent.files import DISK_FULL, explain, is_lost, move_whole
from edge_agent.updates.slots import Slots

_SYNC_EVERY_BYTES = 1024 * 1024


class Wanted(NamedTuple):
    """One thing to ask the broker for; `number` is None for a blob's index."""

    blob_id: str
    number: Optional[int]


class _Incoming:
    """One blob on its way in: its index, which chunks are on disk, the file that they fill."""

    def __init__(self, blob: BlobRef, slots: Slots) -> None:
        self.blob = blob
        self.missing: Optional[Set[int]] = None
        self._hashes: List[bytes] = []
        self._disk = slots.disk
        self._path = slots.part_path(blob)
        self._target = slots.blob_path(blob)
        self._part: Optional[Part] = None
        self._unsynced_bytes = 0

    @property
    def left_bytes(self) -> int:
        """Bytes that are still to come; only the last chunk may be shorter than the others."""
        if self.missing is None:
            return self.blob.size
        last = self.blob.chunks - 1
        short = self.blob.chunks * self.blob.chunk_bytes - self.blob.size if last in self.missing else 0
        return len(self.missing) * self.blob.chunk_bytes - short

    def take_index(self, index: bytes) -> None:
        """Accept the index, then look which chunks an earlier attempt has left on disk."""
        if hashlib.sha256(index).hexdigest() != self.blob.index_sha256:
            raise TransferError("index_damaged", f"index of {self.blob.id} has another hash")
        self._hashes = split_index(index, self.blob.size, self.blob.chunk_bytes)
        try:
            is_new = self._disk.size(self._path) is None
            self._part = part = self._disk.open_part(self._path, self.blob.size)
            # Without its name, no chunk in it would survive a power cut.
            self._disk.sync_folder(self._path.parent)
            numbers = range(self.blob.chunks)
            self.missing = {number for number in numbers if is_new or not self._is_in(part, number)}
        except OSError as error:
            # One that cannot be opened now may hold good chunks; one that cannot be read does not.
            if is_lost(error):
                self.discard()
            self.close()
            raise explain(error, self._path) from error

    def take_chunk(self, number: int, payload: bytes) -> bool:
        """Write a chunk at its place; False if it was there already."""
        expected = chunk_length(self.blob.size, self.blob.chunk_bytes, number)
        if len(payload) != expected:
            raise TransferError("chunk_length", f"chunk {number} has {len(payload)} bytes, not {expected}")
        if hashlib.sha256(payload).digest() != self._hashes[number]:
            raise TransferError("chunk_damaged", f"chunk {number} of {self.blob.id} has another hash")
        if self._part is None or self.missing is None or number not in self.missing:
            return False
        try:
            self._part.pwrite(payload, number * self.blob.chunk_bytes)
            self._unsynced_bytes += len(payload)
            if self._unsynced_bytes >= _SYNC_EVERY_BYTES:
                self._part.sync_data()
                self._unsynced_bytes = 0
        except OSError as error:
            self.discard()
            raise explain(error, self._path) from error
        self.missing.discard(number)
        return True

    def finish(self) -> None:
        """Check the whole file and give it its name."""
        assert self._part is not None
        try:
            self._part.sync()
            self.close()
            is_good = self._disk.hash_file(self._path) == self.blob.sha256
            if is_good:
                move_whole(self._path, self._target, self._disk)
        except OSError as error:
            self.discard()
            raise explain(error, self._path) from error
        if not is_good:
            self.discard()
            raise TransferError("blob_damaged", f"file {self.blob.id} has another hash")

    def close(self) -> None:
        """Close the file; what is on disk stays for the next attempt."""
        self.missing = None
        if self._part is not None:
            self._part.close()
            self._part = None

    def discard(self) -> None:
        """Trust nothing of it: after a failed sync nobody knows what is on disk, whatever reads back."""
        self.close()
        for path in (self._path, self._target):
            with contextlib.suppress(OSError):
                self._disk.remove(path)

    def _is_in(self, part: Part, number: int) -> bool:
        length = chunk_length(self.blob.size, self.blob.chunk_bytes, number)
        data = part.pread(length, number * self.blob.chunk_bytes)
        return hashlib.sha256(data).digest() == self._hashes[number]


class Transfer:
    """All files of one release. Asks through `wanted`, is fed through `take`, is over when `is_complete`.

    Attributes:
        refused: chunks that were damaged, of a wrong length or of no use; counted, not fatal.
    """

    def __init__(self, manifest: ReleaseManifest, slots: Slots, window_bytes: int) -> None:
        self._slots = slots
        self._window_bytes = window_bytes
        blobs = {blob.id: blob for blob in manifest.blobs.values()}
        self._total_bytes = sum(blob.size for blob in blobs.values())
        self._parts: Dict[str, _Incoming] = {
            blob.id: _Incoming(blob, slots) for blob in blobs.values() if not slots.has_blob(blob)
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

    def needs(self, items: Iterable[Wanted]) -> Tuple[ChunkNeed, ...]:
        """Return what to tell the publisher when the broker does not have these."""
        numbers: Dict[str, List[int]] = {}
        for item in items:
            numbers.setdefault(item.blob_id, []).extend([] if item.number is None else [item.number])
        return tuple(
            ChunkNeed(blob_id, index=not missing, missing=ChunkNeed.pack(tuple(missing)))
            for blob_id, missing in numbers.items()
        )

    def take(self, blob_id: str, number: Optional[int], payload: bytes) -> bool:
        """Take what has arrived; False if it was of no use.

        Raises:
            StorageError: the disk refuses. What is there stays for the next attempt, unless the disk is full
                or nobody knows what is there.
            TransferError: a whole file is wrong although each of its chunks was right.
        """
        part = self._parts.get(blob_id)
        if part is None or (number is None) != (part.missing is None):
            return False
        try:
            useful = self._take_into(part, number, payload)
            if part.missing is not None and not part.missing:
                del self._parts[blob_id]
                part.finish()
        except StorageError as error:
            if error.code == DISK_FULL:
                # What else lies on this disk, the outbox above all, must go on.
                self.close()
                self._slots.discard_parts()
            raise
        return useful

    def close(self) -> None:
        """Let go of open files."""
        for part in self._parts.values():
            part.close()

    def _take_into(self, part: _Incoming, number: Optional[int], payload: bytes) -> bool:
        try:
            if number is None:
                part.take_index(payload)
            elif not part.take_chunk(number, payload):
                return False
        except (TransferError, ContractError):
            self.refused += 1
            return False
        self.received_bytes += len(payload)
        return True
