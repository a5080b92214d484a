"""What is installed: one small checksummed file of pointers, and the content-addressed files behind it."""

import contextlib
import hashlib
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Callable, Dict, Iterable, Optional, Set, Tuple

from contract.artifacts import SHA256_PATTERN
from contract.codec import decode, encode
from contract.envelope import Envelope
from contract.errors import ContractError
from contract.manifest import BlobRef, ReleaseManifest
from contract.messages import Problem
from contract.records import Integer, Items, Maybe, Nested, Number, Record, Text, rule
from contract.stamps import TIME_PATTERN
from edge_agent.errors import StorageError
from edge_agent.files import explain, sync_folder, write_whole

_log = logging.getLogger(__name__)
_SHA256 = Text(SHA256_PATTERN)
STATE = "slots.json"
_PREVIOUS = "slots.prev.json"
MAX_REMEMBERED = 32


@dataclass(frozen=True)
class Slot(Record):
    """A release on disk, named by its digest, and since when it has been in this slot."""

    release: str = rule(_SHA256)
    since: str = rule(Text(TIME_PATTERN))


@dataclass(frozen=True)
class Candidate(Record):
    """The release that is on its way in, and how often it has been tried."""

    release: str = rule(_SHA256)
    attempts: int = rule(Integer(0, 100), default=0)


@dataclass(frozen=True)
class Refused(Record):
    """A release that failed here and is not tried again."""

    release: str = rule(_SHA256)
    problem: Problem = rule(Nested(Problem))


@dataclass(frozen=True)
class SlotState(Record):
    """Every pointer and every memory of past releases; replaced as a whole."""

    active: Optional[Slot] = rule(Maybe(Nested(Slot)), default=None)
    last_known_good: Optional[Slot] = rule(Maybe(Nested(Slot)), default=None)
    candidate: Optional[Candidate] = rule(Maybe(Nested(Candidate)), default=None)
    refused: Tuple[Refused, ...] = rule(Items(Nested(Refused), max_items=MAX_REMEMBERED), default=())
    sequence_high: int = rule(Integer(), default=0)
    release_high: str = rule(Text(max_length=64), default="")
    security_floor: int = rule(Integer(), default=0)
    time_floor_s: float = rule(Number(), default=0.0)


class Slots:
    """The folder of releases and blobs. `state` is what is on disk; `save` replaces it.

    Raises:
        StorageError: the folder cannot be made or read.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._releases = folder / "releases"
        self._blobs = folder / "blobs"
        self._parts = folder / "parts"
        try:
            for each in (self._releases, self._blobs, self._parts):
                each.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise explain(error, folder) from error
        self.state = self._load()

    def save(self, state: SlotState) -> None:
        """Put `state` on disk; the one before is kept beside it.

        Raises:
            StorageError: it could not be written; what was there still is.
        """
        body = encode(state)
        path = self._folder / STATE
        if path.exists() and _read_checked(path) is not None:
            write_whole(self._folder / _PREVIOUS, path.read_bytes())
        write_whole(path, hashlib.sha256(body).hexdigest().encode("ascii") + b"\n" + body)
        self.state = state

    def keep_release(self, digest: str, envelope: bytes) -> None:
        """Put a verified release's envelope on disk."""
        write_whole(self._release_path(digest), envelope)

    def release(self, digest: str) -> ReleaseManifest:
        """Return a release that was verified when it came.

        Raises:
            StorageError: it is not there, or the disk has changed it.
        """
        path = self._release_path(digest)
        try:
            envelope = decode(Envelope, path.read_bytes())
            if hashlib.sha256(envelope.signed_bytes()).hexdigest() != digest:
                raise StorageError("release_damaged", f"{path} has changed on disk")
            return envelope.open(ReleaseManifest)
        except OSError as error:
            raise explain(error, path) from error
        except ContractError as error:
            raise StorageError("release_damaged", f"{path}: {error}") from error

    def blob_path(self, blob: BlobRef) -> Path:
        """Return where a complete blob lies."""
        return self._blobs / blob.sha256

    def part_path(self, blob: BlobRef) -> Path:
        """Return where a blob is being put together."""
        return self._parts / blob.sha256

    def has_blob(self, blob: BlobRef) -> bool:
        """Say whether a blob is complete; its bytes are hashed anew, disks rot."""
        try:
            return _hash_file(self.blob_path(blob)) == blob.sha256
        except OSError:
            return False

    def model_files(self, manifest: ReleaseManifest) -> Dict[str, Path]:
        """Return the paths of a release's files by role.

        Raises:
            StorageError: one of them is not there or has changed.
        """
        for role, blob in manifest.blobs.items():
            if not self.has_blob(blob):
                raise StorageError("blob_damaged", f"{role} of {manifest.model.version} is damaged")
        return {role: self.blob_path(blob) for role, blob in manifest.blobs.items()}

    def collect_garbage(self) -> None:
        """Remove every release and blob that no pointer needs. Pointers are on disk before this is called."""
        state = self.state
        pointers: Iterable[Optional[object]] = (state.active, state.last_known_good, state.candidate)
        kept = {pointer.release for pointer in pointers if isinstance(pointer, (Slot, Candidate))}
        blobs: Set[str] = set()
        for digest in kept:
            with contextlib.suppress(StorageError):
                blobs |= {blob.sha256 for blob in self.release(digest).blobs.values()}
        try:
            _sweep(self._releases, lambda path: path.stem in kept)
            _sweep(self._blobs, lambda path: path.name in blobs)
            _sweep(self._parts, lambda path: path.name in blobs)
        except OSError as error:
            _log.error(
                "cannot clean up %s, it is tried again after the next release: %s", self._folder, error
            )

    def forget_candidate(self, problem: Optional[Problem] = None) -> None:
        """Give up the candidate; with a problem it is remembered and not tried again."""
        candidate = self.state.candidate
        if candidate is None:
            return
        refused = self.state.refused
        if problem is not None:
            refused = (*refused, Refused(candidate.release, problem))[-MAX_REMEMBERED:]
        self.save(replace(self.state, candidate=None, refused=refused))

    def refusal(self, digest: str) -> Optional[Problem]:
        """Return why a release is not tried again, if so."""
        return next((entry.problem for entry in self.state.refused if entry.release == digest), None)

    def _release_path(self, digest: str) -> Path:
        return self._releases / (digest + ".json")

    def _load(self) -> SlotState:
        for name in (STATE, _PREVIOUS):
            state = _read_checked(self._folder / name)
            if state is not None:
                return state
            if (self._folder / name).exists():
                _log.warning("%s is damaged, looking further", self._folder / name)
        return SlotState()


def _read_checked(path: Path) -> Optional[SlotState]:
    try:
        checksum, _, body = path.read_bytes().partition(b"\n")
        if hashlib.sha256(body).hexdigest().encode("ascii") != checksum:
            return None
        return decode(SlotState, body)
    except (OSError, ContractError):
        return None


def _hash_file(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(64 * 1024), b""):
            digest.update(block)
    return digest.hexdigest()


def _sweep(folder: Path, is_needed: Callable[[Path], bool]) -> None:
    removed = [path for path in folder.iterdir() if not is_needed(path)]
    for path in removed:
        path.unlink()
    if removed:
        sync_folder(folder)
