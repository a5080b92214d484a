"""The signed release, the root of trust, and the envelope that carries both: the exact bytes are signed."""

from dataclasses import dataclass
from typing import Dict, Optional, Tuple, Type, TypeVar

from contract.artifacts import MODEL_NAME_PATTERN, SHA256_PATTERN, VERSION_PATTERN, TensorSpec
from contract.chunks import (
    HASH_BYTES,
    LARGE_CHUNK_BYTES,
    MAX_BLOB_BYTES,
    MAX_CHUNKS,
    blob_id,
    count_chunks,
)
from contract.codec import decode
from contract.errors import ManifestError
from contract.records import Binary, Flag, Integer, Items, Maybe, Nested, Number, Record, Table, Text, rule
from contract.stamps import TIME_PATTERN, parse_time
from contract.topics import DEVICE_PATTERN, NAME_PATTERN

RELEASE_TYPE = "application/vnd.reefline.release+json"
ROOT_TYPE = "application/vnd.reefline.root+json"
MAX_METADATA_BYTES = 16 * 1024
MAX_SIGNATURES = 8
SIGNATURE_BYTES = 64
KEY_BYTES = 32
KEY_ID_PATTERN = r"^[0-9a-f]{16}$"
ROLES = ("root", "release", "timestamp")

_PATH = Text(SHA256_PATTERN)
_TIME = Text(TIME_PATTERN)
D = TypeVar("D", bound=Record)


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
class ReleaseManifest(Record):
    """One signed document that says everything about a release; `blobs` by role, as in BundleManifest.files.

    `devices` empty means the whole channel. `hardware` empty means any machine.
    """

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
        try:
            if parse_time(self.expires) <= parse_time(self.issued):
                raise ManifestError("a release must expire after it was issued")
        except ValueError as error:
            raise ManifestError(str(error)) from error

    @property
    def total_bytes(self) -> int:
        """Bytes of all files, equal ones counted once."""
        return sum({blob.sha256: blob.size for blob in self.blobs.values()}.values())


@dataclass(frozen=True)
class Role(Record):
    """Which keys speak for a role, and how many of them must agree."""

    keys: Tuple[str, ...] = rule(Items(Text(KEY_ID_PATTERN), max_items=MAX_SIGNATURES, min_items=1))
    threshold: int = rule(Integer(1, MAX_SIGNATURES))

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(set(self.keys)) != len(self.keys) or self.threshold > len(self.keys):
            raise ManifestError("a role needs distinct keys, and no more of them than it has")


@dataclass(frozen=True)
class Root(Record):
    """The root of trust: every Ed25519 public key, and the roles they speak for."""

    version: int = rule(Integer(1))
    expires: str = rule(_TIME)
    keys: Dict[str, bytes] = rule(Table(Binary(KEY_BYTES, exact_bytes=KEY_BYTES), max_items=24))
    roles: Dict[str, Role] = rule(Table(Nested(Role), max_items=len(ROLES)))

    def __post_init__(self) -> None:
        super().__post_init__()
        if set(self.roles) != set(ROLES):
            raise ManifestError("a root names exactly the roles {}".format(", ".join(ROLES)))
        unknown = {key for role in self.roles.values() for key in role.keys} - set(self.keys)
        if unknown:
            raise ManifestError(f"a role names a key that the root does not hold: {sorted(unknown)}")


@dataclass(frozen=True)
class Signature(Record):
    """One key's word on an envelope."""

    keyid: str = rule(Text(KEY_ID_PATTERN))
    sig: bytes = rule(Binary(SIGNATURE_BYTES, exact_bytes=SIGNATURE_BYTES))


@dataclass(frozen=True)
class Envelope(Record):
    """A document as sent, and the signatures over exactly those bytes.

    Source: Dead Simple Signing Envelope, github.com/secure-systems-lab/dsse, envelope.md and protocol.md.
    """

    payloadType: str = rule(Text(choices=(RELEASE_TYPE, ROOT_TYPE)))
    payload: bytes = rule(Binary(MAX_METADATA_BYTES))
    signatures: Tuple[Signature, ...] = rule(Items(Nested(Signature), max_items=MAX_SIGNATURES, min_items=1))

    def signed_bytes(self) -> bytes:
        """Return what the signatures are made over."""
        return pre_authentication_encoding(self.payloadType, self.payload)

    def open(self, kind: Type[D]) -> D:
        """Decode the payload. Only after the signatures have been verified.

        Raises:
            ManifestError: the envelope says that it holds something else.
            MessageError: the payload is not such a document.
        """
        expected = {ReleaseManifest: RELEASE_TYPE, Root: ROOT_TYPE}[kind]
        if self.payloadType != expected:
            raise ManifestError(f"envelope holds {self.payloadType}, expected {expected}")
        return decode(kind, self.payload, MAX_METADATA_BYTES)


def pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    """Return DSSE's pre-authentication encoding, which binds the type to the bytes.

    Source: Dead Simple Signing Envelope, protocol.md, "Signature Definition".
    """
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)
