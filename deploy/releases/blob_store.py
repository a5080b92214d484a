"""The files of every release by their SHA-256, in the fleet's folder: all that sending them again needs."""

import hashlib
from pathlib import Path

from contract.chunks import build_index
from contract.manifest import BlobRef
from deploy.releases.release import Blob
from host_cli.errors import Failed
from host_cli.files import write_bytes

BLOBS_FOLDER = "blobs"


class BlobStore:
    """Files below one folder; each is written whole, and checked whenever it is read."""

    def __init__(self, fleet: Path) -> None:
        self._folder = fleet / BLOBS_FOLDER

    def put(self, sha256: str, data: bytes) -> None:
        """Keep a file; one that is there and sound already is left as it is."""
        if self._read(sha256) is None:
            write_bytes(self._folder / sha256, data)

    def get(self, sha256: str) -> bytes:
        """Return a file's bytes.

        Raises:
            Failed: it is not there, or not what its name says.
        """
        data = self._read(sha256)
        if data is None:
            raise Failed(
                "a file of a release is gone or damaged", str(self._folder / sha256), "push it again"
            )
        return data

    def blob(self, ref: BlobRef) -> Blob:
        """Return a file cut as a release says.

        Raises:
            Failed: it is not there, or not what its name says.
        """
        data = self.get(ref.sha256)
        return Blob(ref, build_index(data, ref.chunk_bytes), data)

    def _read(self, sha256: str) -> bytes | None:
        try:
            data = (self._folder / sha256).read_bytes()
        except FileNotFoundError:
            return None
        return data if hashlib.sha256(data).hexdigest() == sha256 else None
