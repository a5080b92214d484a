"""The folder of verified releases and of their files, which are named by their content, whole or in parts."""

import contextlib
import functools
import hashlib
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Set

from contract.codec import decode
from contract.envelope import MAX_ENVELOPE_BYTES, Envelope
from contract.errors import ContractError, ManifestError
from contract.manifest import BlobRef, ReleaseManifest
from edge_agent.disk import Disk
from edge_agent.errors import StorageError
from edge_agent.files import explain, is_lost, write_whole

RELEASE_DAMAGED = "release_damaged"
BLOB_DAMAGED = "blob_damaged"
_ENVELOPE = ".json"
# A board keeps four: active, last known good, factory, candidate.
_REMEMBERED = 4


class _Release(NamedTuple):
    """What a file in the folder of releases says."""

    envelope: Envelope
    manifest: ReleaseManifest


class Store:
    """What is on disk of releases. Whatever is read is checked against its name: disks rot.

    Attributes:
        disk: where the folder lies.

    Raises:
        StorageError: the folder cannot be made.
    """

    def __init__(self, folder: Path, disk: Optional[Disk] = None) -> None:
        self.disk = disk = disk or Disk()
        self._folder = folder
        self._releases = folder / "releases"
        self._blobs = folder / "blobs"
        self._parts = folder / "parts"
        try:
            for each in (self._releases, self._blobs, self._parts):
                disk.make_folder(each)
        except OSError as error:
            raise explain(error, folder) from error

    def keep_release(self, digest: str, envelope: bytes) -> None:
        """Put a verified release's envelope on disk.

        Raises:
            StorageError: it could not be written.
        """
        write_whole(self._release_path(digest), envelope, self.disk)

    def release(self, digest: str) -> ReleaseManifest:
        """Return a release that was verified when it came.

        Raises:
            StorageError: it is absent or damaged (RELEASE_DAMAGED), or cannot be read now.
        """
        return self._read_release(digest).manifest

    def envelope(self, digest: str) -> Envelope:
        """Return a release as it was signed.

        Raises:
            StorageError: as `release` says.
        """
        return self._read_release(digest).envelope

    def is_there(self, digest: str, with_files: bool) -> bool:
        """Say whether a release is undamaged and, if asked, its files have their size; they are not read.

        Raises:
            StorageError: nobody can tell now.
        """
        try:
            blobs = self.release(digest).blobs.values()
            return all(self.disk.size(self.blob_path(blob)) == blob.size for blob in blobs if with_files)
        except StorageError as error:
            if error.code == RELEASE_DAMAGED:
                return False
            raise
        except OSError as error:
            raise explain(error, self._blobs) from error

    def blob_path(self, blob: BlobRef) -> Path:
        """Return where a complete blob lies."""
        return self._blobs / blob.sha256

    def part_path(self, blob: BlobRef) -> Path:
        """Return where a blob is being put together."""
        return self._parts / blob.sha256

    def has_blob(self, blob: BlobRef) -> bool:
        """Say whether a blob is complete; its bytes are hashed anew.

        Raises:
            StorageError: it cannot be read now, which may pass.
        """
        path = self.blob_path(blob)
        try:
            return self.disk.hash_file(path) == blob.sha256
        except OSError as error:
            if is_lost(error):
                return False
            raise explain(error, path) from error

    def model_files(self, manifest: ReleaseManifest) -> Dict[str, Path]:
        """Return the paths of a release's files by role.

        Raises:
            StorageError: one of them is absent or damaged (BLOB_DAMAGED), or cannot be read now.
        """
        for role, blob in manifest.blobs.items():
            if not self.has_blob(blob):
                raise StorageError(BLOB_DAMAGED, f"{role} of {manifest.model.version} is damaged")
        return {role: self.blob_path(blob) for role, blob in manifest.blobs.items()}

    def discard_parts(self) -> None:
        """Remove what has come of files that are not complete: the disk is full, and others need the room."""
        with contextlib.suppress(OSError):
            self._sweep(self._parts, set())

    def free_bytes(self) -> int:
        """Return how much may still be written.

        Raises:
            StorageError: the disk does not tell.
        """
        try:
            return self.disk.free_bytes(self._folder)
        except OSError as error:
            raise explain(error, self._folder) from error

    def _digests(self) -> List[str]:
        names = self.disk.names(self._releases)
        return [name[: -len(_ENVELOPE)] for name in names if name.endswith(_ENVELOPE)]

    def _make_last(self) -> None:
        """Make the names last that an earlier run gave and then, killed, could not see to."""
        for folder in (self._folder, self._blobs):
            self.disk.sync_folder(folder)

    def _keep_only(self, releases: Set[str]) -> None:
        """Remove every other release, every file that none of these needs, and what a power cut left over."""
        blobs = self._blobs_of(releases)
        self._sweep(self._releases, {digest + _ENVELOPE for digest in releases})
        self._sweep(self._blobs, blobs)
        self._sweep(self._parts, blobs - set(self.disk.names(self._blobs)))

    def _blobs_of(self, releases: Set[str]) -> Set[str]:
        blobs: Set[str] = set()
        for digest in releases:
            try:
                blobs |= {blob.sha256 for blob in self.release(digest).blobs.values()}
            except StorageError as error:
                # A damaged release is of no use; one that cannot be read now still needs its files.
                if error.code != RELEASE_DAMAGED:
                    raise
        return blobs

    def _read_release(self, digest: str) -> _Release:
        path = self._release_path(digest)
        try:
            return _parse_release(self.disk.read(path), digest)
        except ContractError as error:
            raise StorageError(RELEASE_DAMAGED, f"{path}: {error}") from error
        except OSError as error:
            if is_lost(error):
                raise StorageError(RELEASE_DAMAGED, f"{path}: {error.strerror}") from error
            raise explain(error, path) from error

    def _release_path(self, digest: str) -> Path:
        return self._releases / (digest + _ENVELOPE)

    def _sweep(self, folder: Path, kept: Set[str]) -> None:
        # Not synced: what a power cut brings back is an orphan, and swept at the next start.
        for name in self.disk.names(folder):
            if name not in kept:
                self.disk.remove(folder / name)


@functools.lru_cache(_REMEMBERED)
def _parse_release(data: bytes, digest: str) -> _Release:
    """Parse a file only when it has changed: it is read, and compared whole, many times for each release."""
    envelope = decode(Envelope, data, MAX_ENVELOPE_BYTES)
    if hashlib.sha256(envelope.signed_bytes()).hexdigest() != digest:
        raise ManifestError("it has changed on disk")
    return _Release(envelope, envelope.open(ReleaseManifest))
