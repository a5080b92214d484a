"""The signed release: one document that names every file of a model and says who takes it, and how."""

from dataclasses import dataclass
from typing import ClassVar, Dict, Optional, Tuple

from contract.artifacts import MODEL_NAME_PATTERN, SHA256_PATTERN, VERSION_PATTERN, TensorSpec
from contract.chunks import (
    HASH_BYTES,
    LARGE_CHUNK_BYTES,
    MAX_BLOB_BYTES,
    MAX_CHUNKS,
    blob_id,
    count_chunks,
)
from contract.envelope import RELEASE_TYPE, SignedDocument, require_lifetime, require_time
from contract.errors import ManifestError
from contract.records import Flag, Integer, Items, Maybe, Nested, Number, Record, Table, Text, rule
from contract.stamps import TIME_PATTERN
from contract.topics import DEVICE_PATTERN, NAME_PATTERN

_PATH = Text(SHA256_PATTERN)
_TIME = Text(TIME_PATTERN)


@dataclass(frozen=True)
class BlobRef(Record):
    """A file of a release: its size, hash, and how it is cut."""

    size: int = rule(Integer(1, MAX_BLOB_BYTES))
    sha256: str = rule(_PATH)
    index_sha256: str = rule(_PATH)
    chunk_bytes: int = rule(Integer(256, LARGE_CHUNK_BYTES))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.chunks > MAX_CHUNKS:
            raise ManifestError(f"a blob of {self.size} bytes has more than {MAX_CHUNKS} chunks")

    @property
    def id(self) -> str:
        """The blob's id in topics."""
        return blob_id(self.sha256)

    @property
    def chunks(self) -> int:
        """How many chunks the blob has."""
        return count_chunks(self.size, self.chunk_bytes)

    @property
    def index_bytes(self) -> int:
        """The exact length of the blob's index."""
        return self.chunks * HASH_BYTES


@dataclass(frozen=True)
class ReleaseModel(Record):
    """The model of a release and what it takes and gives."""

    name: str = rule(Text(MODEL_NAME_PATTERN))
    version: str = rule(Text(VERSION_PATTERN))
    security_floor: int = rule(Integer())
    compiled: bool = rule(Flag())
    reweighted: bool = rule(Flag())
    inputs: Tuple[TensorSpec, ...] = rule(Items(Nested(TensorSpec), max_items=8, min_items=1))
    outputs: Tuple[TensorSpec, ...] = rule(Items(Nested(TensorSpec), max_items=8, min_items=1))


@dataclass(frozen=True)
class SelfTest(Record):
    """What the golden samples must show before a release may answer anyone."""

    min_top1: float = rule(Number(0, 1), default=1.0)
    max_lsb: int = rule(Integer(0, 255), default=2)
    p95_ms: float = rule(Number(0, 1e6), default=1000.0)
    timeout_s: float = rule(Number(0.1, 3600), default=60.0)


@dataclass(frozen=True)
class Rollout(Record):
    """Which share of a channel takes the release, when, and how long it is watched."""

    id: str = rule(Text(NAME_PATTERN))
    percent: float = rule(Number(0, 100), default=100.0)
    salt: str = rule(Text(max_length=64), default="")
    spread_s: float = rule(Number(0, 86400), default=0.0)
    not_before: Optional[str] = rule(Maybe(_TIME), default=None)
    soak_s: float = rule(Number(0, 7 * 86400), default=0.0)
    max_failures: int = rule(Integer(0, 1000), default=0)


@dataclass(frozen=True)
class ReleaseManifest(SignedDocument):
    """One signed document that says everything about a release; `blobs` by role, as in BundleManifest.files.

    `devices` empty means the whole channel. `hardware` empty means any machine.
    """

    TYPE: ClassVar[str] = RELEASE_TYPE

    channel: str = rule(Text(NAME_PATTERN))
    devices: Tuple[str, ...] = rule(Items(Text(DEVICE_PATTERN), max_items=64))
    sequence: int = rule(Integer(1))
    issued: str = rule(_TIME)
    expires: str = rule(_TIME)
    hardware: Tuple[str, ...] = rule(Items(Text(max_length=64), max_items=8))
    minimum_agent: str = rule(Text(VERSION_PATTERN))
    minimum_runtime: str = rule(Text(max_length=32))
    model: ReleaseModel = rule(Nested(ReleaseModel))
    blobs: Dict[str, BlobRef] = rule(Table(Nested(BlobRef), max_items=8))
    selftest: SelfTest = rule(Nested(SelfTest))
    rollout: Rollout = rule(Nested(Rollout))
    revoked: Tuple[str, ...] = rule(Items(_PATH, max_items=64), default=())

    def __post_init__(self) -> None:
        super().__post_init__()
        needed = {"model", "labels", "preprocessing", "golden"} | (
            {"fallback"} if self.model.compiled else set()
        )
        if set(self.blobs) != needed:
            raise ManifestError(f"a release needs the files {sorted(needed)}, got {sorted(self.blobs)}")
        require_lifetime(self.issued, self.expires)
        if self.rollout.not_before is not None:
            require_time(self.rollout.not_before)

    @property
    def total_bytes(self) -> int:
        """Bytes of all files, equal ones counted once."""
        return sum({blob.sha256: blob.size for blob in self.blobs.values()}.values())

    def has_same_content(self, other: "ReleaseManifest") -> bool:
        """Whether a device that runs the other runs this one already: the same files, seen the same way."""
        return self.model == other.model and self.blobs == other.blobs
